//! The simulated network behind the cluster's `Transport`.

use cluster::{Inbound, Transport};
use sim::network::{Inbound as Arrived, StreamId};
use sim::{NodeEndpoint, Received};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How long a replica waits at most before it looks whether it is asked to stop.
const STOP_POLL: Duration = Duration::from_secs(1);

/// One incarnation's network.
pub(crate) struct SimulatedTransport {
    pub(crate) endpoint: NodeEndpoint,
    /// Set when the replica is asked to stop in good order.
    pub(crate) stop: Arc<AtomicBool>,
}

impl Transport for SimulatedTransport {
    fn send(&self, to: u64, message: Vec<u8>) {
        self.endpoint.send(to, message);
    }

    fn open_stream(&self, to: u64) -> u64 {
        self.endpoint.open_stream(to).0
    }

    fn write_stream(&self, stream: u64, chunk: Vec<u8>) {
        self.endpoint.write_stream(StreamId(stream), chunk);
    }

    fn finish_stream(&self, stream: u64) {
        self.endpoint.finish_stream(StreamId(stream));
    }

    fn receive(&self, timeout: Duration) -> Option<Inbound> {
        if self.stop.load(Ordering::Relaxed) {
            return Some(Inbound::Closed);
        }
        match self.endpoint.receive(timeout.min(STOP_POLL)) {
            Received::TimedOut => None,
            Received::Closed => Some(Inbound::Closed),
            Received::Inbound(arrived) => Some(match arrived {
                Arrived::Message { from, bytes } => Inbound::Message { from, bytes },
                Arrived::StreamOpened { from, stream } => Inbound::StreamOpened { from, stream: stream.0 },
                Arrived::StreamChunk { from, stream, bytes } => {
                    Inbound::StreamChunk { from, stream: stream.0, bytes }
                }
                Arrived::StreamFinished { from, stream } => {
                    Inbound::StreamFinished { from, stream: stream.0 }
                }
                Arrived::StreamBroken { peer, stream } => Inbound::StreamBroken { peer, stream: stream.0 },
            }),
        }
    }
}
