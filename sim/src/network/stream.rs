//! Streams: bytes in order from one endpoint to another, for what is too large for a message.
//!
//! ```text
//!          write            finish                finish received
//! open ─▶ Open ───────────▶ Finishing ──────────▶ gone
//!          │ a chunk meets the │
//!          │ link's breaking   │ partition or death of an end
//!          ▼                   ▼
//!        Doomed ───────────▶ Broken ─────────────▶ gone, once both ends are told or dead
//! ```
//! A doomed stream breaks when the chunk that does not arrive would have arrived; what was written before
//! arrives. A partition, in either direction, and the death of an end break a stream at once, and what is
//! under way is lost: unlike a message, a stream needs acknowledgements to come back.

use std::collections::{BTreeSet, VecDeque};

use super::delivery::{Crossing, Deliveries};
use super::endpoint::{Address, Endpoint, Inbound};
use super::{Network, Route};

/// A stream; zero names none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StreamState {
    Open,
    Finishing,
    Doomed,
    Broken,
}

/// A stream that some end has not seen the end of.
#[derive(Clone, Debug)]
pub(super) struct Stream {
    pub(super) from: Endpoint,
    pub(super) to: Endpoint,
    pub(super) state: StreamState,
    /// The ends that live and have not been told of a break.
    pub(super) unaware: BTreeSet<Endpoint>,
    last_arrival_ns: u64,
    waiting: VecDeque<Waiting>,
}

/// A chunk that its link may not have put out yet.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    put_out_ns: u64,
    transmission_ns: u64,
}

impl Stream {
    /// `wanted_ns`, or later where something written before arrives later.
    fn in_order(&mut self, wanted_ns: u64) -> u64 {
        self.last_arrival_ns = self.last_arrival_ns.max(wanted_ns);
        self.last_arrival_ns
    }

    /// Notes that a chunk waits for its link, and forgets those that wait no more.
    fn wait(&mut self, now_ns: u64, put_out_ns: u64, transmission_ns: u64) {
        while self.waiting.front().is_some_and(|chunk| chunk.put_out_ns <= now_ns) {
            self.waiting.pop_front();
        }
        self.waiting.push_back(Waiting { put_out_ns, transmission_ns });
    }

    /// How much of its link's time the rest of this stream would take after `now_ns`.
    fn unused_ns(&self, now_ns: u64) -> u64 {
        let rest = |chunk: &Waiting| chunk.put_out_ns.saturating_sub(now_ns).min(chunk.transmission_ns);
        self.waiting.iter().map(rest).fold(0, u64::saturating_add)
    }

    /// The other end than `end`.
    fn peer_of(&self, end: Endpoint) -> Endpoint {
        if end == self.from { self.to } else { self.from }
    }

    fn route(&self, stream: StreamId) -> Route {
        Route { from: self.from, to: self.to, crossing: Crossing::Stream { stream } }
    }
}

impl Network {
    /// Opens a stream from an endpoint to whoever is at `to`, who is told in order before the first chunk.
    ///
    /// Where `to` is not there or a partition blocks either direction, the stream is broken from the start,
    /// and the writer is told so. An endpoint that is gone gets the stream zero, which nobody hears of.
    pub fn open_stream(&mut self, now_ns: u64, from: Endpoint, to: Address) -> (StreamId, Deliveries) {
        self.advance(now_ns);
        if !self.is_registered(from) {
            return (StreamId(0), Deliveries::new());
        }
        self.counters.streams_opened += 1;
        let stream = StreamId(self.counters.streams_opened);
        let (link, options) = self.link_mut(from.address, to);
        let latency_ns = link.latency_ns(&options);
        let put_out_ns = link.transmit(now_ns, &options, 0);
        let receiver = self.registered(to);
        let reachable = receiver.is_some() && !self.is_cut(from.address, to);
        let mut record = Stream {
            from,
            to: receiver.unwrap_or(Endpoint { address: to, incarnation: 0 }),
            state: StreamState::Open,
            unaware: BTreeSet::from([from]),
            last_arrival_ns: 0,
            waiting: VecDeque::new(),
        };
        if !reachable {
            let told_ns = now_ns.saturating_add(options.break_notice_ns);
            let notice = self.notice(told_ns, from, record.to, stream);
            record.state = StreamState::Broken;
            self.streams.insert(stream, record);
            self.counters.streams_broken += 1;
            return (stream, vec![notice]);
        }
        record.unaware.insert(record.to);
        let at_ns = record.in_order(put_out_ns.saturating_add(latency_ns));
        let route = record.route(stream);
        self.streams.insert(stream, record);
        let opened = Inbound::StreamOpened { from: from.address, stream };
        (stream, vec![self.delivery(at_ns, route, opened)])
    }

