//! Linearizability of a store's history, by the revisions in its answers: near-linear where the general search
//! of [`crate::linearizability`] is exponential, and with the same verdicts.
//!
//! Every answer names the revision of the store when it was made, and every write makes exactly one revision.
//! So an answered write stands at its revision, and an answered operation that changed nothing stands between
//! the write of its revision and the next one. A history is linearizable exactly when
//! 1. no two answered writes claim a revision;
//! 2. these places agree with real time: nothing returned before something placed earlier was invoked
//!    (operations between the same two writes change nothing and can be ordered by time among themselves);
//! 3. every revision up to the highest one named that no answered write claims, a *gap*, was made by an unknown
//!    operation of its own, invoked before anything placed at or after the gap had returned;
//! 4. with the gaps so filled, the reference store gives every answer at its place.
//!
//! Unknown operations beyond these need not have happened: nobody saw them. What is left to search is which
//! unknown operation fills which gap; what later answers show of the gap's revision leaves few candidates, and
//! without gaps there is nothing to search. Refusals name no revision: those that hold in every state stand
//! anywhere; a read refused for a future revision stands as early as real time allows, since the store only
//! grows; a history with any other refusal is left to the general search.

mod fill;
mod observation;
mod placement;

use crate::linearizability::{self, Budget, Verdict};
use crate::specs::etcd::{Etcd, StoreHistory};
use fill::Fill;
use placement::Placement;

/// Checks a history of the store. `budget` counts the requests given to the reference store.
pub fn check(history: &StoreHistory, budget: Budget) -> Verdict {
    match Placement::of(history.operations()) {
        Some(placement) => Fill::new(history.operations(), &placement).run(budget),
        None => linearizability::check(&Etcd::of(history), history, budget),
    }
}
