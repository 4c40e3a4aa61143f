//! Routing of snapshot streams: which stream a sender must produce, and what a receiver must do with it.
//!
//! Written from the format's description alone, so that the code under test and this check cannot share an
//! error:
//! ```text
//! offset  0  magic       16 bytes   "ETCDSNAP" then eight zero bytes
//!        16  engine id    1 byte
//!        17  version      4 bytes   little endian, 1
//!        21  body         N bytes
//!      21+N  SHA-256     32 bytes   over header and body
//! ```
//! A stream that does not start with the magic is legacy: a bare body of engine 0x00, which never has a header.
//! The announced size is the size of the whole stream.

use std::collections::{BTreeMap, BTreeSet};

use crate::verdict::{Check, Violation};

const MAGIC: &[u8; 16] = b"ETCDSNAP\0\0\0\0\0\0\0\0";
const ROUTING_PREFIX_BYTES: usize = 17;
const HEADER_BYTES: u64 = 21;
const TRAILER_BYTES: u64 = 32;
const VERSION: u32 = 1;
/// The engine whose streams are bare.
const LEGACY_ENGINE: u8 = 0x00;

/// What a node's software can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// Knows the legacy engine and bare streams only, and takes whatever it receives for one.
    One,
    /// Knows the header, and all engines.
    Two,
}

/// One end of a stream, as it truly is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Party {
    /// The node.
    pub node: u64,
    /// Its release.
    pub release: Release,
    /// The engine that it runs on.
    pub engine: u8,
    /// The engines whose bodies it can read, for transcoding.
    pub readable: BTreeSet<u8>,
}

/// The form of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A body of the legacy engine, without header and trailer.
    Bare,
    /// A body of `engine` between header and trailer.
    Headed {
        /// The engine.
        engine: u8,
    },
}

impl std::fmt::Display for Form {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Form::Bare => formatter.write_str("bare"),
            Form::Headed { engine } => write!(formatter, "headed with engine {engine:#04x}"),
        }
    }
}

/// What a receiver must do with a stream that arrived whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handling {
    /// Put the body in the place of its data.
    Install,
    /// Read the body of another engine and write its contents into its own.
    Transcode {
        /// The engine of the body.
        from: u8,
    },
    /// Leave everything as it is.
    Refuse(Reason),
}

/// Why a stream was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Fewer bytes than announced, or than a header has.
    Truncated,
    /// More bytes than announced.
    Overlong,
    /// The header names an engine that the receiver does not know.
    UnknownEngine,
    /// The header has another version than 1.
    UnknownVersion,
    /// The trailer does not fit.
    WrongDigest,
    /// The body is not one of the engine that it should be of.
    UnreadableBody,
}

/// The stream should not have been sent to this receiver: in words that go on after its name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is {found}, but from this sender to this receiver it must be {expected}")]
pub struct Missent {
    /// The form that it must have.
    pub expected: Form,
    /// What it is, in words.
    pub found: String,
}

/// The form of the stream that `sender` owes `receiver`: always bare from the legacy engine, and always bare
/// to release 1, for which another engine transcodes; otherwise the sender's own, with a header.
pub fn form(sender: &Party, receiver: &Party) -> Form {
    match (sender.engine, receiver.release) {
        (LEGACY_ENGINE, Release::One | Release::Two) | (_, Release::One) => Form::Bare,
        (engine, Release::Two) => Form::Headed { engine },
    }
}

/// What `receiver` must do with a stream of `sender` that arrives as it was sent, from its first bytes.
///
/// # Errors
/// The stream should not have been sent.
pub fn route(sender: &Party, receiver: &Party, first_bytes: &[u8]) -> Result<Handling, Missent> {
    let expected = form(sender, receiver);
    let header = Header::read(first_bytes);
    let fits = match (expected, &header) {
        (Form::Bare, Header::Absent) => true,
        (Form::Headed { engine }, Header::Present { engine: found, version }) => {
            *found == engine && version.is_none_or(|version| version == VERSION)
        }
        (Form::Bare, Header::Present { .. } | Header::Short)
        | (Form::Headed { engine: _ }, Header::Absent | Header::Short) => false,
    };
    if fits { Ok(handle(receiver, &header)) } else { Err(Missent { expected, found: header.to_string() }) }
}

