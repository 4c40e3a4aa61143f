//! Properties that hold whatever is sent, cut, clogged and restarted.

use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::{btree_set, vec};
use proptest::prelude::*;

use super::world::{World, endpoint};
use crate::entropy::Ratio;
use crate::network::stream::StreamState;
use crate::network::{Address, Endpoint, Inbound, LinkKind, LinkOptions, Pair, Partition, StreamId};

const ADDRESSES: std::ops::RangeInclusive<Address> = 1..=4;

/// Something that happens to a network.
#[derive(Clone, Debug)]
enum Step {
    Send {
        from: Address,
        to: Address,
        length: usize,
    },
    Open {
        from: Address,
        to: Address,
    },
    /// Writes the stream opened by the step of this index among the openings, if there is one.
    Write {
        stream: prop::sample::Index,
        length: usize,
    },
    Finish {
        stream: prop::sample::Index,
    },
    Restart {
        address: Address,
    },
    Block {
        pairs: BTreeSet<Pair>,
    },
    Heal,
    Clog {
        pair: Pair,
    },
    Unclog {
        pair: Pair,
    },
    Wait {
        ns: u64,
    },
}

/// What was handed to the network, and what came out.
struct Run {
    world: World,
    /// Every message sent. Its first eight bytes are its place here.
    sent: Vec<Message>,
    streams: BTreeMap<StreamId, Written>,
    /// Every incarnation that died.
    dead: BTreeSet<Endpoint>,
    incarnations: BTreeMap<Address, u64>,
}

struct Message {
    from: Address,
    to: Address,
    bytes: Vec<u8>,
}

struct Written {
    from: Endpoint,
    chunks: Vec<Vec<u8>>,
    finished: bool,
}

fn pair() -> impl Strategy<Value = Pair> {
    (ADDRESSES, ADDRESSES)
}

fn step() -> impl Strategy<Value = Step> {
    let send = (pair(), 8_usize..200).prop_map(|((from, to), length)| Step::Send { from, to, length });
    let write = (any::<prop::sample::Index>(), 0_usize..200);
    prop_oneof![
        12 => send,
        3 => pair().prop_map(|(from, to)| Step::Open { from, to }),
        9 => write.prop_map(|(stream, length)| Step::Write { stream, length }),
        3 => any::<prop::sample::Index>().prop_map(|stream| Step::Finish { stream }),
        1 => ADDRESSES.prop_map(|address| Step::Restart { address }),
        1 => btree_set(pair(), 0..4).prop_map(|pairs| Step::Block { pairs }),
        1 => Just(Step::Heal),
        1 => pair().prop_map(|pair| Step::Clog { pair }),
        1 => pair().prop_map(|pair| Step::Unclog { pair }),
        6 => (0_u64..500).prop_map(|ns| Step::Wait { ns }),
    ]
}

/// Steps that break no connection.
fn gentle_step() -> impl Strategy<Value = Step> {
    step()
        .prop_filter("breaks connections", |step| !matches!(step, Step::Restart { .. } | Step::Block { .. }))
}

/// Every fault of a datagram link, often.
fn harsh() -> LinkOptions {
    LinkOptions {
        kind: LinkKind::Datagram,
        latency_ns_base: 50,
        latency_ns_mean: 50,
        latency_ns_max: 1_000,
        bandwidth_bytes_per_second: 1_000_000_000,
        loss: Ratio::percent(10),
        duplication: Ratio::percent(20),
        reordering: Ratio::percent(30),
        reordering_ns_max: 500,
        corruption: Ratio::percent(10),
        stream_break: Ratio::percent(5),
        break_notice_ns: 100,
    }
}

fn reliable() -> LinkOptions {
    LinkOptions { kind: LinkKind::Connection, ..harsh() }
}

impl Run {
    fn of(seed: u64, options: LinkOptions, steps: &[Step]) -> Self {
        let mut world = World::new(seed, ADDRESSES);
        world.network.set_default_link(options);
        let incarnations = ADDRESSES.map(|address| (address, 1)).collect();
        let (dead, streams) = (BTreeSet::new(), BTreeMap::new());
        let mut run = Self { world, sent: Vec::new(), streams, dead, incarnations };
        for step in steps {
            run.step(step);
        }
        run.world.settle();
        run
    }

