//! Which stream goes to whom, and what becomes of it there.
//!
//! What a sender ships, by its engine and by what the receiver accepts ([`ship`]):
//!
//! ```text
//! sender's engine   receiver accepts                    ships
//! legacy            bare                                its own bare stream
//! legacy            not bare                            nothing: holds back
//! other             headed streams of that engine       its own headed stream
//! other             bare, not headed of that engine     a bare stream, transcoded
//! other             neither                             nothing: holds back
//! ```
//!
//! A receiver of release 1 accepts no headed stream, whatever its hello claims: it would take the header for
//! the beginning of a bare body. What a receiver does ([`receive`]): it installs a body of its own engine and
//! transcodes any other that it can read, through a logical scan.

use crate::engine_set::EngineSet;
use crate::header::{ENGINE_OFFSET, LEGACY_ENGINE, MAGIC, VERSION};
use crate::release::{Formats, Release};

/// Bytes that [`sniff`] needs at most: magic and engine id.
pub const ROUTING_PREFIX_BYTES: u64 = 17;

/// What the first bytes of a stream tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sniffed {
    /// They are not the magic: a bare stream.
    Legacy,
    /// The magic, followed by an engine id that nobody has judged yet.
    Headed {
        /// The id in the header.
        engine: u8,
    },
}

/// What a stream beginning with `prefix` is; `None` while the answer depends on bytes yet to come.
///
/// [`ROUTING_PREFIX_BYTES`] always suffice.
pub fn sniff(prefix: &[u8]) -> Option<Sniffed> {
    let compared = prefix.len().min(MAGIC.len());
    if prefix[..compared] != MAGIC[..compared] {
        return Some(Sniffed::Legacy);
    }
    prefix.get(ENGINE_OFFSET).map(|engine| Sniffed::Headed { engine: *engine })
}

/// Whose body a stream carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Route {
    /// A bare stream: the legacy engine's.
    Legacy,
    /// A headed stream.
    Engine {
        /// The engine id in the header.
        id: u8,
        /// The format version in the header.
        version: u32,
    },
}

impl Route {
    /// The engine whose native body the stream carries.
    pub const fn engine(self) -> u8 {
        match self {
            Route::Legacy => LEGACY_ENGINE,
            Route::Engine { id, version: _ } => id,
        }
    }
}

/// A node as its hello describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Peer {
    /// The release that it runs.
    pub release: Release,
    /// The engine that its data directory is of.
    pub engine: u8,
    /// The streams that it accepts.
    pub accepts: Formats,
}

impl Peer {
    /// A node that accepts all that its release can read, with adapters for `engines`.
    pub const fn new(release: Release, engine: u8, engines: EngineSet) -> Peer {
        Peer { release, engine, accepts: release.formats(engines) }
    }

    fn accepts_headed(&self, engine: u8) -> bool {
        match self.release {
            Release::One => false,
            Release::Two => engine != LEGACY_ENGINE && self.accepts.headed.contains(engine),
        }
    }

    /// Whether the release has an adapter for the engine at all: release 1 knows the legacy engine only.
    fn engine_is_possible(&self) -> bool {
        match self.release {
            Release::One => self.engine == LEGACY_ENGINE,
            Release::Two => true,
        }
    }
}

/// What a sender does for a receiver that needs a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shipment {
    /// Send the legacy engine's own body as it is.
    Bare,
    /// Send the sender's native body with header and trailer.
    Headed {
        /// The engine id for the header.
        engine: u8,
    },
    /// Scan the sender's state into a legacy body and send that bare.
    TranscodeToBare,
    /// Send nothing, and say why.
    HoldBack(HoldBack),
}

/// Why a sender holds a snapshot back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum HoldBack {
    /// The sender's stream is bare, and the receiver accepts none such.
    #[error("the receiver does not accept bare streams, and the legacy engine has no other")]
    BareNotAccepted,
    /// The receiver accepts neither of the streams that the sender could produce.
    #[error("the receiver accepts neither bare streams nor headed streams of engine {engine:#04x}")]
    NothingAccepted {
        /// The sender's engine.
        engine: u8,
    },
    /// A hello that cannot be true: the release has no adapter for the engine.
    #[error("{release} has no engine {engine:#04x}")]
    ImpossibleEngine {
        /// The release in the hello.
        release: Release,
        /// The engine in the hello.
        engine: u8,
    },
}

/// Decides which stream `sender` produces for `receiver`. See the table at the top of this module.
pub fn ship(sender: &Peer, receiver: &Peer) -> Shipment {
    if let Some(peer) = [sender, receiver].into_iter().find(|peer| !peer.engine_is_possible()) {
        let Peer { release, engine, accepts: _ } = *peer;
        return Shipment::HoldBack(HoldBack::ImpossibleEngine { release, engine });
    }
    let engine = sender.engine;
    match (engine == LEGACY_ENGINE, receiver.accepts_headed(engine), receiver.accepts.bare) {
        (true, _, true) => Shipment::Bare,
        (false, true, _) => Shipment::Headed { engine },
        (false, false, true) => Shipment::TranscodeToBare,
        (true, _, false) => Shipment::HoldBack(HoldBack::BareNotAccepted),
        (false, false, false) => Shipment::HoldBack(HoldBack::NothingAccepted { engine }),
    }
}

/// What a receiver does with a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reception {
    /// The body is of its own engine: it replaces the data directory atomically.
    Install,
    /// The body is of another engine: a logical scan of it fills a fresh data directory.
    Transcode {
        /// The engine of the body.
        from: u8,
    },
    /// Nothing is installed; the old state stays in service.
    Refuse(Refusal),
}

/// Why a receiver refuses a stream by its route alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// This node does not accept bare streams.
    #[error("this node does not accept bare snapshot streams")]
    BareNotAccepted,
    /// This node does not accept headed streams of that engine.
    #[error("this node does not accept headed snapshot streams of engine {id:#04x}")]
    EngineNotAccepted {
        /// The engine id in the header.
        id: u8,
    },
    /// This node does not read that format version.
    #[error("this node does not read version {version} of headed snapshot streams")]
    VersionNotAccepted {
        /// The version in the header.
        version: u32,
    },
}

/// Decides what `receiver` does with a stream of that route.
pub fn receive(receiver: &Peer, route: Route) -> Reception {
    match route {
        Route::Legacy if !receiver.accepts.bare => Reception::Refuse(Refusal::BareNotAccepted),
        Route::Engine { id, .. } if !receiver.accepts_headed(id) => {
            Reception::Refuse(Refusal::EngineNotAccepted { id })
        }
        Route::Engine { version, .. } if version != VERSION => {
            Reception::Refuse(Refusal::VersionNotAccepted { version })
        }
        Route::Legacy | Route::Engine { .. } if route.engine() == receiver.engine => Reception::Install,
        Route::Legacy | Route::Engine { .. } => Reception::Transcode { from: route.engine() },
    }
}
