//! Stories: a script of steps, and what everyone sees.

use std::collections::BTreeSet;

use super::world::{Seen, World, endpoint};
use crate::entropy::{Entropy, Ratio};
use crate::network::{
    Address, Endpoint, Inbound, LinkKind, LinkOptions, LinkOptionsError, Network, Pair, Partition, StreamId,
};

/// Runs a script in a world of nodes 1, 2 and 3 and compares what is seen.
///
/// Each line is `time step`; times are nanoseconds, an endpoint is `address.incarnation`.
fn check(default_link: LinkOptions, script: &str, expected: &str) {
    let mut world = World::new(1, 1..=3);
    world.network.set_default_link(default_link);
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        world.run_until(words[0].parse().unwrap());
        step(&mut world, &words[1..]);
    }
    world.run_until(1_000_000);
    let seen: Vec<String> = world.seen.iter().map(describe).collect();
    let expected: Vec<&str> = expected.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    assert_eq!(seen, expected, "script:\n{script}");
}

fn step(world: &mut World, words: &[&str]) {
    let number = |word: &str| word.parse::<u64>().unwrap();
    match words {
        ["register", who] => world.call(|network, now| network.register(now, incarnation(who))),
        ["unregister", who] => world.call(|network, now| network.unregister(now, incarnation(who))),
        ["send", from, to, text] => {
            let bytes = text.as_bytes().to_vec();
            world.call(|network, now| network.send(now, incarnation(from), number(to), bytes));
        }
        ["open", from, to] => {
            world.call(|network, now| network.open_stream(now, incarnation(from), number(to)).1);
        }
        ["write", from, stream, text] => {
            let (stream, bytes) = (StreamId(number(stream)), text.as_bytes().to_vec());
            world.call(|network, now| network.write_stream(now, incarnation(from), stream, bytes));
        }
        ["finish", from, stream] => {
            let stream = StreamId(number(stream));
            world.call(|network, now| network.finish_stream(now, incarnation(from), stream));
        }
        ["block", pairs @ ..] => {
            let partition = Partition::Pairs(pairs.iter().map(|pair| arrow(pair)).collect());
            world.call(|network, now| network.partition(now, &partition).1);
        }
        ["heal"] => world.network.heal_all(),
        ["clog", pair] => world.network.clog(arrow(pair).0, arrow(pair).1),
        ["unclog", pair] => world.call(|network, _| network.unclog(arrow(pair).0, arrow(pair).1)),
        other => panic!("no such step: {other:?}"),
    }
}

fn incarnation(word: &str) -> Endpoint {
    let (address, incarnation) = word.split_once('.').unwrap();
    endpoint(address.parse().unwrap(), incarnation.parse().unwrap())
}

fn arrow(word: &str) -> Pair {
    let (from, to) = word.split_once('→').unwrap();
    (from.parse().unwrap(), to.parse().unwrap())
}

fn describe(seen: &Seen) -> String {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    match seen {
        Seen::Received { at_ns, by, item } => {
            let item = match item {
                Inbound::Message { from, bytes } => format!("message {} of {from}", text(bytes)),
                Inbound::StreamOpened { from, stream } => format!("stream {} opened by {from}", stream.0),
                Inbound::StreamChunk { stream, bytes, .. } => format!("stream {}: {}", stream.0, text(bytes)),
                Inbound::StreamFinished { stream, .. } => format!("stream {} finished", stream.0),
                Inbound::StreamBroken { peer, stream } => format!("stream {} broken with {peer}", stream.0),
            };
            format!("{at_ns} {}.{} {item}", by.address, by.incarnation)
        }
        Seen::Held { at_ns } => format!("{at_ns} held"),
        Seen::Dropped { at_ns, reason } => format!("{at_ns} dropped {reason:?}"),
    }
}

/// One byte takes a nanosecond, and ten more to arrive.
fn slow() -> LinkOptions {
    LinkOptions { latency_ns_base: 10, bandwidth_bytes_per_second: 1_000_000_000, ..LinkOptions::default() }
}

fn connection() -> LinkOptions {
    LinkOptions { kind: LinkKind::Connection, ..slow() }
}

#[test]
fn messages_queue_for_their_link_and_no_other() {
    check(
        slow(),
        "0 send 1.1 2 four
         0 send 1.1 2 five!
         0 send 2.1 1 x
         0 send 1.1 3 y",
        "11 1.1 message x of 2
         11 3.1 message y of 1
         14 2.1 message four of 1
         19 2.1 message five! of 1",
    );
}

