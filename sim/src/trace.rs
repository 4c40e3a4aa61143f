//! The trace of a run: a running hash always, and a text file, or another listener, when asked.
//!
//! Two runs of one plan must agree byte for byte. [`first_difference`] names the event where they part.

use crate::event::Event;
use crate::interpose;
use std::io::{self, BufRead, Write};

/// What hears everything that happens in a run, at the moment it happens. It works on the machine's own heap and must
/// call nothing of the machine, so that the run is the same whether anybody listens or not.
pub trait TraceSink: Send {
    /// An event, at `now_ns` of virtual time. `details` are for readers: what decides is in the event.
    ///
    /// # Errors
    /// What writing it met; nothing more is told then.
    fn event(&mut self, now_ns: u64, event: &Event, details: &dyn Fn() -> String) -> io::Result<()>;

    /// A thread has got a name.
    fn thread_named(&mut self, thread: u32, name: &str);

    /// The run is over.
    ///
    /// # Errors
    /// What writing out the last events met.
    fn finish(&mut self) -> io::Result<()>;
}

/// A trace as text: a line for each event.
pub struct TextTrace<W>(pub W);

impl<W: Write + Send> TraceSink for TextTrace<W> {
    fn event(&mut self, now_ns: u64, event: &Event, details: &dyn Fn() -> String) -> io::Result<()> {
        writeln!(self.0, "{now_ns:>14} {event} {}", details())
    }

    /// No line: names are no events.
    fn thread_named(&mut self, _thread: u32, _name: &str) {}

    fn finish(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Where a run's events go.
pub(crate) struct Trace {
    hash: u64,
    events: u64,
    sink: Option<Box<dyn TraceSink>>,
    failed: Option<io::Error>,
}

/// What is known of a finished trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct TraceSummary {
    /// The running hash over every event and its virtual time.
    pub hash: u64,
    /// How many events there were.
    pub events: u64,
}

impl Trace {
    /// An empty trace; with a sink, it is told every event.
    pub(crate) fn new(sink: Option<Box<dyn TraceSink>>) -> Self {
        Self { hash: 0x6272_6f77_6e6f_7574, events: 0, sink, failed: None }
    }

    /// Records `event`, which happened at `now_ns` of virtual time. `details` are for the reader of the file
    /// only; what decides is in the event.
    pub(crate) fn record(&mut self, now_ns: u64, event: &Event, details: &dyn Fn() -> String) {
        self.events += 1;
        self.hash = fold(self.hash ^ now_ns, 0x9e37_79b9_7f4a_7c15);
        for word in event.words() {
            self.hash = fold(self.hash ^ word, 0xa076_1d64_78bd_642f);
        }
        if let Some(sink) = &mut self.sink
            && let Err(error) = interpose::bypass_heap(|| sink.event(now_ns, event, details))
        {
            self.failed.get_or_insert(error);
            self.sink = None;
        }
    }

    /// Tells the sink a thread's name, which is no event.
    pub(crate) fn name_thread(&mut self, thread: u32, name: &str) {
        if let Some(sink) = &mut self.sink {
            interpose::bypass_heap(|| sink.thread_named(thread, name));
        }
    }

    /// The summary so far.
    pub(crate) fn summary(&self) -> TraceSummary {
        TraceSummary { hash: self.hash, events: self.events }
    }

    /// Writes out what is buffered.
    ///
    /// # Errors
    /// The first error that writing the file met.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        if let Some(sink) = &mut self.sink {
            sink.finish()?;
        }
        self.failed.take().map_or(Ok(()), Err)
    }
}

/// Multiplies to 128 bits and folds the halves, so that every input bit reaches every output bit.
fn fold(word: u64, odd: u64) -> u64 {
    let product = u128::from(word ^ (word << 32 | 1)) * u128::from(odd);
    (product as u64) ^ ((product >> 64) as u64).rotate_left(23)
}

/// Where two traces part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The number of the first event that differs, from 1.
    pub event: u64,
    /// The last lines that both share, oldest first.
    pub common: Vec<String>,
    /// The line of the first trace there; none where it ended.
    pub first: Option<String>,
    /// The line of the second trace there; none where it ended.
    pub second: Option<String>,
}

/// Names the first event in which two traces differ; none where they are equal.
///
/// # Errors
/// What reading either trace met.
pub fn first_difference(first: impl BufRead, second: impl BufRead) -> io::Result<Option<Difference>> {
    const CONTEXT_LINES: usize = 8;
    let (mut first, mut second) = (first.lines(), second.lines());
    let mut common = std::collections::VecDeque::new();
    for event in 1.. {
        let (left, right) = (first.next().transpose()?, second.next().transpose()?);
        if left != right {
            return Ok(Some(Difference { event, common: common.into(), first: left, second: right }));
        }
        let Some(line) = left else { return Ok(None) };
        if common.len() == CONTEXT_LINES {
            common.pop_front();
        }
        common.push_back(line);
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash_of(events: &[(u64, Event)]) -> u64 {
        let mut trace = Trace::new(None);
        for (now_ns, event) in events {
            trace.record(*now_ns, event, &String::new);
        }
        trace.summary().hash
    }

    #[test]
    fn time_order_and_content_all_count() {
        let (one, two) = (Event::Run { thread: 1 }, Event::Run { thread: 2 });
        let base = hash_of(&[(5, one.clone()), (6, two.clone())]);
        assert_eq!(base, hash_of(&[(5, one.clone()), (6, two.clone())]));
        assert_ne!(base, hash_of(&[(6, two.clone()), (5, one.clone())]));
        assert_ne!(base, hash_of(&[(5, one.clone()), (7, two.clone())]));
        assert_ne!(base, hash_of(&[(5, one), (6, Event::ThreadEnded { thread: 2 })]));
        assert_ne!(base, hash_of(&[(5, two.clone()), (6, two)]));
    }

    #[test]
    fn the_first_difference_is_named_with_what_came_before() {
        let difference = first_difference("a\nb\nc\n".as_bytes(), "a\nb\nd\n".as_bytes()).unwrap().unwrap();
        assert_eq!(difference.event, 3);
        assert_eq!(difference.common, ["a", "b"]);
        assert_eq!((difference.first.as_deref(), difference.second.as_deref()), (Some("c"), Some("d")));
        assert_eq!(first_difference("a\n".as_bytes(), "a\n".as_bytes()).unwrap(), None);
        let shorter = first_difference("a\n".as_bytes(), "a\nb\n".as_bytes()).unwrap().unwrap();
        assert_eq!((shorter.event, shorter.first), (2, None));
    }
}
