//! Producing a snapshot stream and handing it to the network piece by piece.

use std::fs::File;
use std::io::{self, BufWriter, Read};
use std::path::{Path, PathBuf};
use std::time::Instant;

use engines::EngineId;
use snapshots::{HeaderLayout, ROUTING_PREFIX_BYTES, Shipment, SnapshotWriter};

use crate::design::{Design, Header, WireSize};
use crate::directory;
use crate::error::{IoContext, ReplicaError};
use crate::mvcc::Store;
use crate::transport::Transport;

/// A snapshot stream, whole, in a file.
#[derive(Debug)]
pub(crate) struct Produced {
    path: PathBuf,
    /// The applied index of the snapshot.
    pub(crate) index: u64,
    /// Bytes of the stream.
    pub(crate) wire_bytes: u64,
    /// Bytes that are announced to the receiver.
    pub(crate) announced_bytes: u64,
    /// The first bytes of the stream.
    pub(crate) prefix: Vec<u8>,
}

/// Writes the state of `store` to a file in `scratch`, as the stream that `shipment` asks for.
///
/// # Errors
/// Those of the store and of the file. A store that failed says so again at its next use.
pub(crate) fn produce(
    store: &mut Store,
    shipment: Shipment,
    design: &Design,
    scratch: &Path,
    attempt: u64,
) -> Result<Produced, ReplicaError> {
    let path = scratch.join(format!("outgoing-{attempt}"));
    let checkpoint_scratch = scratch.join("checkpoint");
    let writing = || format!("writing {}", path.display());
    let mut file = BufWriter::new(File::create(&path).while_doing(writing)?);
    let (body_bytes, wire_bytes) = match shipment {
        Shipment::Bare => {
            let body_bytes = store.checkpoint(&checkpoint_scratch, &mut file)?.bytes;
            (body_bytes, body_bytes)
        }
        Shipment::Headed { engine } => {
            let layout = match design.header {
                Header::Bytes21 => HeaderLayout::Bytes21,
                Header::Bytes17 => HeaderLayout::Bytes17,
            };
            let mut stream = SnapshotWriter::with_layout(&mut file, engine, layout).while_doing(writing)?;
            let body_bytes = store.checkpoint(&checkpoint_scratch, &mut stream)?.bytes;
            (body_bytes, stream.finish().while_doing(writing)?.1)
        }
        Shipment::TranscodeToBare => {
            // Also writes what the store has applied but not told its engine, as a checkpoint does.
            store.flush()?;
            let view = store.backend().view()?;
            let body_bytes =
                engines::engine(EngineId::Sled)?.encode_body(&*view, &checkpoint_scratch, &mut file)?;
            (body_bytes, body_bytes)
        }
        Shipment::HoldBack(why) => unreachable!("what is held back is not produced: {why}"),
    };
    file.into_inner().map_err(io::IntoInnerError::into_error).while_doing(writing)?;
    Ok(Produced {
        prefix: read_prefix(&path)?,
        path,
        index: store.applied_index(),
        wire_bytes,
        announced_bytes: match design.wire_size {
            WireSize::Whole => wire_bytes,
            WireSize::BodyOnly => body_bytes,
        },
    })
}

fn read_prefix(path: &Path) -> Result<Vec<u8>, ReplicaError> {
    let mut prefix = Vec::new();
    File::open(path)
        .and_then(|file| file.take(ROUTING_PREFIX_BYTES).read_to_end(&mut prefix))
        .while_doing(|| format!("reading {}", path.display()))?;
    Ok(prefix)
}

/// A snapshot stream under way to a peer.
#[derive(Debug)]
pub(crate) struct Sending {
    pub(crate) to: u64,
    pub(crate) stream: u64,
    pub(crate) attempt: u64,
    /// The applied index of the snapshot.
    pub(crate) index: u64,
    /// The term in which this replica leads.
    pub(crate) term: u64,
    path: PathBuf,
    file: File,
    /// When the last byte was handed over; `None`: there are more.
    pub(crate) finished_at: Option<Instant>,
}

impl Sending {
    /// Begins to send what was produced, on a stream that is open and has carried its prelude.
    pub(crate) fn new(
        produced: Produced,
        to: u64,
        stream: u64,
        attempt: u64,
        term: u64,
    ) -> Result<Sending, ReplicaError> {
        let Produced { path, index, .. } = produced;
        let file = File::open(&path).while_doing(|| format!("opening {}", path.display()))?;
        Ok(Sending { to, stream, attempt, index, term, path, file, finished_at: None })
    }

    /// Hands over the next pieces, and ends the stream after the last.
    ///
    /// # Errors
    /// Those of reading the file back.
    pub(crate) fn pump(
        &mut self,
        transport: &dyn Transport,
        chunk_bytes: usize,
        chunks: usize,
    ) -> Result<(), ReplicaError> {
        for _ in 0..chunks {
            let mut chunk = Vec::with_capacity(chunk_bytes);
            (&mut self.file)
                .take(chunk_bytes as u64)
                .read_to_end(&mut chunk)
                .while_doing(|| format!("reading {}", self.path.display()))?;
            if chunk.is_empty() {
                transport.finish_stream(self.stream);
                self.finished_at = Some(Instant::now());
                return Ok(());
            }
            transport.write_stream(self.stream, chunk);
        }
        Ok(())
    }

    /// Ends the stream, wherever it stands, and removes its file. A receiver refuses what is cut short.
    pub(crate) fn end(self, transport: &dyn Transport) {
        if self.finished_at.is_none() {
            transport.finish_stream(self.stream);
        }
        // A file that cannot be removed goes with the scratch directory at the next start.
        let _ = directory::remove_tree(&self.path);
    }
}
