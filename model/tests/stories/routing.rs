//! Snapshot streams are routed as the format says.

use model::routing::{self, End, Form, Handling, Party, Reason, Received, Release, Sent, SnapshotEvent};

const SLED: u8 = 0;
const FJALL: u8 = 1;
const REDB: u8 = 2;

fn party(node: u64, release: Release, engine: u8) -> Party {
    let readable = match release {
        Release::One => [SLED].into(),
        Release::Two => [SLED, FJALL, REDB].into(),
    };
    Party { node, release, engine, readable }
}

fn header(engine: u8, version: u32) -> Vec<u8> {
    let mut bytes = b"ETCDSNAP\0\0\0\0\0\0\0\0".to_vec();
    bytes.push(engine);
    bytes.extend(version.to_le_bytes());
    bytes
}

const BARE: &[u8] = b"\x05\0\0\0\x01key12345678901234567";

#[test]
fn the_form_depends_on_the_sender_and_on_what_the_receiver_knows() {
    use Release::{One, Two};
    let form = |sender, release| routing::form(&party(1, Two, sender), &party(2, release, SLED));
    assert_eq!(form(SLED, One), Form::Bare);
    assert_eq!(form(SLED, Two), Form::Bare);
    assert_eq!(form(FJALL, One), Form::Bare);
    assert_eq!(form(FJALL, Two), Form::Headed { engine: FJALL });
}

#[test]
fn the_handling_depends_on_the_receiver_and_the_first_bytes() {
    use Release::{One, Two};
    let route = |sender, receiver: (Release, u8), bytes: &[u8]| {
        routing::route(&party(1, Two, sender), &party(2, receiver.0, receiver.1), bytes)
    };
    assert_eq!(route(SLED, (One, SLED), BARE), Ok(Handling::Install));
    assert_eq!(route(FJALL, (One, SLED), BARE), Ok(Handling::Install));
    assert_eq!(route(SLED, (Two, SLED), BARE), Ok(Handling::Install));
    assert_eq!(route(SLED, (Two, FJALL), BARE), Ok(Handling::Transcode { from: SLED }));
    assert_eq!(route(FJALL, (Two, FJALL), &header(FJALL, 1)), Ok(Handling::Install));
    assert_eq!(route(FJALL, (Two, SLED), &header(FJALL, 1)), Ok(Handling::Transcode { from: FJALL }));
    assert_eq!(route(0x77, (Two, SLED), &header(0x77, 1)), Ok(Handling::Refuse(Reason::UnknownEngine)));
    assert_eq!(route(FJALL, (Two, REDB), &header(FJALL, 1)[..17]), Ok(Handling::Transcode { from: FJALL }));
    for (sender, receiver, bytes) in [
        (FJALL, (One, SLED), header(FJALL, 1)),
        (FJALL, (Two, SLED), BARE.to_vec()),
        (FJALL, (Two, SLED), header(REDB, 1)),
        (FJALL, (Two, SLED), header(FJALL, 2)),
        (FJALL, (Two, SLED), header(FJALL, 1)[..16].to_vec()),
        (SLED, (Two, FJALL), header(SLED, 1)),
    ] {
        assert!(route(sender, receiver, &bytes).is_err(), "{sender} to {receiver:?}: {bytes:?}");
    }
}

fn sent(sender: Party, receiver: Party, first_bytes: &[u8]) -> Sent {
    let first_bytes = first_bytes.to_vec();
    Sent { stream: 1, sender, receiver, announced_bytes: 1000, true_bytes: Some(1000), first_bytes }
}

fn received(end: End) -> Received {
    Received { stream: 1, received_bytes: 1000, damaged: false, end, state_before: 5, state_after: 5 }
}

fn headed() -> Sent {
    sent(party(1, Release::Two, FJALL), party(2, Release::Two, FJALL), &header(FJALL, 1))
}

fn check(sent: Sent, received: Received, expected: &[&str]) {
    let events = [SnapshotEvent::Sent(sent), SnapshotEvent::Received(received)];
    let found: Vec<String> = routing::check(&events).into_iter().map(|violation| violation.message).collect();
    assert_eq!(found, expected);
}

