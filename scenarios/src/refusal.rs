//! Which rule of the stream format a replica named when it refused a snapshot.
//!
//! A replica tells its observer the words, not a type: they are what an operator would read, and they go into the
//! trace. So the words of crates `snapshots` and `engines` are matched here, and the tests hold each of them to it.

use model::routing::Reason;

/// What the words of each rule contain, and no other refusal's.
const RULES: [(&str, Reason); 9] = [
    ("snapshot stream truncated", Reason::Truncated),
    ("snapshot stream over-long", Reason::Overlong),
    ("snapshot stream of unknown engine", Reason::UnknownEngine),
    ("has unknown format version", Reason::UnknownVersion),
    ("snapshot stream has a wrong digest", Reason::WrongDigest),
    ("snapshot body is malformed", Reason::UnreadableBody),
    // A receiver that does not take what its release must, the legacy engine's bare streams among it.
    ("does not accept bare snapshot streams", Reason::UnknownEngine),
    ("does not accept headed snapshot streams of engine", Reason::UnknownEngine),
    ("does not read version", Reason::UnknownVersion),
];

/// The rule that a refusal names; none where the trouble was the receiver's own: its disk, or that it had no use
/// for the snapshot.
pub(crate) fn reason(error: &str) -> Option<Reason> {
    RULES.iter().find(|(words, _)| error.contains(words)).map(|(_, reason)| *reason)
}

#[cfg(test)]
mod tests {
    use super::*;
    use engines::EngineId;
    use snapshots::{Digest, Refusal, StreamError};
    use std::io;
    use std::ops::ControlFlow;

    /// The rule behind each refusal by a stream's bytes. A new variant must be met here, and in the list below.
    fn rule(error: &StreamError) -> Option<Reason> {
        match error {
            StreamError::Truncated { .. } => Some(Reason::Truncated),
            StreamError::Overlong { .. } => Some(Reason::Overlong),
            StreamError::UnknownEngine { .. } => Some(Reason::UnknownEngine),
            StreamError::UnknownVersion { .. } => Some(Reason::UnknownVersion),
            StreamError::WrongDigest { .. } => Some(Reason::WrongDigest),
            StreamError::Io { .. } => None,
        }
    }

    /// The rule behind each refusal by a stream's route.
    fn rule_of_route(refusal: &Refusal) -> Option<Reason> {
        match refusal {
            Refusal::BareNotAccepted | Refusal::EngineNotAccepted { .. } => Some(Reason::UnknownEngine),
            Refusal::VersionNotAccepted { .. } => Some(Reason::UnknownVersion),
        }
    }

    #[test]
    fn the_words_of_every_refusal_are_understood() {
        let digest = |byte| Digest([byte; 32]);
        let errors = [
            StreamError::Truncated { expected: 79, got: 78 },
            StreamError::Overlong { announced: 79 },
            StreamError::UnknownEngine { id: 0x7f },
            StreamError::UnknownVersion { engine: 0x01, version: 2 },
            StreamError::WrongDigest { carried: digest(1), computed: digest(2) },
            io::Error::from(io::ErrorKind::StorageFull).into(),
        ];
        for error in errors {
            assert_eq!(reason(&error.to_string()), rule(&error), "{error}");
        }
        let refusals = [
            Refusal::BareNotAccepted,
            Refusal::EngineNotAccepted { id: 0x7f },
            Refusal::VersionNotAccepted { version: 2 },
        ];
        for refusal in refusals {
            assert_eq!(reason(&refusal.to_string()), rule_of_route(&refusal), "{refusal}");
        }
    }

    #[test]
    fn every_body_that_an_engine_refuses_is_unreadable() {
        let headed = [&snapshots::MAGIC[..], &[EngineId::Redb.byte(), 1, 0, 0, 0]].concat();
        for body in [&b""[..], b"\0", &headed] {
            let mut rest = body;
            let read = engines::sled::export::read_pairs(&mut rest, &mut |_, _| ControlFlow::Continue(()));
            let error = read.expect_err("none of these is a body").to_string();
            assert_eq!(reason(&error), Some(Reason::UnreadableBody), "{error}");
        }
    }

    #[test]
    fn trouble_of_the_receiver_itself_names_no_rule() {
        for error in [
            "snapshot body could not be written: no space left on device",
            "I/O error while reading a snapshot body: input/output error",
            "the stream ended within its prelude",
        ] {
            assert_eq!(reason(error), None, "{error}");
        }
    }
}
