//! Workload, fault plans, the run loop, the oracles' wiring, the corpus and the zoo.
//!
//! A [`plan::Plan`] says everything about a run; a [`scenario::Scenario`] makes one from a seed; [`execute`] runs
//! it in a process of its own and gives back a [`report::Report`].

mod client;
pub mod corpus;
pub mod etcd_subjects;
pub mod etcd_trace;
pub mod evidence;
mod execution;
pub mod explorer;
pub mod figures;
mod flushed;
mod generate;
mod injector;
mod installation;
pub mod kill_gate;
mod leases;
mod load;
mod membership;
pub mod milestones;
mod observation;
mod operator;
mod oracles;
mod past;
pub mod plan;
pub mod planned_request;
mod refusal;
pub mod report;
mod rot;
mod run;
pub mod scenario;
mod space;
#[cfg(test)]
mod spoiled;
mod store_milestones;
pub mod swarm;
mod targeted;
mod targeted_store;
mod translate;
mod transport;
mod truth;
mod unknown;
pub mod upgrades;
mod watcher;
mod world;
pub mod zoo;

pub use cluster::design::Field as DesignField;
pub use execution::{Execution, Executor, Investigation, execute, investigate};
pub use run::{RunOptions, run};

/// What makes an engine of another repository known to plans, as `guest`.
pub use engines::{Engine, EngineError, register_guest};
/// A broken promise, as reports hold it.
pub use model::verdict::Violation;
/// The checker of histories that others recorded.
pub use model::{judge, linearizability};

/// The choices of the protocols that a plan's design makes, with the values known to be wrong.
pub fn design_fields() -> &'static [DesignField] {
    cluster::Design::fields()
}