    fn at(&self, address: Address) -> Endpoint {
        endpoint(address, self.incarnations[&address])
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Send { from, to, length } => self.send(*from, *to, *length),
            Step::Open { from, to } => self.open(*from, *to),
            Step::Write { stream, length } => self.write(*stream, *length),
            Step::Finish { stream } => self.finish(*stream),
            Step::Restart { address } => self.restart(*address),
            Step::Block { pairs } => {
                let partition = Partition::Pairs(pairs.clone());
                self.world.call(|network, now| network.partition(now, &partition).1);
            }
            Step::Heal => self.world.network.heal_all(),
            Step::Clog { pair: (from, to) } => self.world.network.clog(*from, *to),
            Step::Unclog { pair: (from, to) } => self.world.call(|network, _| network.unclog(*from, *to)),
            Step::Wait { ns } => self.world.run_until(self.world.now_ns + ns),
        }
    }

    fn send(&mut self, from: Address, to: Address, length: usize) {
        let mut bytes = vec![0; length];
        bytes[..8].copy_from_slice(&(self.sent.len() as u64).to_le_bytes());
        self.sent.push(Message { from, to, bytes: bytes.clone() });
        let sender = self.at(from);
        self.world.call(|network, now| network.send(now, sender, to, bytes));
    }

    fn open(&mut self, from: Address, to: Address) {
        let writer = self.at(from);
        let (stream, deliveries) = self.world.network.open_stream(self.world.now_ns, writer, to);
        self.world.add(deliveries);
        self.streams.insert(stream, Written { from: writer, chunks: Vec::new(), finished: false });
    }

    fn pick(&self, stream: prop::sample::Index) -> Option<(StreamId, Endpoint)> {
        let ids: Vec<StreamId> = self.streams.keys().copied().collect();
        let picked = (!ids.is_empty()).then(|| *stream.get(&ids))?;
        Some((picked, self.streams[&picked].from))
    }

    fn write(&mut self, stream: prop::sample::Index, length: usize) {
        let Some((stream, writer)) = self.pick(stream) else { return };
        let written = self.streams.get_mut(&stream).unwrap();
        let bytes = vec![u8::try_from(written.chunks.len() % 251).unwrap(); length];
        if !written.finished {
            written.chunks.push(bytes.clone());
        }
        self.world.call(|network, now| network.write_stream(now, writer, stream, bytes));
    }

    fn finish(&mut self, stream: prop::sample::Index) {
        let Some((stream, writer)) = self.pick(stream) else { return };
        self.streams.get_mut(&stream).unwrap().finished = true;
        self.world.call(|network, now| network.finish_stream(now, writer, stream));
    }

    fn restart(&mut self, address: Address) {
        self.dead.insert(self.at(address));
        *self.incarnations.get_mut(&address).unwrap() += 1;
        let next = self.at(address);
        self.world.call(|network, now| network.register(now, next));
    }

    /// The numbers of the messages that each pair of incarnations exchanged, in their order.
    fn numbers(&self) -> BTreeMap<(Address, Endpoint), Vec<u64>> {
        let mut numbers: BTreeMap<_, Vec<u64>> = BTreeMap::new();
        for (by, from, bytes) in self.world.messages() {
            let number = u64::from_le_bytes(bytes[..8].try_into().unwrap());
            numbers.entry((from, by)).or_default().push(number);
        }
        numbers
    }
}

/// How many bytes differ between two messages of one length.
fn differences(one: &[u8], other: &[u8]) -> usize {
    assert_eq!(one.len(), other.len(), "the network changed a length");
    one.iter().zip(other).filter(|(a, b)| a != b).count()
}

/// What one end saw of one stream.
#[derive(Default)]
struct StreamView {
    opened: usize,
    chunks: Vec<Vec<u8>>,
    finished: usize,
    broken: usize,
}

fn stream_views(run: &Run) -> BTreeMap<(StreamId, Endpoint), StreamView> {
    let mut views: BTreeMap<_, StreamView> = BTreeMap::new();
    for (_, by, item) in run.world.received() {
        let stream = match item {
            Inbound::Message { .. } => continue,
            Inbound::StreamOpened { stream, .. }
            | Inbound::StreamChunk { stream, .. }
            | Inbound::StreamFinished { stream, .. }
            | Inbound::StreamBroken { stream, .. } => *stream,
        };
        let view = views.entry((stream, by)).or_default();
        assert_eq!(view.finished + view.broken, 0, "{by:?} hears of {stream:?} after its end: {item:?}");
        match item {
            Inbound::Message { .. } => unreachable!("messages were left out"),
            Inbound::StreamOpened { .. } => view.opened += 1,
            Inbound::StreamChunk { bytes, .. } => view.chunks.push(bytes.clone()),
            Inbound::StreamFinished { .. } => view.finished += 1,
            Inbound::StreamBroken { .. } => view.broken += 1,
        }
    }
    views
}

