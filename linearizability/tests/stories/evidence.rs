//! What a violation shows.

use linearizability::diagram::diagram;
use linearizability::formats::jepsen::Jepsen;
use linearizability::minimal::minimal;
use linearizability::specs::register::Register;
use linearizability::stream::StreamViolation;
use linearizability::{Budget, Verdict, check};

use crate::formats::read;

/// A read that misses an acknowledged write, among much else.
const STALE: &str = "
INFO  jepsen.util - 4 :invoke :write 9
INFO  jepsen.util - 4 :ok :write 9
INFO  jepsen.util - 1 :invoke :write 1
INFO  jepsen.util - 3 :invoke :read nil
INFO  jepsen.util - 3 :ok :read 9
INFO  jepsen.util - 1 :ok :write 1
INFO  jepsen.util - 2 :invoke :write 2
INFO  jepsen.util - 4 :invoke :cas [7 8]
INFO  jepsen.util - 4 :fail :cas [7 8]
INFO  jepsen.util - 2 :ok :write 2
INFO  jepsen.util - 5 :invoke :write 5
INFO  jepsen.util - 3 :invoke :read nil
INFO  jepsen.util - 3 :ok :read 1
INFO  jepsen.util - 4 :invoke :read nil
INFO  jepsen.util - 4 :ok :read 5
";

#[test]
fn a_core_is_shown_as_bars_and_in_words() {
    let history = read(STALE, Jepsen).unwrap();
    let Verdict::Violation(evidence) = check(&Register, &history, Budget::default()) else {
        panic!("no violation")
    };
    let violation = StreamViolation::of_history(&Register, history.operations().to_vec(), evidence);
    let core = minimal(&Register, &violation, Budget::default());
    let mut shown = diagram(&Register, &violation.operations, &core.operations, core.evidence.blocked_by);
    shown.push(core.evidence.message(&Register, &violation.operations));
    shown.extend(core.evidence.lines(&Register, &violation.operations));
    insta::assert_snapshot!(shown.join("\n"));
}