fn handle(receiver: &Party, header: &Header) -> Handling {
    match (receiver.release, header) {
        (Release::One, Header::Absent) => Handling::Install,
        (Release::One, Header::Present { .. } | Header::Short) => Handling::Refuse(Reason::UnreadableBody),
        (Release::Two, Header::Short) => Handling::Refuse(Reason::Truncated),
        (Release::Two, Header::Absent) => read_body(receiver, LEGACY_ENGINE),
        (Release::Two, Header::Present { engine: LEGACY_ENGINE, version: _ }) => {
            Handling::Refuse(Reason::UnknownEngine)
        }
        (Release::Two, Header::Present { engine, version }) => match read_body(receiver, *engine) {
            Handling::Install | Handling::Transcode { from: _ } if version.is_some_and(|v| v != VERSION) => {
                Handling::Refuse(Reason::UnknownVersion)
            }
            handling => handling,
        },
    }
}

fn read_body(receiver: &Party, engine: u8) -> Handling {
    if engine == receiver.engine {
        Handling::Install
    } else if receiver.readable.contains(&engine) {
        Handling::Transcode { from: engine }
    } else {
        Handling::Refuse(Reason::UnknownEngine)
    }
}

/// What stands where a header would.
enum Header {
    Absent,
    /// The stream ends before it says of which engine it is.
    Short,
    Present {
        engine: u8,
        /// `None` where not enough bytes were seen to tell.
        version: Option<u32>,
    },
}

impl Header {
    fn read(first_bytes: &[u8]) -> Header {
        if !first_bytes.starts_with(MAGIC) {
            return Header::Absent;
        }
        match first_bytes[MAGIC.len()..] {
            [] => Header::Short,
            [engine, a, b, c, d, ..] => {
                Header::Present { engine, version: Some(u32::from_le_bytes([a, b, c, d])) }
            }
            [engine, ..] => Header::Present { engine, version: None },
        }
    }
}

impl std::fmt::Display for Header {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Header::Absent => formatter.write_str("bare"),
            Header::Short => formatter.write_str("cut off inside its header"),
            Header::Present { engine, version } => {
                write!(formatter, "headed with engine {engine:#04x}")?;
                version.map_or(Ok(()), |version| write!(formatter, ", version {version}"))
            }
        }
    }
}

/// Something that was seen of a snapshot stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SnapshotEvent {
    /// A sender produced a stream.
    Sent(Sent),
    /// A receiver was done with a stream.
    Received(Received),
}

/// A stream as its sender produced it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Names the stream.
    pub stream: u64,
    /// Who sent it.
    pub sender: Party,
    /// Who it was for.
    pub receiver: Party,
    /// The size that the sender announced, in bytes.
    pub announced_bytes: u64,
    /// The bytes that the sender wrote; `None` if the stream broke before its end.
    pub true_bytes: Option<u64>,
    /// The first 21 bytes, or all if there are fewer. The first 17 do, without the check of the version.
    pub first_bytes: Vec<u8>,
}

/// A stream as its receiver saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// Names the stream.
    pub stream: u64,
    /// The bytes that arrived.
    pub received_bytes: u64,
    /// The link changed bytes on the way.
    pub damaged: bool,
    /// What the receiver did.
    pub end: End,
    /// A hash of the state that the receiver served before.
    pub state_before: u64,
    /// A hash of the state that it served after.
    pub state_after: u64,
}

/// What a receiver did with a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Installed the body as it came.
    Installed,
    /// Installed its contents in another engine.
    Transcoded,
    /// Refused it.
    Refused(Reason),
    /// Turned away before the end: the stream broke, or was no longer needed.
    Abandoned,
    /// Crashed. It may come back with the old state or with the new one.
    Crashed,
}

