//! A queue whose one reader is a task on the runtime's own thread.

use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};

#[derive(Debug)]
pub(crate) struct Mailbox<T> {
    items: VecDeque<T>,
    reader: Option<Waker>,
}

impl<T> Mailbox<T> {
    pub(crate) const fn new() -> Self {
        Self { items: VecDeque::new(), reader: None }
    }

    /// Puts `item` last and wakes the reader.
    pub(crate) fn push(&mut self, item: T) {
        self.items.push_back(item);
        self.wake();
    }

    /// Wakes the reader, if one waits.
    pub(crate) fn wake(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }

    /// The next item, or the reader's promise to be woken.
    pub(crate) fn poll_next(&mut self, context: &Context<'_>) -> Poll<T> {
        match self.items.pop_front() {
            Some(item) => Poll::Ready(item),
            None => {
                self.reader = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}