#[test]
fn a_large_stream_delays_the_message_behind_it() {
    check(
        slow(),
        "0 open 1.1 2
         0 write 1.1 1 aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
         0 send 1.1 2 late
         0 finish 1.1 1",
        "10 2.1 stream 1 opened by 1
         40 2.1 stream 1: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
         44 2.1 message late of 1
         44 2.1 stream 1 finished",
    );
}

#[test]
fn a_broken_stream_gives_its_link_back() {
    check(
        slow(),
        "0 open 1.1 2
         0 write 1.1 1 aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
         5 block 2→1
         6 send 1.1 2 soon",
        "5 1.1 stream 1 broken with 2
         5 2.1 stream 1 broken with 1
         10 dropped StreamOver
         20 2.1 message soon of 1
         40 dropped StreamOver",
    );
}

#[test]
fn a_restart_resets_what_is_under_way_to_it_and_from_it() {
    check(
        slow(),
        "0 send 1.1 2 to-the-dead
         0 send 2.1 3 from-the-dead
         5 unregister 2.1
         6 register 2.2
         6 send 1.1 2 to-the-next",
        "21 dropped Reset
         23 dropped Reset
         27 2.2 message to-the-next of 1",
    );
}

#[test]
fn a_ghost_reaches_nobody() {
    check(
        slow(),
        "0 open 2.1 3
         5 register 2.2
         5 send 2.1 1 boo
         5 open 2.1 1
         5 write 2.1 1 boo
         5 finish 2.1 1
         6 unregister 2.1
         6 send 2.2 1 alive",
        "5 3.1 stream 1 broken with 2
         10 dropped Reset
         21 1.1 message alive of 2",
    );
}

#[test]
fn nobody_hears_what_is_sent_to_an_empty_address() {
    check(slow(), "0 send 1.1 9 hello\n0 open 1.1 9\n0 write 1.1 1 x", "0 1.1 stream 1 broken with 9");
}

#[test]
fn a_datagram_passes_where_the_partition_heals_in_time() {
    check(
        slow(),
        "0 send 1.1 2 a
         5 block 1→2
         6 send 1.1 2 b
         12 send 1.1 2 c
         13 heal
         14 send 1.1 2 d
         17 block 1→2
         18 heal",
        "11 dropped Partition
         25 2.1 message d of 1",
    );
}

#[test]
fn a_connection_loses_what_was_under_way_when_it_broke() {
    check(
        connection(),
        "0 send 1.1 2 a
         0 send 2.1 1 b
         5 block 1→2
         6 heal
         7 send 1.1 2 c",
        "11 dropped ConnectionBroken
         11 1.1 message b of 2
         18 2.1 message c of 1",
    );
}

#[test]
fn a_new_connection_does_not_wait_for_what_the_last_one_lost() {
    let mut world = World::new(1, 1..=2);
    world.network.set_link(1, 2, LinkOptions { latency_ns_base: 900, ..connection() });
    world.call(|network, now| network.send(now, endpoint(1, 1), 2, b"lost".to_vec()));
    world.run_until(5);
    world.call(|network, now| network.partition(now, &Partition::Pairs(BTreeSet::from([(1, 2)]))).1);
    world.network.heal_all();
    world.network.set_link(1, 2, connection());
    world.call(|network, now| network.send(now, endpoint(1, 1), 2, b"new".to_vec()));
    world.run_until(1_000);
    let seen: Vec<String> = world.seen.iter().map(describe).collect();
    assert_eq!(seen, ["18 2.1 message new of 1", "904 dropped ConnectionBroken"]);
}

#[test]
fn a_copy_arrives_a_latency_later() {
    check(
        LinkOptions { duplication: Ratio::ONE, ..slow() },
        "0 send 1.1 2 a
         0 send 1.1 2 b",
        "11 2.1 message a of 1
         12 2.1 message b of 1
         21 2.1 message a of 1
         22 2.1 message b of 1",
    );
}

#[test]
fn a_one_way_partition_breaks_a_stream_of_either_direction() {
    check(
        LinkOptions { break_notice_ns: 3, ..slow() },
        "0 open 1.1 2
         0 open 2.1 1
         20 block 2→1
         20 write 1.1 1 lost
         21 heal
         21 write 1.1 1 refused",
        "10 2.1 stream 1 opened by 1
         10 1.1 stream 2 opened by 2
         23 1.1 stream 1 broken with 2
         23 2.1 stream 1 broken with 1
         23 1.1 stream 2 broken with 2
         23 2.1 stream 2 broken with 1",
    );
}

