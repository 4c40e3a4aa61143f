//! The etcd-like store of [`crate::store`] as a sequential specification. Revisions are global, so the whole
//! store is one partition.

use std::collections::BTreeSet;

use crate::history::{History, Operation};
use crate::kv::{Answer, Request, Response};
use crate::linearizability::SequentialSpec;
use crate::notation;
use crate::store::Store;

/// An operation of a store's history.
pub type StoreOperation = Operation<Request, Answer>;

/// The history of a store.
pub type StoreHistory = History<Request, Answer>;

/// The specification.
#[derive(Clone, Debug, Default)]
pub struct Etcd {
    claimed: BTreeSet<i64>,
}

impl Etcd {
    /// The specification for one history. It knows which revisions the answered writes of the history claim
    /// for themselves, and so sees at once that an unknown write cannot have made one of them. The verdict is
    /// the same as without, the search far shorter.
    pub fn of(history: &StoreHistory) -> Etcd {
        let answers = history.operations().iter().filter_map(|operation| operation.outcome.output());
        let responses = answers.filter_map(|answer| answer.as_ref().ok());
        let writes = responses.filter(|response| response.body.wrote());
        Etcd { claimed: writes.map(|response| response.revision).collect() }
    }
}

impl SequentialSpec for Etcd {
    type State = Store;
    type Input = Request;
    type Output = Answer;
    type Partition = ();

    fn initial(&self) -> Store {
        Store::default()
    }

    fn step(&self, state: &Store, input: &Request, output: Option<&Answer>) -> Option<Store> {
        if let Some(Ok(response)) = output
            && revision_before(response) != state.revision()
        {
            return None;
        }
        let mut next = state.clone();
        let answer = next.apply(input);
        let legal = match output {
            Some(output) => *output == answer,
            None => next.revision() == state.revision() || !self.claimed.contains(&next.revision()),
        };
        legal.then_some(next)
    }

    /// Revisions only grow, and each has one state: an answer that this revision does not give, or that an
    /// earlier one gave, will not come any more.
    fn expired(&self, state: &Store, _input: &Request, output: &Answer) -> bool {
        output.as_ref().is_ok_and(|response| revision_before(response) <= state.revision())
    }

    fn fingerprint(&self, state: &Store) -> u128 {
        state.fingerprint()
    }

    fn partition(&self, _input: &Request) {}

    fn describe(&self, input: &Request, output: Option<&Answer>) -> String {
        match output {
            Some(answer) => format!("{input} -> {}", notation::answer(answer)),
            None => format!("{input} -> ?"),
        }
    }

    fn explain(&self, state: &Store, input: &Request, _output: &Answer) -> String {
        let revision = state.revision();
        format!("at revision {revision} the answer is {}", notation::answer(&state.clone().apply(input)))
    }
}

/// The revision of the state that gave a response.
fn revision_before(response: &Response) -> i64 {
    response.revision.saturating_sub(i64::from(response.body.wrote()))
}
