//! What checking a long history costs.

use super::{Figure, Target, Untaken};
use model::linearizability::Budget;
use model::linearizability::specs::append_kv::AppendKv;
use model::linearizability::stream::{Stream, StreamVerdict};
use model::linearizability::workload::Workload;
use sim::isolation::{Allowance, Ended, run_isolated};

/// A history as long as histories get.
const LONG: Workload = Workload {
    seed: 1,
    operations: 1_000_000,
    clients: 10,
    keys: 100,
    unknown_per_mille: 0,
    puts_percent: 45,
    appends_percent: 0,
};

/// In a process of its own, whose memory is this and nothing else.
pub(super) fn figures() -> Result<Vec<Figure>, Untaken> {
    let making = isolated(|| LONG.make().count() as u64 == LONG.operations)?;
    let checking = isolated(|| {
        let mut stream = Stream::new(AppendKv::new(true), Budget::default());
        LONG.make().all(|operation| stream.push(operation).is_ok())
            && matches!(stream.finish(), StreamVerdict::Linearizable { .. })
    })?;
    let seconds = checking.processor_time.saturating_sub(making.processor_time).as_secs_f64();
    let mebibytes = checking.peak_bytes as f64 / f64::from(1 << 20);
    Ok(vec![
        Figure::new("1,000,000 operations", seconds, "CPU s", Target::AtMost(10.0)),
        Figure::new("1,000,000 operations, with making them", mebibytes, "MiB", Target::AtMost(500.0)),
    ])
}

fn isolated(work: impl FnOnce() -> bool) -> Result<Ended, Untaken> {
    let ended = run_isolated(Allowance::default(), || vec![u8::from(work())])?;
    match &ended.end {
        sim::isolation::End::Finished(answer) if answer == &[1] => Ok(ended),
        other => Err(Untaken::Incomplete(format!("a history of 1,000,000 operations ended as {other:?}"))),
    }
}