#[test]
fn a_stream_that_breaks_by_itself_breaks_where_the_chunk_would_have_arrived() {
    let mut world = World::new(1, 1..=2);
    world.network.set_default_link(slow());
    let (stream, opened) = world.network.open_stream(0, endpoint(1, 1), 2);
    world.add(opened);
    world.call(|network, now| network.write_stream(now, endpoint(1, 1), stream, b"kept".to_vec()));
    let breaking = LinkOptions { stream_break: Ratio::ONE, break_notice_ns: 5, ..slow() };
    world.network.set_link(1, 2, breaking);
    for text in [&b"lost"[..], b"refused"] {
        world.call(|network, now| network.write_stream(now, endpoint(1, 1), stream, text.to_vec()));
    }
    world.run_until(1_000);
    let seen: Vec<String> = world.seen.iter().map(describe).collect();
    let expected = [
        "10 2.1 stream 1 opened by 1",
        "14 2.1 stream 1: kept",
        "18 2.1 stream 1 broken with 1",
        "23 1.1 stream 1 broken with 2",
    ];
    assert_eq!(seen, expected);
    assert_eq!(world.network.counters().streams_broken, 1);
}

#[test]
fn a_doomed_stream_in_a_partition_breaks_once_for_each_end() {
    check(
        LinkOptions { stream_break: Ratio::ONE, break_notice_ns: 5, ..slow() },
        "0 open 1.1 2
         20 write 1.1 1 lost
         21 block 1→2",
        "10 2.1 stream 1 opened by 1
         26 1.1 stream 1 broken with 2
         26 2.1 stream 1 broken with 1
         34 dropped StreamOver
         39 dropped StreamOver",
    );
}

#[test]
fn the_death_of_either_end_breaks_a_stream_for_the_other() {
    check(
        slow(),
        "0 open 1.1 2
         0 open 2.1 3
         20 write 2.1 2 lost
         21 unregister 2.1",
        "10 2.1 stream 1 opened by 1
         10 3.1 stream 2 opened by 2
         21 1.1 stream 1 broken with 2
         21 3.1 stream 2 broken with 2
         34 dropped Reset",
    );
}

#[test]
fn a_writer_learns_that_what_it_finished_did_not_arrive() {
    check(
        slow(),
        "0 open 1.1 2
         0 finish 1.1 1
         5 unregister 2.1",
        "5 1.1 stream 1 broken with 2
         10 dropped Reset
         10 dropped Reset",
    );
}

#[test]
fn a_clogged_link_delivers_late_and_in_order() {
    check(
        slow(),
        "0 clog 1→2
         0 send 1.1 2 a
         0 open 1.1 2
         3 send 1.1 2 b
         30 send 1.1 2 c
         35 unclog 1→2
         36 send 1.1 2 d",
        "11 held
         11 held
         14 held
         35 2.1 message a of 1
         35 2.1 stream 1 opened by 1
         35 2.1 message b of 1
         41 2.1 message c of 1
         47 2.1 message d of 1",
    );
}

#[test]
fn what_a_clogged_link_holds_is_judged_when_it_comes_out() {
    check(
        connection(),
        "0 clog 1→2
         0 clog 3→2
         0 send 1.1 2 a
         0 send 3.1 2 b
         20 block 1→2
         21 heal
         30 unclog 1→2
         31 register 2.2
         32 unclog 3→2",
        "11 held
         11 held
         30 dropped ConnectionBroken
         32 dropped Reset",
    );
}

#[test]
fn overlapping_partitions_heal_one_by_one() {
    let mut network = Network::new(1);
    let one_way = |from: &[Address], to: &[Address]| Partition::OneWay {
        from: from.iter().copied().collect(),
        to: to.iter().copied().collect(),
    };
    let (wide, _) = network.partition(0, &one_way(&[1], &[2, 3]));
    let (narrow, _) = network.partition(0, &one_way(&[1], &[2]));
    assert_eq!(network.blocked_links(), 2, "a link that two partitions block is one link");
    network.heal(wide);
    network.heal(wide);
    assert_eq!(network.blocked_links(), 1);
    assert!(network.is_blocked(1, 2) && !network.is_blocked(1, 3) && !network.is_blocked(2, 1));
    network.heal(narrow);
    assert!(!network.is_blocked(1, 2));
    assert_eq!(network.blocked_links(), 0);
}

/// Compares the undirected pairs blocked in both directions; nothing else may be blocked.
fn check_shape(partition: &Partition, expected: &[Pair]) {
    let both_ways: BTreeSet<Pair> = expected.iter().flat_map(|&(a, b)| [(a, b), (b, a)]).collect();
    assert_eq!(partition.pairs(), both_ways, "{partition:?}");
}

