//! Linearizability of a store's history, by the revisions in its answers: near-linear where the general search
//! of crate `linearizability` is exponential, and with the same verdicts.
//!
//! Every answer names the revision of the store when it was made, and every write makes exactly one revision.
//! So an answered write stands at its revision, and an answered operation that made none stands in the *group*
//! between the write of its revision and the next one. A history is linearizable exactly when
//! 1. no two answered writes claim a revision;
//! 2. these places agree with real time: nothing returned before something placed earlier was invoked;
//! 3. every revision up to the highest one named that no answered write claims, a *gap*, was made by an unknown
//!    operation of its own, invoked before anything placed at or after the gap had returned, or by an answered
//!    revocation of a lease that names the revision;
//! 4. the operations of each group can be ordered, and the refusals, which name no revision, can be put between
//!    operations, so that real time is kept;
//! 5. with the gaps so filled, the reference store gives every answer at its place.
//!
//! Unknown operations beyond these need not have happened: nobody saw them. One kind is seen without a revision:
//! a grant, the revocation of a lease without keys, a compaction. Such a *silent* operation is put immediately
//! before an operation whose answer needs it, and nowhere else: it can be moved there from wherever it stood, as
//! what lies between does not depend on it.
//!
//! What is left to search is which unknown operation fills which gap; what later answers show of the gap's
//! revision leaves few candidates, and without gaps there is nothing to search. Inside a group only the order of
//! silent operations that were concurrent is open. The first order found is kept. A failure is left to the general
//! search where another order might have served later refusals better, where a refusal that depends on keys might
//! have come earlier with a silent operation before it, where a refusal after the last revision named might follow
//! from a revision that no answer names, or where the id of a lease was granted twice.

mod fill;
mod group;
mod observation;
mod placement;
mod silent;

use crate::specs::etcd::{Etcd, StoreHistory};
use fill::{Conclusion, Fill};
use linearizability::{self, Budget, Verdict};
use placement::Placement;

/// Checks a history of the store. `budget` counts the calls given to the reference store.
pub fn check(history: &StoreHistory, budget: Budget) -> Verdict {
    let placement = Placement::of(history.operations());
    match Fill::new(history.operations(), &placement).run(budget) {
        Conclusion::Exact(verdict) => verdict,
        Conclusion::Doubtful => linearizability::check(&Etcd::of(history), history, budget),
    }
}
