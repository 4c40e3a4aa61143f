//! Any single flipped, dropped or added byte of a headed stream is refused: by the reader, or, where the
//! damage hides the magic, by the frames of the legacy engine.

use crate::streams::{HEADED_ENGINES, headed, read, release_two};
use proptest::prelude::*;
use snapshots::{HeaderLayout, MAGIC, ReaderOptions, Received, Route, Sniffed, StreamError, sniff};
use std::collections::BTreeMap;

/// The longest key of a legacy export. Its first frame is a key's, so this bounds a body's first four bytes.
const LEGACY_KEY_BYTES_MAX: u32 = 1 << 20;

#[derive(Clone, Copy, Debug)]
enum Damage {
    Flip { offset: usize, bits: u8 },
    Drop { offset: usize },
    Add { offset: usize, byte: u8 },
}

impl Damage {
    fn name(self) -> &'static str {
        match self {
            Damage::Flip { .. } => "flipped",
            Damage::Drop { .. } => "dropped",
            Damage::Add { .. } => "added",
        }
    }

    fn inflict(self, stream: &[u8]) -> Vec<u8> {
        let mut damaged = stream.to_vec();
        match self {
            Damage::Flip { offset, bits } => damaged[offset] ^= bits,
            Damage::Drop { offset } => drop(damaged.remove(offset)),
            Damage::Add { offset, byte } => damaged.insert(offset, byte),
        }
        damaged
    }

    /// Every damage of one byte to a stream of `length` bytes.
    fn all(length: usize) -> impl Iterator<Item = Damage> {
        let flips =
            (0..length).flat_map(|offset| (1..=u8::MAX).map(move |bits| Damage::Flip { offset, bits }));
        let drops = (0..length).map(|offset| Damage::Drop { offset });
        let adds =
            (0..=length).flat_map(|offset| (0..=u8::MAX).map(move |byte| Damage::Add { offset, byte }));
        flips.chain(drops).chain(adds)
    }
}

/// The beginning of the legacy engine's frame rule, enough for this test. The real reader, which also checks
/// every frame's checksum, is held to the same property where both crates meet, in `scenarios`.
fn legacy_refuses(body: &[u8]) -> bool {
    body.first_chunk().is_none_or(|length| u32::from_le_bytes(*length) > LEGACY_KEY_BYTES_MAX)
}

/// Who refused a damaged stream, and why; an error text when nobody did.
fn refused_by(options: ReaderOptions, announced: u64, stream: &[u8]) -> Result<&'static str, String> {
    let outcome = read(options, announced, [stream]);
    match outcome.verdict {
        Err(StreamError::Truncated { .. }) => Ok("truncated"),
        Err(StreamError::Overlong { .. }) => Ok("over-long"),
        Err(StreamError::UnknownEngine { .. }) => Ok("unknown engine"),
        Err(StreamError::UnknownVersion { .. }) => Ok("unknown version"),
        Err(StreamError::WrongDigest { .. }) => Ok("wrong digest"),
        Err(StreamError::Io { message, .. }) => Err(message),
        Ok(Received { route: Route::Legacy, .. }) if legacy_refuses(&outcome.body) => Ok("legacy frames"),
        Ok(received) => Err(format!("accepted as {received:?}")),
    }
}

/// Tries every damage with the announcement as it was (the sender announced the undamaged stream) and fitted
/// to the damage (the worst case: the size betrays nothing), and counts who refused it.
fn tally(options: ReaderOptions, stream: &[u8]) -> String {
    let mut counts: BTreeMap<_, u32> = BTreeMap::new();
    for damage in Damage::all(stream.len()) {
        let damaged = damage.inflict(stream);
        for (announcement, announced) in [("as it was", stream.len()), ("fitted", damaged.len())] {
            let refusal = refused_by(options, announced as u64, &damaged)
                .unwrap_or_else(|accepted| panic!("{damage:?}, {announcement}: {accepted}"));
            *counts.entry((announcement, damage.name(), refusal)).or_default() += 1;
        }
    }
    let lines = counts.iter().map(|((announcement, damage, refusal), count)| {
        format!("announced {announcement:<10} {damage:<8} {refusal:<16} {count:>6}\n")
    });
    lines.collect()
}

#[test]
fn every_damage_of_one_byte_is_refused() {
    for layout in [HeaderLayout::Bytes21, HeaderLayout::Bytes17] {
        let options = ReaderOptions { layout, ..release_two() };
        for body in [&b""[..], b"ETCDSNAP\0\0\0\0\0\0\0\0\x01\x01\0\0\0 a hostile body"] {
            let stream = headed(0x01, layout, body);
            insta::assert_snapshot!(
                format!("tally_{layout:?}_body_of_{}", body.len()),
                tally(options, &stream)
            );
        }
    }
}

#[test]
fn no_damage_of_one_byte_makes_the_magic_a_legal_length() {
    // The nearest miss: 'D' becomes zero and leaves 0x00435445, 4.2 MiB. A limit of 16 MiB for the first
    // frame would let that pass; the key limit of 1 MiB does not.
    let lengths = Damage::all(MAGIC.len())
        .map(|damage| u32::from_le_bytes(*damage.inflict(&MAGIC).first_chunk().unwrap()));
    assert_eq!(lengths.min(), Some(0x0043_5445));
    const { assert!(LEGACY_KEY_BYTES_MAX < 0x0043_5445) };
}

fn damages(length: usize) -> impl Strategy<Value = Damage> {
    prop_oneof![
        (0..length, 1..=u8::MAX).prop_map(|(offset, bits)| Damage::Flip { offset, bits }),
        (0..length).prop_map(|offset| Damage::Drop { offset }),
        (0..=length, any::<u8>()).prop_map(|(offset, byte)| Damage::Add { offset, byte }),
    ]
}

fn damaged_streams() -> impl Strategy<Value = (Vec<u8>, Damage)> {
    (prop::sample::select(&HEADED_ENGINES[..]), prop::collection::vec(any::<u8>(), 0..2000))
        .prop_map(|(engine, body)| headed(engine, HeaderLayout::Bytes21, &body))
        .prop_flat_map(|stream| {
            let damage = damages(stream.len());
            (Just(stream), damage)
        })
}

proptest! {
    #[test]
    fn a_damage_to_a_stream_of_any_body_is_refused((stream, damage) in damaged_streams()) {
        let damaged = damage.inflict(&stream);
        for announced in [stream.len(), damaged.len()] {
            let refusal = refused_by(release_two(), announced as u64, &damaged);
            prop_assert!(refusal.is_ok(), "{damage:?}: {refusal:?}");
        }
    }

    /// Whatever follows the first length, whoever chose the keys.
    #[test]
    fn no_legacy_body_begins_with_the_magic(
        length in 0..=LEGACY_KEY_BYTES_MAX,
        hostile in prop_oneof![Just(MAGIC.to_vec()), Just(MAGIC[4..].to_vec()), prop::collection::vec(any::<u8>(), 0..40)],
    ) {
        let body = [&length.to_le_bytes()[..], &hostile].concat();
        prop_assert_eq!(sniff(&body), Some(Sniffed::Legacy));
        let outcome = read(release_two(), body.len() as u64, [&body[..]]);
        prop_assert_eq!(outcome.verdict.map(|received| received.route), Ok(Route::Legacy));
        prop_assert_eq!(outcome.body, body);
    }
}