#[test]
fn shapes_block_the_pairs_of_their_names() {
    let set = |members: &[Address]| members.iter().copied().collect::<BTreeSet<Address>>();
    check_shape(
        &Partition::Split { groups: vec![set(&[1, 2]), set(&[3]), set(&[4])] },
        &[(1, 3), (2, 3), (1, 4), (2, 4), (3, 4)],
    );
    check_shape(&Partition::Split { groups: vec![set(&[1, 2]), set(&[2, 3])] }, &[(1, 3)]);
    check_shape(
        &Partition::Bridge { left: set(&[1, 2, 3]), bridge: 3, right: set(&[3, 4, 5]) },
        &[(1, 4), (1, 5), (2, 4), (2, 5)],
    );
    check_shape(&Partition::Ring { order: vec![1, 2, 3, 4, 5] }, &[(1, 3), (1, 4), (2, 4), (2, 5), (3, 5)]);
    check_shape(&Partition::Ring { order: vec![1, 2, 3] }, &[]);
    check_shape(&Partition::Ring { order: vec![] }, &[]);
    check_shape(&Partition::Isolate { address: 2, others: set(&[1, 2, 3]) }, &[(1, 2), (2, 3)]);
    let one_way = Partition::OneWay { from: set(&[1, 2]), to: set(&[2, 3]) };
    assert_eq!(one_way.pairs(), BTreeSet::from([(1, 2), (1, 3), (2, 3)]));
}

#[test]
fn options_that_contradict_each_other_are_refused() {
    let no_room = LinkOptions { latency_ns_base: 5, latency_ns_mean: 5, latency_ns_max: 9, ..slow() };
    assert_eq!(no_room.check(), Err(LinkOptionsError::LatencyBound { max: 9, least: 10 }));
    let no_delay = LinkOptions { reordering: Ratio::ONE, ..slow() };
    assert_eq!(no_delay.check(), Err(LinkOptionsError::ReorderingBound));
    let presets = [LinkOptions::default(), LinkOptions::calm(), LinkOptions::client()];
    let mut entropy = Entropy::stream(1, "swarm");
    for options in presets.into_iter().chain((0..100).map(|_| LinkOptions::swarm(&mut entropy))) {
        assert_eq!(options.check(), Ok(()), "{options:?}");
    }
}

#[test]
fn the_faults_of_a_swarm_come_near_their_ratios() {
    let mut world = World::new(1, 1..=2);
    let ratio = Ratio::percent(10);
    world.network.set_default_link(LinkOptions {
        loss: ratio,
        duplication: ratio,
        reordering: ratio,
        reordering_ns_max: 100,
        corruption: ratio,
        ..LinkOptions::default()
    });
    for _ in 0..10_000 {
        world.call(|network, now| network.send(now, endpoint(1, 1), 2, vec![0; 8]));
    }
    world.settle();
    let counters = *world.network.counters();
    assert!((900..1_100).contains(&counters.messages_lost), "{counters:?}");
    assert!((800..1_000).contains(&counters.messages_duplicated), "{counters:?}");
    assert!((800..1_000).contains(&counters.messages_reordered), "{counters:?}");
    assert!((880..1_100).contains(&counters.messages_corrupted), "{counters:?}");
    let damaged = world.messages().filter(|(_, _, bytes)| *bytes != [0; 8]).count() as u64;
    assert_eq!(damaged, counters.messages_corrupted);
}

/// When 20 messages sent at once over a link with a varying latency arrive.
fn arrivals(seed: u64, from: Address, to: Address) -> Vec<u64> {
    let mut world = World::new(seed, 1..=3);
    world.network.set_default_link(LinkOptions {
        latency_ns_mean: 1_000,
        latency_ns_max: 100_000,
        reordering: Ratio::ONE,
        reordering_ns_max: 1_000,
        ..LinkOptions::default()
    });
    for _ in 0..20 {
        world.call(|network, now| network.send(now, endpoint(from, 1), to, vec![1]));
    }
    world.settle();
    world.received().map(|(at_ns, ..)| at_ns).collect()
}

#[test]
fn each_directed_link_has_a_chance_of_its_own() {
    let links = [(1, 2), (2, 1), (1, 3), (3, 2)];
    let distinct: BTreeSet<Vec<u64>> = links.iter().map(|&(from, to)| arrivals(7, from, to)).collect();
    assert_eq!(distinct.len(), links.len());
}

/// A plan in a corpus names a seed: what that seed does to a link must not change.
#[test]
fn what_a_seed_does_to_a_link_is_a_promise() {
    assert_eq!(arrivals(7, 1, 2)[..5], [1734, 2370, 2679, 5171, 5226]);
}

#[test]
#[should_panic(expected = "time went back")]
fn time_does_not_go_back() {
    let mut network = Network::new(1);
    network.register(0, endpoint(1, 1));
    network.send(10, endpoint(1, 1), 2, Vec::new());
    network.send(9, endpoint(1, 1), 2, Vec::new());
}
