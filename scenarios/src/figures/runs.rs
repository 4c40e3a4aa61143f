//! What runs of a cluster cost.

use super::growth::processor_s;
use super::{Figure, Target, Untaken};
use crate::generate::healthy;
use crate::plan::EngineName;
use crate::scenario::Scenario;
use crate::swarm::{Seeds, Summary, Swarm};
use cluster::Design;
use engines::EngineId;

const SEEDS: u64 = 60;

/// Seconds that nobody asks the idle cluster for anything.
const IDLE_S: u32 = 600;

pub(super) fn figures() -> Result<Vec<Figure>, Untaken> {
    let drawn = swarm(&[])?;
    let others = [EngineId::Fjall, EngineId::Redb, EngineId::LsmTree].map(EngineName);
    let without_sled = swarm(&others)?;
    let per_second = |count: f64, summary: &Summary| count / summary.processor_s;
    let seeds = |summary: &Summary| 60.0 * per_second(summary.seeds as f64, summary);
    let acknowledged = per_second(drawn.acknowledged as f64, &drawn);
    let mebibytes = drawn.peak_bytes as f64 / f64::from(1 << 20);
    Ok(vec![
        Figure::new(
            "operations acknowledged and checked, default",
            acknowledged,
            "per CPU-second",
            Target::AtLeast(5_000.0),
        ),
        Figure::new("seeds, default", seeds(&drawn), "per CPU-minute", Target::AtLeast(300.0)),
        Figure::new(
            "seeds, default without sled",
            seeds(&without_sled),
            "per CPU-minute",
            Target::AtLeast(600.0),
        ),
        Figure::new(
            "virtual time, default",
            per_second(drawn.virtual_s, &drawn),
            "s per CPU-second",
            Target::AtLeast(600.0),
        ),
        Figure::new("virtual time, five idle nodes", idle()?, "s per CPU-second", Target::AtLeast(20_000.0)),
        Figure::new("peak memory of a seed, default", mebibytes, "MiB", Target::AtMost(150.0)),
    ])
}

fn swarm(engines: &[EngineName]) -> Result<Summary, Untaken> {
    let seeds = Seeds::range(1..=SEEDS);
    // One process at a time, since cores of one host slow each other down.
    let mut swarm = Swarm::new(Scenario::Default, Design::default(), seeds, 1, false).with_engines(engines);
    while swarm.next()?.is_some() {}
    Ok(swarm.summary().clone())
}

/// Virtual seconds for each second of processor time.
fn idle() -> Result<f64, Untaken> {
    let mut plan = healthy(1, Scenario::Calm, &[(EngineId::Redb, 2); 5]);
    plan.operations.clear();
    plan.heal_at_ms = u64::from(IDLE_S) * 1_000;
    Ok(f64::from(IDLE_S) / processor_s(&plan)?)
}