/// What the reader of a stream saw is a beginning of what was written; all of it where it finished.
fn check_reader(written: &Written, view: &StreamView, damage_allowed: usize) {
    assert_eq!(view.opened, 1);
    assert!(view.chunks.len() <= written.chunks.len(), "chunks out of nowhere");
    for (read, wrote) in view.chunks.iter().zip(&written.chunks) {
        assert!(differences(read, wrote) <= damage_allowed);
    }
    if view.finished == 1 {
        assert!(written.finished && view.chunks.len() == written.chunks.len(), "finished too early");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn messages_are_not_invented(seed: u64, steps in vec(step(), 1..120)) {
        let run = Run::of(seed, harsh(), &steps);
        let mut copies: BTreeMap<(Address, Endpoint, Vec<u8>), usize> = BTreeMap::new();
        for (by, from, bytes) in run.world.messages() {
            let origin = run.sent.iter().any(|message| {
                message.from == from
                    && message.to == by.address
                    && message.bytes.len() == bytes.len()
                    && differences(&message.bytes, bytes) <= 1
            });
            prop_assert!(origin, "nobody sent {:?} from {} to {:?}", bytes, from, by);
            *copies.entry((from, by, bytes.to_vec())).or_default() += 1;
        }
        let intact = run.sent.iter().map(|message| &message.bytes).collect::<BTreeSet<_>>();
        prop_assert!(copies.iter().all(|((_, _, bytes), &count)| count <= 2 || !intact.contains(bytes)));
    }

    #[test]
    fn every_message_is_accounted_for(seed: u64, steps in vec(step(), 1..120)) {
        let run = Run::of(seed, harsh(), &steps);
        let counters = run.world.network.counters();
        prop_assert_eq!(counters.messages_sent, run.sent.len() as u64);
        prop_assert_eq!(counters.messages_delivered, run.world.messages().count() as u64);
        prop_assert_eq!(
            counters.messages_sent + counters.messages_duplicated,
            counters.messages_delivered
                + counters.messages_lost
                + counters.messages_partitioned
                + counters.messages_reset
        );
    }

    #[test]
    fn a_connection_keeps_the_order_and_repeats_nothing(seed: u64, steps in vec(step(), 1..120)) {
        let run = Run::of(seed, reliable(), &steps);
        for (_, numbers) in run.numbers() {
            prop_assert!(numbers.is_sorted_by(|earlier, later| earlier < later), "{:?}", numbers);
        }
        prop_assert_eq!(run.world.network.counters().messages_corrupted, 0);
    }

    #[test]
    fn a_connection_that_is_not_broken_loses_nothing(seed: u64, steps in vec(gentle_step(), 1..120)) {
        let run = Run::of(seed, reliable(), &steps);
        let arrived: usize = run.numbers().values().map(Vec::len).sum();
        prop_assert_eq!(arrived, run.sent.len());
    }

    #[test]
    fn a_datagram_link_without_reordering_keeps_the_order(seed: u64, steps in vec(step(), 1..120)) {
        let zero = Ratio::ZERO;
        let options = LinkOptions { reordering: zero, duplication: zero, corruption: zero, ..harsh() };
        for (_, numbers) in Run::of(seed, options, &steps).numbers() {
            prop_assert!(numbers.is_sorted_by(|earlier, later| earlier < later), "{:?}", numbers);
        }
    }

    #[test]
    fn a_reader_sees_a_beginning_of_what_was_written(seed: u64, steps in vec(step(), 1..160)) {
        let run = Run::of(seed, harsh(), &steps);
        for ((stream, by), view) in stream_views(&run) {
            let written = &run.streams[&stream];
            if view.opened > 0 {
                check_reader(written, &view, 1);
            } else {
                prop_assert!(view.chunks.is_empty() && view.finished == 0, "{:?} was never opened to {:?}", stream, by);
            }
        }
    }

    #[test]
    fn every_end_learns_what_became_of_its_stream(seed: u64, steps in vec(step(), 1..160)) {
        let run = Run::of(seed, harsh(), &steps);
        let views = stream_views(&run);
        let mut finished = 0;
        for (stream, written) in &run.streams {
            let ends = views.iter().filter(|((of, _), _)| of == stream).map(|(_, view)| view);
            let (received, broken) = ends.fold((0, 0), |(f, b), view| (f + view.finished, b + view.broken));
            prop_assert!(received == 0 || broken == 0, "{:?} finished and broke", stream);
            finished += received;
            let writer_lives = !run.dead.contains(&written.from);
            if written.finished && writer_lives {
                let told = views.get(&(*stream, written.from)).is_some_and(|view| view.broken == 1);
                prop_assert!(received == 1 || told, "the writer of {:?} hears nothing", stream);
            }
        }
        let counters = run.world.network.counters();
        prop_assert_eq!(counters.streams_finished, finished as u64);
        let remaining = &run.world.network.streams;
        prop_assert!(remaining.values().all(|record| record.state == StreamState::Open), "{:?}", remaining);
        let ended = counters.streams_finished + counters.streams_broken;
        prop_assert_eq!(counters.streams_opened, ended + remaining.len() as u64);
    }

    #[test]
    fn a_partition_blocks_its_pairs_and_no_other(
        left in btree_set(1_u64..7, 0..6), right in btree_set(1_u64..7, 0..6), shape in 0..3,
    ) {
        let partition = match shape {
            0 => Partition::OneWay { from: left, to: right },
            1 => Partition::Split { groups: vec![left, right] },
            _ => Partition::Ring { order: left.into_iter().collect() },
        };
        let pairs = partition.pairs();
        let mut world = World::new(1, 1..7);
        world.call(|network, now| network.partition(now, &partition).1);
        for from in 1..7 {
            for to in 1..7 {
                world.call(|network, now| network.send(now, endpoint(from, 1), to, vec![1]));
            }
        }
        world.run_until(1);
        let reached: BTreeSet<Pair> = world.messages().map(|(by, from, _)| (from, by.address)).collect();
        let all = (1..7).flat_map(|from| (1..7).map(move |to| (from, to)));
        let open: BTreeSet<Pair> = all.filter(|pair| !pairs.contains(pair)).collect();
        prop_assert_eq!(reached, open);
    }

    #[test]
    fn bytes_take_the_time_that_the_bandwidth_leaves_them(
        seed: u64, bandwidth in 1_u64..2_000_000_000, lengths in vec(0_usize..5_000, 1..40),
    ) {
        let mut world = World::new(seed, 1..=2);
        world.network.set_default_link(LinkOptions { bandwidth_bytes_per_second: bandwidth, ..LinkOptions::default() });
        let (stream, opened) = world.network.open_stream(0, endpoint(1, 1), 2);
        world.add(opened);
        for (index, &length) in lengths.iter().enumerate() {
            world.call(|network, now| match index % 2 {
                0 => network.send(now, endpoint(1, 1), 2, vec![0; length]),
                _ => network.write_stream(now, endpoint(1, 1), stream, vec![0; length]),
            });
        }
        world.settle();
        let mut bytes = 0;
        for (at_ns, _, item) in world.received() {
            if let Inbound::Message { bytes: content, .. } | Inbound::StreamChunk { bytes: content, .. } = item {
                bytes += content.len() as u128;
            }
            prop_assert!(u128::from(at_ns) * u128::from(bandwidth) >= bytes * 1_000_000_000);
        }
        prop_assert_eq!(bytes, lengths.iter().sum::<usize>() as u128);
        let whole_ns = bytes * 1_000_000_000 / u128::from(bandwidth);
        let last_ns = world.received().map(|(at_ns, ..)| at_ns).max().unwrap();
        prop_assert!(u128::from(last_ns) <= whole_ns + lengths.len() as u128, "slower than the bandwidth");
    }

    #[test]
    fn the_same_seed_and_steps_give_the_same_run(seed: u64, steps in vec(step(), 1..120)) {
        let (first, second) = (Run::of(seed, harsh(), &steps), Run::of(seed, harsh(), &steps));
        prop_assert_eq!(first.world.seen, second.world.seen);
        prop_assert_eq!(first.world.network.counters(), second.world.network.counters());
    }

    #[test]
    fn the_options_of_one_link_do_not_move_the_draws_of_another(
        seed: u64, sends in vec((pair(), 8_usize..200), 1..80),
    ) {
        let seen_past_one_to_two = |one_to_two: LinkOptions| {
            let mut world = World::new(seed, ADDRESSES);
            world.network.set_default_link(harsh());
            world.network.set_link(1, 2, one_to_two);
            for &((from, to), length) in &sends {
                world.call(|network, now| network.send(now, endpoint(from, 1), to, vec![0; length]));
            }
            world.settle();
            let mut elsewhere: Vec<_> = world
                .received()
                .filter(|(_, by, item)| !matches!(item, Inbound::Message { from: 1, .. } if by.address == 2))
                .map(|(at_ns, by, item)| (at_ns, by, item.clone()))
                .collect();
            elsewhere.sort_by_key(|(at_ns, by, _)| (*at_ns, *by));
            elsewhere
        };
        prop_assert_eq!(seen_past_one_to_two(harsh()), seen_past_one_to_two(LinkOptions::default()));
    }
}

#[test]
fn seeds_differ() {
    let sends: Vec<Step> = (0..50).map(|_| Step::Send { from: 1, to: 2, length: 20 }).collect();
    assert_ne!(Run::of(1, harsh(), &sends).world.seen, Run::of(2, harsh(), &sends).world.seen);
}