    /// Writes the next bytes of a stream that `from` opened. Nothing happens where the stream is over.
    pub fn write_stream(
        &mut self,
        now_ns: u64,
        from: Endpoint,
        stream: StreamId,
        mut bytes: Vec<u8>,
    ) -> Deliveries {
        self.advance(now_ns);
        let Some(to) = self.writable(from, stream) else { return Deliveries::new() };
        self.counters.chunks_sent += 1;
        self.counters.bytes_sent += bytes.len() as u64;
        let (link, options) = self.link_mut(from.address, to.address);
        let fate = link.chunk_fate(&options, bytes.len());
        let put_out_ns = link.transmit(now_ns, &options, bytes.len());
        let record = self.streams.get_mut(&stream).expect("a writable stream has a record");
        record.wait(now_ns, put_out_ns, options.transmission_ns(bytes.len()));
        let at_ns = record.in_order(put_out_ns.saturating_add(fate.latency_ns));
        let route = record.route(stream);
        if fate.breaks {
            record.state = StreamState::Doomed;
            self.counters.streams_broken += 1;
            let told_ns = at_ns.saturating_add(options.break_notice_ns);
            let broken = Inbound::StreamBroken { peer: from.address, stream };
            return vec![self.delivery(at_ns, route, broken), self.notice(told_ns, from, to, stream)];
        }
        if let Some(damage) = fate.damage {
            self.counters.chunks_corrupted += 1;
            damage.apply(&mut bytes);
        }
        vec![self.delivery(at_ns, route, Inbound::StreamChunk { from: from.address, stream, bytes })]
    }

    /// Ends a stream that `from` opened: the receiver is told after the last chunk. Nothing happens where the
    /// stream is over. The writer may still be told that it broke, until the receiver has all of it.
    pub fn finish_stream(&mut self, now_ns: u64, from: Endpoint, stream: StreamId) -> Deliveries {
        self.advance(now_ns);
        let Some(to) = self.writable(from, stream) else { return Deliveries::new() };
        let (link, options) = self.link_mut(from.address, to.address);
        let latency_ns = link.latency_ns(&options);
        let put_out_ns = link.transmit(now_ns, &options, 0);
        let record = self.streams.get_mut(&stream).expect("a writable stream has a record");
        record.state = StreamState::Finishing;
        let at_ns = record.in_order(put_out_ns.saturating_add(latency_ns));
        let route = record.route(stream);
        vec![self.delivery(at_ns, route, Inbound::StreamFinished { from: from.address, stream })]
    }

    /// The receiver of a stream that `from` may write.
    fn writable(&self, from: Endpoint, stream: StreamId) -> Option<Endpoint> {
        let record = self.streams.get(&stream)?;
        if record.from != from || record.state != StreamState::Open {
            return None;
        }
        assert!(self.is_registered(from) && self.is_registered(record.to), "an end of {stream:?} is dead");
        Some(record.to)
    }

    /// Breaks every stream that `affected` picks; gives the notices to their living ends.
    pub(super) fn break_streams(&mut self, now_ns: u64, affected: impl Fn(&Stream) -> bool) -> Deliveries {
        let broken: Vec<StreamId> = self
            .streams
            .iter()
            .filter(|(_, record)| record.state != StreamState::Broken && affected(record))
            .map(|(&stream, _)| stream)
            .collect();
        broken.into_iter().flat_map(|stream| self.break_stream(now_ns, stream)).collect()
    }

    fn break_stream(&mut self, now_ns: u64, stream: StreamId) -> Deliveries {
        let record = self.streams.get_mut(&stream).expect("a stream to be broken has a record");
        if record.state != StreamState::Doomed {
            self.counters.streams_broken += 1;
        }
        record.state = StreamState::Broken;
        let record = record.clone();
        let (link, options) = self.link_mut(record.from.address, record.to.address);
        link.give_back(now_ns, record.unused_ns(now_ns));
        let told_ns = now_ns.saturating_add(options.break_notice_ns);
        let unaware = record.unaware.iter();
        unaware.map(|&end| self.notice(told_ns, end, record.peer_of(end), stream)).collect()
    }

    /// Forgets an end that died, so that streams do not wait for it to be told.
    pub(super) fn forget_end(&mut self, end: Endpoint) {
        self.streams.retain(|_, record| {
            record.unaware.remove(&end);
            !record.unaware.is_empty()
        });
    }

    /// Notes that `end` now knows that its stream broke.
    pub(super) fn note_told(&mut self, stream: StreamId, end: Endpoint) {
        let record = self.streams.get_mut(&stream).expect("an end that is told has a stream");
        assert!(record.unaware.remove(&end), "{end:?} was told twice that {stream:?} broke");
        if record.unaware.is_empty() {
            self.streams.remove(&stream);
        }
    }

    /// Notes that the receiver has all of a stream.
    pub(super) fn note_finished(&mut self, stream: StreamId) {
        let record = self.streams.remove(&stream).expect("a stream that is received has a record");
        assert_eq!(record.state, StreamState::Finishing, "{stream:?} was received before it was finished");
        self.counters.streams_finished += 1;
    }
}
