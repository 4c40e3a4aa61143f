//! Watchers in a plan.

use crate::plan::{Plan, Target};
use serde::{Deserialize, Serialize};

/// A client that does nothing but watch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedWatcher {
    /// When it begins, in milliseconds of virtual time.
    pub at_ms: u64,
    /// The replica that it asks first.
    pub on: Target,
    /// Which keys it watches.
    pub keys: WatchedKeys,
    /// From when on it wants to know.
    pub start: WatchStart,
    /// Whether it asks for what keys held before.
    #[serde(default)]
    pub prev_kv: bool,
    /// Whether puts are left out.
    #[serde(default)]
    pub no_put: bool,
    /// Whether deletions are left out.
    #[serde(default)]
    pub no_delete: bool,
    /// Whether it asks to be told where nothing happens.
    #[serde(default)]
    pub progress_notify: bool,
    /// Whether a large revision may come in several messages.
    #[serde(default)]
    pub fragment: bool,
    /// Whether it goes on after the last progress notification when it begins anew, and not only after the last event.
    #[serde(default)]
    pub bookmarks: bool,
    /// What it does beside listening, in the order of time.
    #[serde(default)]
    pub steps: Vec<WatcherStep>,
}

/// Which keys are watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WatchedKeys {
    /// One key.
    One {
        /// Its number.
        key: u32,
    },
    /// A range of keys.
    Span {
        /// The first key's number.
        from: u32,
        /// The number after the last key; above `from`.
        to: u32,
    },
    /// Every key there is, those of no number among them.
    All,
}

/// From when on a watcher wants to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WatchStart {
    /// From now on.
    Now,
    /// From so many revisions before that of the replica.
    Behind(u32),
    /// From so many revisions after that of the replica.
    Ahead(u32),
}

/// Something that a watcher does, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WatcherStep {
    /// The earliest virtual time in milliseconds; it does one thing at a time.
    pub at_ms: u64,
    /// What.
    pub action: WatcherAction,
}

/// Something that a watcher does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WatcherAction {
    /// It takes no message, and acknowledges none.
    Sleep {
        /// For how long, in milliseconds.
        for_ms: u64,
    },
    /// It goes on at this replica, or there anew.
    Move {
        /// Which.
        to: Target,
    },
    /// It wants no more, and after a while something new: from when on its plan says.
    Unwatch {
        /// After how long, in milliseconds.
        for_ms: u64,
    },
}

/// Checks what the types leave open: the field, and what is wrong with it.
pub(crate) fn check(plan: &Plan) -> Result<(), (String, String)> {
    for (index, watcher) in plan.watchers.iter().enumerate() {
        let field = format!("watchers[{index}]");
        if let WatchedKeys::Span { from, to } = watcher.keys
            && from >= to
        {
            return Err((field + ".keys", format!("the range from {from} to {to} is empty")));
        }
        let moves = watcher.steps.iter().filter_map(|step| match step.action {
            WatcherAction::Move { to } => Some(to),
            WatcherAction::Sleep { .. } | WatcherAction::Unwatch { .. } => None,
        });
        for target in moves.chain([watcher.on]) {
            if let Target::Node(node) = target
                && !(1..=plan.nodes.len() as u64).contains(&node)
            {
                return Err((field, format!("there is no node {node}; nodes are 1 to {}", plan.nodes.len())));
            }
        }
        let times = watcher.steps.iter().map(|step| step.at_ms).chain([watcher.at_ms]);
        if let Some(late) = times.max().filter(|at_ms| *at_ms > plan.heal_at_ms) {
            return Err((field, format!("does something at {late}, after heal_at_ms ({})", plan.heal_at_ms)));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Scenario;

    /// What is wrong with a plan whose first watcher was changed.
    fn complaint(change: impl FnOnce(&mut PlannedWatcher)) -> String {
        let mut plan = Scenario::Watches.plan(1);
        plan.check().unwrap();
        change(&mut plan.watchers[0]);
        plan.check().unwrap_err().to_string()
    }

    #[test]
    fn a_watcher_that_cannot_be_is_refused() {
        let empty = complaint(|watcher| watcher.keys = WatchedKeys::Span { from: 4, to: 4 });
        assert_eq!(empty, "watchers[0].keys: the range from 4 to 4 is empty");
        let nobody = "watchers[0]: there is no node 4; nodes are 1 to 3";
        assert_eq!(complaint(|watcher| watcher.on = Target::Node(4)), nobody);
        let step = |at_ms, action| WatcherStep { at_ms, action };
        let away = WatcherAction::Move { to: Target::Node(4) };
        assert_eq!(complaint(|watcher| watcher.steps = vec![step(5, away)]), nobody);
        let late = WatcherAction::Sleep { for_ms: 1 };
        assert_eq!(
            complaint(|watcher| watcher.steps = vec![step(99_000, late)]),
            "watchers[0]: does something at 99000, after heal_at_ms (37500)"
        );
    }
}
