//! What a replica says about itself in every message to a peer.
//!
//! The hello rides on every frame, so that no peer can act on an outdated one for longer than one message:
//! which snapshot stream a replica can read changes with its release and its engine, at a restart.
//!
//! ```text
//! offset 0  incarnation  8 bytes   little endian
//!        8  release      1 byte    1 or 2
//!        9  engine       1 byte    the engine of its data directory
//!       10  bare         1 byte    1 if it accepts bare streams, else 0
//!       11  count        1 byte    how many engine ids follow
//!       12  engine ids   count     whose headed streams it accepts, ascending
//! ```

use std::time::SystemTime;

use engines::EngineId;
use snapshots::{EngineSet, Formats, Peer, Release};

const FIXED_BYTES: usize = 12;

/// Who a replica is, for the purpose of sending it snapshots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Differs between any two lives of a replica. A snapshot stream names the incarnation it is meant for.
    pub incarnation: u64,
    /// Its release, its engine and the streams that it accepts.
    pub peer: Peer,
}

impl Hello {
    /// The hello of a replica that starts now.
    pub(crate) fn of_this_start(release: Release, engine: EngineId) -> Hello {
        // Only its being different matters, so a clock that was set back does no harm.
        let incarnation = match SystemTime::now().duration_since(SystemTime::UNIX_EPOCH) {
            Ok(since) => since.as_nanos() as u64,
            Err(before) => before.duration().as_nanos() as u64,
        };
        let engines = engines::registry().iter().map(|engine| engine.id().byte()).collect::<EngineSet>();
        Hello { incarnation, peer: Peer::new(release, engine.byte(), engines) }
    }

    /// The bytes drawn at the top.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(FIXED_BYTES + 4);
        bytes.extend(self.incarnation.to_le_bytes());
        bytes.extend([self.peer.release.number(), self.peer.engine, u8::from(self.peer.accepts.bare), 0]);
        bytes.extend(self.peer.accepts.headed.iter().take(usize::from(u8::MAX)));
        bytes[FIXED_BYTES - 1] = (bytes.len() - FIXED_BYTES) as u8;
        bytes
    }

    /// The hello at the beginning of `bytes`, and what follows it; `None` if they do not begin with one.
    pub(crate) fn decode(bytes: &[u8]) -> Option<(Hello, &[u8])> {
        let (fixed, rest) = bytes.split_first_chunk::<FIXED_BYTES>()?;
        let (incarnation, &[release, engine, bare, count]) = fixed.split_first_chunk::<8>()? else {
            return None;
        };
        let (headed, rest) = rest.split_at_checked(usize::from(count))?;
        let peer = Peer {
            release: Release::from_number(release)?,
            engine,
            accepts: Formats { bare: bare == 1, headed: headed.iter().copied().collect() },
        };
        Some((Hello { incarnation: u64::from_le_bytes(*incarnation), peer }, rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hello_comes_back_with_what_followed_it() {
        for release in Release::ALL {
            for engine in EngineId::ALL {
                let hello = Hello::of_this_start(release, engine);
                let mut bytes = hello.encode();
                bytes.extend(b"payload");
                assert_eq!(Hello::decode(&bytes), Some((hello, b"payload".as_slice())));
            }
        }
    }

    #[test]
    fn a_hello_cut_short_or_of_an_unknown_release_is_none() {
        let hello = Hello::of_this_start(Release::Two, EngineId::Fjall);
        let bytes = hello.encode();
        for length in 0..bytes.len() {
            assert_eq!(Hello::decode(&bytes[..length]), None);
        }
        let mut unknown = bytes;
        unknown[8] = 3;
        assert_eq!(Hello::decode(&unknown), None);
    }
}
