//! Panics of simulated threads: reported to the driver, not printed.

use super::kernel::{self, Kernel};
use super::node::{NodeEvent, NodeEventKind, NodeId};
use crate::interpose;
use std::sync::Mutex;

/// A panic on a simulated thread.
#[derive(Clone, Debug)]
pub struct Panic {
    /// The thread's name.
    pub thread: String,
    /// Message and place.
    pub message: String,
    frames: Vec<usize>,
}

impl Panic {
    /// The backtrace, a line for each frame. Outside simulated threads only: it reads debug information.
    pub fn backtrace(&self) -> String {
        interpose::describe(&self.frames)
    }
}

static LAST_PANIC: Mutex<Option<String>> = Mutex::new(None);

/// The last panic's message and place.
pub(crate) fn last_panic() -> Option<String> {
    LAST_PANIC.lock().ok().and_then(|last| last.clone())
}

/// A panic's message from its payload.
pub(crate) fn panic_message(payload: &(dyn std::any::Any + Send)) -> String {
    if let Some(text) = payload.downcast_ref::<&str>() {
        (*text).to_string()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        "a panic without a message".to_string()
    }
}

/// Reports panics of simulated threads to the driver instead of printing them; those of ghosts go nowhere.
pub(crate) fn install_panic_hook() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(|at| format!(" at {}:{}", at.file(), at.line())).unwrap_or_default();
        let message = format!("{}{place}", panic_message(panic.payload()));
        if let Ok(mut last) = LAST_PANIC.lock() {
            *last = Some(message.clone());
        }
        if interpose::is_simulated() {
            let frames = interpose::own_frames();
            kernel::with(|kernel| kernel.report_panic(message, frames));
        }
    }));
}

impl Kernel {
    fn report_panic(&mut self, message: String, frames: Vec<usize>) {
        let thread = self.current_thread_name();
        let owner = self.current_owner();
        if owner.is_some_and(|owner| !self.node(owner.node).is_current(owner)) {
            return;
        }
        let (node, incarnation) = owner.map_or((NodeId(u16::MAX), 0), |owner| (owner.node, owner.number));
        let what = NodeEventKind::Panicked(Panic { thread, message, frames });
        self.events.push(NodeEvent { node, incarnation, what });
    }
}
