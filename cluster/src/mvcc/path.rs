//! Which branch every transaction of a request takes.

use std::cmp::Ordering;

use super::{Store, StoreError};
use crate::api::{Compare, CompareResult, Refusal, Request, Target};

/// For every transaction that is carried out, outermost first and in the order of execution, whether its
/// compares hold.
pub(super) type Path = std::vec::IntoIter<bool>;

/// Decides every branch on the state before the request, those of nested transactions too, and refuses reads on
/// the way that this state cannot serve. So, as in etcd (`compareToPath` in `apply.go`), the compares of a
/// nested transaction do not see what the requests around it write.
pub(super) fn resolve(store: &Store, request: &Request) -> Result<Result<Path, Refusal>, StoreError> {
    let mut branches = Vec::new();
    let refusal = walk(store, request, &mut branches)?;
    Ok(match refusal {
        Some(refusal) => Err(refusal),
        None => Ok(branches.into_iter()),
    })
}

/// Adds the branches of `request`; returns the first refusal met.
fn walk(store: &Store, request: &Request, branches: &mut Vec<bool>) -> Result<Option<Refusal>, StoreError> {
    match request {
        Request::Range { revision, .. } => {
            Ok(if *revision > store.revision { Some(Refusal::FutureRevision) } else { None })
        }
        Request::Put { .. } | Request::DeleteRange { .. } => Ok(None),
        Request::Txn { compares, success, failure } => {
            let succeeded = all_hold(store, compares)?;
            branches.push(succeeded);
            for request in if succeeded { success } else { failure } {
                if let Some(refusal) = walk(store, request, branches)? {
                    return Ok(Some(refusal));
                }
            }
            Ok(None)
        }
    }
}

fn all_hold(store: &Store, compares: &[Compare]) -> Result<bool, StoreError> {
    for compare in compares {
        if !holds(store, compare)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn holds(store: &Store, compare: &Compare) -> Result<bool, StoreError> {
    let found = store.index.get(&compare.key, store.revision);
    let (version, create_revision, mod_revision) =
        found.map_or((0, 0, 0), |found| (found.version, found.create_revision, found.modified.main));
    let ordering = match &compare.target {
        Target::Version(operand) => version.cmp(operand),
        Target::CreateRevision(operand) => create_revision.cmp(operand),
        Target::ModRevision(operand) => mod_revision.cmp(operand),
        Target::Value(operand) => match found {
            Some(found) => store.fetch(&compare.key, found)?.value.cmp(operand),
            None => return Ok(false),
        },
    };
    Ok(match compare.result {
        CompareResult::Equal => ordering == Ordering::Equal,
        CompareResult::Greater => ordering == Ordering::Greater,
        CompareResult::Less => ordering == Ordering::Less,
        CompareResult::NotEqual => ordering != Ordering::Equal,
    })
}