#[test]
fn streams_that_went_as_they_must_are_right() {
    check(headed(), received(End::Installed), &[]);
    let from_sled = sent(party(1, Release::Two, SLED), party(2, Release::Two, FJALL), BARE);
    check(from_sled, received(End::Transcoded), &[]);
    check(headed(), received(End::Abandoned), &[]);
    check(headed(), Received { state_after: 6, ..received(End::Crashed) }, &[]);
    let broken = Sent { true_bytes: None, ..headed() };
    check(broken, Received { received_bytes: 400, ..received(End::Refused(Reason::Truncated)) }, &[]);
    let damaged = Received { damaged: true, ..received(End::Refused(Reason::WrongDigest)) };
    check(headed(), damaged, &[]);
}

#[test]
fn a_size_that_counts_the_body_only_is_seen() {
    check(
        Sent { announced_bytes: 1000 - 21 - 32, ..headed() },
        Received { received_bytes: 1000, ..received(End::Refused(Reason::Overlong)) },
        &["stream 1 announced 947 bytes, but has 1000"],
    );
}

#[test]
fn a_headed_stream_to_release_1_is_seen() {
    check(
        sent(party(1, Release::Two, FJALL), party(2, Release::One, SLED), &header(FJALL, 1)),
        received(End::Refused(Reason::UnreadableBody)),
        &[
            "stream 1 is headed with engine 0x01, version 1, but from this sender to this receiver it must be bare",
        ],
    );
}

#[test]
fn a_damaged_stream_that_is_installed_is_seen() {
    check(
        headed(),
        Received { damaged: true, state_after: 6, ..received(End::Installed) },
        &["stream 1 was Installed, but the receiver must have refused it: it was damaged on the way"],
    );
}

#[test]
fn a_short_or_long_stream_must_be_refused_for_that() {
    for end in [End::Installed, End::Transcoded, End::Refused(Reason::WrongDigest)] {
        let events = |received_bytes| Received { received_bytes, ..received(end) };
        let shown =
            |word: &str| format!("stream 1 was {end:?}, but the receiver must have refused it as {word}");
        check(headed(), events(999), &[&shown("truncated")]);
        check(headed(), events(1001), &[&shown("over-long")]);
    }
}

#[test]
fn a_wrong_handling_of_a_right_stream_is_seen() {
    check(
        headed(),
        received(End::Transcoded),
        &["stream 1 was Transcoded, but the receiver must have installed it"],
    );
    check(
        headed(),
        received(End::Refused(Reason::WrongDigest)),
        &["stream 1 was Refused(WrongDigest), but the receiver must have installed it"],
    );
    let from_sled = || sent(party(1, Release::Two, SLED), party(2, Release::Two, FJALL), BARE);
    check(
        from_sled(),
        received(End::Installed),
        &["stream 1 was Installed, but the receiver must have transcoded it from engine 0x00"],
    );
}

#[test]
fn a_refusal_that_changed_the_state_is_seen() {
    for end in [End::Refused(Reason::Truncated), End::Abandoned] {
        let changed = Received { received_bytes: 10, state_after: 6, ..received(end) };
        let shown = format!(
            "stream 1 was {end:?}, yet the state that the receiver serves went from 0000000000000005 to 0000000000000006"
        );
        check(headed(), changed, &[&shown]);
    }
}

#[test]
fn a_stream_that_nobody_sent_is_seen() {
    let events = [SnapshotEvent::Received(received(End::Installed))];
    assert_eq!(routing::check(&events)[0].message, "stream 1 was received, but nobody sent it");
}

#[test]
fn a_stream_shorter_than_its_header_and_trailer_is_seen() {
    check(
        Sent { announced_bytes: 40, true_bytes: Some(40), ..headed() },
        Received { received_bytes: 40, ..received(End::Abandoned) },
        &["stream 1 is shorter than its header and trailer"],
    );
}