/// Checks what was seen of all streams against [`form`] and [`route`].
pub fn check(events: &[SnapshotEvent]) -> Vec<Violation> {
    let mut sent: BTreeMap<u64, &Sent> = BTreeMap::new();
    let mut violations = Vec::new();
    for event in events {
        match event {
            SnapshotEvent::Sent(event) => {
                violations.extend(check_sent(event));
                sent.insert(event.stream, event);
            }
            SnapshotEvent::Received(event) => match sent.get(&event.stream) {
                Some(sent) => violations.extend(check_received(sent, event)),
                None => {
                    let message = format!("stream {} was received, but nobody sent it", event.stream);
                    violations.push(Violation::new(Check::Routing, message));
                }
            },
        }
    }
    violations
}

fn check_sent(sent: &Sent) -> Vec<Violation> {
    let mut violations = Vec::new();
    let telling = sent.true_bytes.is_some() || sent.first_bytes.len() >= ROUTING_PREFIX_BYTES;
    if telling && let Err(missent) = route(&sent.sender, &sent.receiver, &sent.first_bytes) {
        violations.push(violation(sent, &missent.to_string()));
    }
    let Some(true_bytes) = sent.true_bytes else { return violations };
    if sent.announced_bytes != true_bytes {
        let message = format!("announced {} bytes, but has {true_bytes}", sent.announced_bytes);
        violations.push(violation(sent, &message));
    }
    let headed = sent.first_bytes.starts_with(MAGIC);
    if headed && true_bytes < HEADER_BYTES + TRAILER_BYTES {
        violations.push(violation(sent, "is shorter than its header and trailer"));
    }
    violations
}

fn check_received(sent: &Sent, received: &Received) -> Vec<Violation> {
    let mut violations = Vec::new();
    if let Err(expected) = check_end(sent, received) {
        let message = format!("was {:?}, but the receiver must have {expected}", received.end);
        violations.push(violation(sent, &message));
    }
    let unchanged = match received.end {
        End::Installed | End::Transcoded | End::Crashed => true,
        End::Refused(_) | End::Abandoned => received.state_before == received.state_after,
    };
    if !unchanged {
        let message = format!(
            "was {:?}, yet the state that the receiver serves went from {:016x} to {:016x}",
            received.end, received.state_before, received.state_after
        );
        violations.push(violation(sent, &message));
    }
    violations
}

/// Whether the receiver did what it must; if not, what that is.
fn check_end(sent: &Sent, received: &Received) -> Result<(), String> {
    let end = received.end;
    if matches!(end, End::Abandoned | End::Crashed) {
        return Ok(());
    }
    let held = |holds: bool, expected: &str| if holds { Ok(()) } else { Err(expected.to_owned()) };
    if received.damaged {
        return held(matches!(end, End::Refused(_)), "refused it: it was damaged on the way");
    }
    if received.received_bytes < sent.announced_bytes {
        return held(end == End::Refused(Reason::Truncated), "refused it as truncated");
    }
    if received.received_bytes > sent.announced_bytes {
        return held(end == End::Refused(Reason::Overlong), "refused it as over-long");
    }
    match handle(&sent.receiver, &Header::read(&sent.first_bytes)) {
        Handling::Install => held(end == End::Installed, "installed it"),
        Handling::Transcode { from } => {
            held(end == End::Transcoded, &format!("transcoded it from engine {from:#04x}"))
        }
        Handling::Refuse(reason) => held(end == End::Refused(reason), &format!("refused it: {reason:?}")),
    }
}

fn violation(sent: &Sent, message: &str) -> Violation {
    let Sent { stream, sender, receiver, announced_bytes, true_bytes, first_bytes } = sent;
    let party = |party: &Party| {
        format!("node {} (release {:?}, engine {:#04x})", party.node, party.release, party.engine)
    };
    let size = true_bytes.map_or("broken off".to_owned(), |bytes| format!("{bytes} bytes"));
    Violation::new(Check::Routing, format!("stream {stream} {message}"))
        .with(format!("from {} to {}", party(sender), party(receiver)))
        .with(format!("announced {announced_bytes} bytes, sent {size}, beginning {first_bytes:02x?}"))
}
