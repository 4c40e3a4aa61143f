//! Replicas at the same applied index are compared.

use model::equality::{self, HashReport};

/// Reports as lines of `node.incarnation engine applied hash`.
fn check(story: &str, expected: &[&str]) {
    let reports: Vec<HashReport> = crate::script::lines(story)
        .map(|line| {
            let [who, engine, applied, hash] = line.split_whitespace().collect::<Vec<_>>()[..] else {
                panic!("not a report: {line}")
            };
            let (node, incarnation) = who.split_once('.').unwrap();
            HashReport {
                node: node.parse().unwrap(),
                incarnation: incarnation.parse().unwrap(),
                applied_index: applied.parse().unwrap(),
                hash: hash.parse().unwrap(),
                engine: engine.to_owned(),
            }
        })
        .collect();
    let found: Vec<String> =
        equality::check(&reports).into_iter().map(|violation| violation.message).collect();
    assert_eq!(found, expected);
}

#[test]
fn only_reports_at_the_same_index_are_compared() {
    check(
        "1.1 sled  10 111
         2.1 fjall 10 111
         1.1 sled  11 222
         2.1 fjall 12 333",
        &[],
    );
}

#[test]
fn a_replica_that_differs_is_seen_whenever_it_reported() {
    check(
        "1.1 sled  10 111
         2.1 fjall 10 111
         3.1 fjall 11 5
         1.1 sled  11 5
         3.2 redb  10 112",
        &["at applied index 10, node 1 (sled) and node 3 (redb) hold different data"],
    );
}

#[test]
fn a_replica_that_differs_from_itself_after_a_restart_is_seen() {
    check(
        "1.1 sled 10 111
         1.2 sled 10 112",
        &["at applied index 10, node 1 (sled) and node 1 (sled) hold different data"],
    );
}
