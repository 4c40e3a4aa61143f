//! The one-byte identity of an engine, as it stands in snapshot headers and engine markers.

use std::fmt;
use std::str::FromStr;

/// The storage engines this project knows by number. The byte is part of the snapshot wire format and never
/// changes its meaning; a number may be reserved before its adapter exists (see [`crate::registry`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EngineId {
    /// sled, the legacy engine: its snapshot streams are bare, so this byte stands in no header.
    Sled,
    /// fjall, a log-structured merge tree with its own journal.
    Fjall,
    /// redb, a copy-on-write B+ tree in one file.
    Redb,
    /// lsm-tree, a log-structured merge tree without a log of its own.
    LsmTree,
    /// An engine that this project does not know, see [`crate::register_guest`]. What it means beyond one program
    /// is up to those who write it.
    Guest,
    /// The ordered map of this crate, for tests.
    Mem,
}

impl EngineId {
    /// Every known identity, in the order of the bytes.
    pub const ALL: [EngineId; 6] =
        [EngineId::Sled, EngineId::Fjall, EngineId::Redb, EngineId::LsmTree, EngineId::Guest, EngineId::Mem];

    /// The byte that stands for this engine in a snapshot header.
    pub const fn byte(self) -> u8 {
        match self {
            EngineId::Sled => 0x00,
            EngineId::Fjall => 0x01,
            EngineId::Redb => 0x02,
            EngineId::LsmTree => 0x03,
            EngineId::Guest => 0xf0,
            EngineId::Mem => 0xfe,
        }
    }

    /// The engine that `byte` stands for, or `None` for a byte without meaning.
    pub fn from_byte(byte: u8) -> Option<EngineId> {
        EngineId::ALL.into_iter().find(|id| id.byte() == byte)
    }

    /// The name used in options, plans, markers and messages.
    pub const fn name(self) -> &'static str {
        match self {
            EngineId::Sled => "sled",
            EngineId::Fjall => "fjall",
            EngineId::Redb => "redb",
            EngineId::LsmTree => "lsm-tree",
            EngineId::Guest => "guest",
            EngineId::Mem => "mem",
        }
    }
}

impl fmt::Display for EngineId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// A name that belongs to no engine; the message lists the names that do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown engine {name:?}; known engines: {}", known_names())]
pub struct UnknownEngineName {
    /// The name as it was given.
    pub name: String,
}

impl FromStr for EngineId {
    type Err = UnknownEngineName;

    fn from_str(name: &str) -> Result<EngineId, UnknownEngineName> {
        EngineId::ALL
            .into_iter()
            .find(|id| id.name() == name)
            .ok_or_else(|| UnknownEngineName { name: name.to_owned() })
    }
}

fn known_names() -> String {
    EngineId::ALL.map(EngineId::name).join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_names_lead_back_to_the_engine() {
        for id in EngineId::ALL {
            assert_eq!(EngineId::from_byte(id.byte()), Some(id));
            assert_eq!(id.name().parse(), Ok(id));
        }
        assert_eq!(EngineId::ALL.map(EngineId::byte), [0x00, 0x01, 0x02, 0x03, 0xf0, 0xfe]);
        assert_eq!(EngineId::from_byte(0x45), None);
    }

    #[test]
    fn an_unknown_name_lists_the_known_ones() {
        let error = "rocksdb".parse::<EngineId>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "unknown engine \"rocksdb\"; known engines: sled, fjall, redb, lsm-tree, guest, mem"
        );
    }
}
