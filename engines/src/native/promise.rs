//! What an engine promises, in its own words: the table that a verdict rests on.
//!
//! Where the documentation is silent, the table promises nothing. A promise to survive what the engine calls a
//! crash of the system or the loss of power is [`Survives::PowerFailure`]; one to survive a crash of the
//! application only is [`Survives::ProcessKill`].

/// Everything that one engine promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Promises {
    /// The ways to write a batch; never empty. [`super::Step::Write`] says which.
    pub writes: &'static [Call],
    /// The durability calls; never empty, since there is a promise to be tested. [`super::Step::Persist`] says
    /// which.
    pub persists: &'static [Call],
    /// What returning from [`super::Step::Flush`] promises, if anything.
    pub flush: Option<Call>,
    /// What dropping a space promises; `None` for an engine without spaces.
    pub drops: Option<Drops>,
    /// What the engine can do at all.
    pub abilities: Abilities,
    /// The words that promise that a batch survives as a whole or not at all, with their source.
    pub atomic: Option<&'static str>,
    /// The words that promise that what survives is a prefix of what was written, with their source.
    pub order: Option<&'static str>,
    /// The words that promise that the store opens again after a crash, with their source. Empty: none.
    pub reopens: &'static str,
}

/// A call and what it promises once it has returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// The call as the engine's users know it.
    pub name: &'static str,
    /// What everything written before the call returned survives from then on.
    pub survives: Survives,
    /// The engine's own words, with file and line in the published crate, or an address. Where nothing is
    /// promised: the words, or the silence, that this is read from.
    pub source: &'static str,
}

/// What dropping a space promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drops {
    /// What the absence of the space survives once [`super::Step::DropSpace`] has returned.
    pub survives: Survives,
    /// Whether the durability calls count a drop among the writes that were made before them.
    pub persisted: bool,
    /// The engine's own words, or the silence, as in [`Call`].
    pub source: &'static str,
}

/// What written data survives. Each includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Survives {
    /// Nothing is promised.
    Nothing,
    /// The process being killed, at any moment.
    ProcessKill,
    /// The machine losing its power.
    PowerFailure,
}

/// What an engine has calls for. A step that it has none for fails with a misuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abilities {
    /// More than one space in a store, to be created and dropped.
    pub spaces: bool,
    /// [`super::Mutation::DeleteRange`].
    pub range_delete: bool,
    /// Batches that change more than one space.
    pub batch_across_spaces: bool,
    /// [`super::Step::Flush`].
    pub flush: bool,
    /// [`super::Step::Compact`].
    pub compact: bool,
}
