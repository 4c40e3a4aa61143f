//! When leases end.
//!
//! The lasting facts stand in the store ([`crate::mvcc::LeaseTable`]). How long a lease still lives is known to
//! the leader only, by its own clock; followers know nothing of it. A leader proposes the end of a lease whose
//! time is over, and from time to time writes down what is left of the long ones.

mod clock;
mod lessor;

pub(crate) use lessor::Lessor;
