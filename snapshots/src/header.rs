//! The layout of a headed stream.
//!
//! ```text
//! offset  0  magic       16 bytes   "ETCDSNAP" then eight zero bytes
//!        16  engine id    1 byte    never 0x00: the legacy engine's streams are bare
//!        17  version      4 bytes   little endian, 1
//!        21  body         N bytes   the engine's native snapshot
//!      21+N  SHA-256     32 bytes   over header and body
//! ```
//!
//! The first 17 bytes are the routing prefix: enough to know which engine's body follows.
//!
//! The notebook that this format comes from calls the header "17 bytes" in one place and draws the version
//! field in another. 21 bytes is this project's reading; the 17-byte header is kept as a design variant,
//! [`HeaderLayout::Bytes17`]:
//!
//! ```text
//! offset  0  magic       16 bytes
//!        16  engine id    1 byte
//!        17  body         N bytes
//!      17+N  SHA-256     32 bytes   over header and body
//! ```

/// What every headed stream begins with, and no bare one does.
pub const MAGIC: [u8; 16] = *b"ETCDSNAP\0\0\0\0\0\0\0\0";

/// Size of the header, in bytes.
pub const HEADER_BYTES: u64 = 21;

/// Size of the SHA-256 trailer, in bytes.
pub const TRAILER_BYTES: u64 = 32;

/// The one format version there is.
pub const VERSION: u32 = 1;

/// The engine of every bare stream (sled). Never legal in a header.
pub const LEGACY_ENGINE: u8 = 0x00;

/// Offset of the engine id in the header.
pub(crate) const ENGINE_OFFSET: usize = 16;

/// Offset of the version in the header.
const VERSION_OFFSET: usize = 17;

/// Bytes on the wire of a headed stream whose body has `body_bytes`: header, body and trailer.
///
/// This is what the sender announces. The wire size of a bare stream is its body's.
pub const fn wire_size(body_bytes: u64) -> u64 {
    HeaderLayout::Bytes21.wire_size(body_bytes)
}

/// The layouts of a header: the baseline and the design variant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum HeaderLayout {
    /// Magic, engine id, version: the baseline.
    #[default]
    Bytes21,
    /// Magic, engine id: a variant for comparison. It reads as version 1 and cannot say anything else.
    Bytes17,
}

impl HeaderLayout {
    /// Size of the header, in bytes.
    pub const fn bytes(self) -> u64 {
        match self {
            HeaderLayout::Bytes21 => HEADER_BYTES,
            HeaderLayout::Bytes17 => HEADER_BYTES - size_of::<u32>() as u64,
        }
    }

    /// Size of header and trailer: what a headed stream has on top of its body, in bytes.
    pub const fn overhead_bytes(self) -> u64 {
        self.bytes() + TRAILER_BYTES
    }

    /// As [`wire_size`], for this layout.
    ///
    /// # Panics
    /// When the sum does not fit into 64 bits, which no body that exists reaches.
    pub const fn wire_size(self, body_bytes: u64) -> u64 {
        body_bytes.checked_add(self.overhead_bytes()).expect("a body leaves room for header and trailer")
    }
}

/// What a header says after its magic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Header {
    /// The engine whose native body follows.
    pub engine: u8,
    /// The format version; [`VERSION`] where the layout has no such field.
    pub version: u32,
}

impl Header {
    /// The header's bytes, as many as `layout` says. A layout without a version field leaves it out.
    pub fn encode(&self, layout: HeaderLayout) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.push(self.engine);
        match layout {
            HeaderLayout::Bytes21 => bytes.extend(self.version.to_le_bytes()),
            HeaderLayout::Bytes17 => {}
        }
        assert_eq!(bytes.len() as u64, layout.bytes(), "the layout states the header's size");
        bytes
    }

    /// The header at the start of `bytes`; `None` when they do not begin with the magic or are too few.
    ///
    /// Says what stands there, not whether this node reads it.
    pub fn decode(layout: HeaderLayout, bytes: &[u8]) -> Option<Header> {
        if !bytes.starts_with(&MAGIC) {
            return None;
        }
        let engine = *bytes.get(ENGINE_OFFSET)?;
        let version = match layout {
            HeaderLayout::Bytes21 => u32::from_le_bytes(*bytes.get(VERSION_OFFSET..)?.first_chunk()?),
            HeaderLayout::Bytes17 => VERSION,
        };
        Some(Header { engine, version })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn wire_size_counts_header_body_and_trailer() {
        assert_eq!(wire_size(0), 53);
        assert_eq!(wire_size(1_000_000), 1_000_053);
        assert_eq!(HeaderLayout::Bytes17.wire_size(0), 49);
    }

    proptest! {
        #[test]
        fn a_header_reads_back(engine: u8, version: u32) {
            let header = Header { engine, version };
            let bytes = header.encode(HeaderLayout::Bytes21);
            prop_assert_eq!(Header::decode(HeaderLayout::Bytes21, &bytes), Some(header));
            prop_assert_eq!(Header::decode(HeaderLayout::Bytes21, &bytes[..20]), None);

            let bytes = header.encode(HeaderLayout::Bytes17);
            let implied = Header { engine, version: VERSION };
            prop_assert_eq!(Header::decode(HeaderLayout::Bytes17, &bytes), Some(implied));
            prop_assert_eq!(Header::decode(HeaderLayout::Bytes17, &bytes[..16]), None);
        }
    }
}
