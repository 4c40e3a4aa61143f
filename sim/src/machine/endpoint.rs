//! Network endpoints: blocking ones for the threads of a node, asynchronous ones for tasks outside.

use super::kernel::{self, Kernel, nanoseconds};
use super::scheduler::{Request, WaitKey, Wake};
use crate::event::{Event, hash};
use crate::interpose;
use crate::network::{self, Deliveries, Inbound, StreamId};
use std::future::poll_fn;
use std::task::{Poll, Waker};
use std::time::Duration;

/// What a wait for a message ended with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// A message, or a part of a stream.
    Inbound(Inbound),
    /// Nothing within the time allowed.
    TimedOut,
    /// This incarnation has ended; nothing will ever come.
    Closed,
}

/// A node's place on the network. Calls block the calling simulated thread in virtual time.
#[derive(Clone, Copy, Debug)]
pub struct NodeEndpoint {
    endpoint: network::Endpoint,
}

impl NodeEndpoint {
    pub(crate) fn new(endpoint: network::Endpoint) -> Self {
        Self { endpoint }
    }

    /// Waits at most `timeout` for the next message.
    pub fn receive(&self, timeout: Duration) -> Received {
        let address = self.endpoint.address;
        let mut deadline = None;
        loop {
            let now = match kernel::with(|kernel| kernel.take_inbound(self.endpoint)) {
                Ok(now) => now,
                Err(received) => return received,
            };
            let deadline = *deadline.get_or_insert(now.saturating_add(timeout));
            if deadline <= now {
                return Received::TimedOut;
            }
            let request = Request::Wait { key: WaitKey::Inbox(address), deadline: Some(deadline) };
            if interpose::park(request) == Wake::TimedOut {
                return kernel::with(|kernel| kernel.take_inbound(self.endpoint))
                    .map_or_else(|received| received, |_| Received::TimedOut);
            }
        }
    }

    /// Sends a message. What becomes of it is the network's business.
    pub fn send(&self, to: u64, bytes: Vec<u8>) {
        kernel::with(|kernel| kernel.send(self.endpoint, to, bytes));
    }

    /// Opens a stream.
    pub fn open_stream(&self, to: u64) -> StreamId {
        kernel::with(|kernel| {
            let now_ns = kernel.now_ns();
            let (stream, deliveries) = kernel.network.open_stream(now_ns, self.endpoint, to);
            kernel.put_in_flight(deliveries);
            stream
        })
    }

    /// Puts a chunk on a stream.
    pub fn write_stream(&self, stream: StreamId, bytes: Vec<u8>) {
        kernel::with(|kernel| {
            let now_ns = kernel.now_ns();
            kernel.record_send(self.endpoint, stream.0, &bytes);
            let deliveries = kernel.network.write_stream(now_ns, self.endpoint, stream, bytes);
            kernel.put_in_flight(deliveries);
        });
    }

    /// Says that a stream is complete.
    pub fn finish_stream(&self, stream: StreamId) {
        kernel::with(|kernel| {
            let now_ns = kernel.now_ns();
            let deliveries = kernel.network.finish_stream(now_ns, self.endpoint, stream);
            kernel.put_in_flight(deliveries);
        });
    }
}

/// A place on the network for a task outside every node, such as a client. It goes when dropped.
#[derive(Debug)]
pub struct OutsideEndpoint {
    endpoint: network::Endpoint,
}

impl OutsideEndpoint {
    pub(crate) fn new(address: u64) -> Self {
        let endpoint = network::Endpoint { address, incarnation: 1 };
        kernel::with(|kernel| kernel.register(endpoint));
        Self { endpoint }
    }

    /// Sends a message.
    pub fn send(&self, to: u64, bytes: Vec<u8>) {
        kernel::with(|kernel| kernel.send(self.endpoint, to, bytes));
    }

    /// Waits at most `timeout` for the next message; none where nothing came.
    pub async fn receive(&self, timeout: Duration) -> Option<Inbound> {
        let deadline = kernel::with(|kernel| kernel.now() + timeout);
        let mut slot = None;
        poll_fn(|context| {
            kernel::with(|kernel| {
                if let Some(slot) = slot.take() {
                    kernel.agenda.cancel(slot);
                }
                match kernel.take_inbound(self.endpoint) {
                    Err(Received::Inbound(inbound)) => Poll::Ready(Some(inbound)),
                    Err(Received::Closed | Received::TimedOut) => Poll::Ready(None),
                    Ok(now) if now >= deadline => Poll::Ready(None),
                    Ok(_) => {
                        let waker = context.waker();
                        slot = Some(kernel.agenda.add_task(deadline, waker.clone()));
                        kernel.receivers.insert(self.endpoint.address, waker.clone());
                        Poll::Pending
                    }
                }
            })
        })
        .await
    }
}

impl Drop for OutsideEndpoint {
    fn drop(&mut self) {
        kernel::with(|kernel| kernel.unregister(self.endpoint));
    }
}

impl Kernel {
    /// The next message for `endpoint` as `Err`, or the virtual time where there is none yet.
    fn take_inbound(&mut self, endpoint: network::Endpoint) -> Result<Duration, Received> {
        if !self.network.is_registered(endpoint) {
            return Err(Received::Closed);
        }
        match self.network.receive(endpoint) {
            Some(inbound) => Err(Received::Inbound(inbound)),
            None => Ok(self.now()),
        }
    }

    fn send(&mut self, from: network::Endpoint, to: u64, bytes: Vec<u8>) {
        let now_ns = self.now_ns();
        self.record_send(from, to, &bytes);
        let deliveries = self.network.send(now_ns, from, to, bytes);
        self.put_in_flight(deliveries);
    }

    fn record_send(&mut self, from: network::Endpoint, to: u64, bytes: &[u8]) {
        self.record(&Event::Send { from: from.address, to, length: bytes.len() as u64, data: hash(bytes) });
    }

    /// Takes over what the network wants delivered later.
    pub(crate) fn put_in_flight(&mut self, deliveries: Deliveries) {
        self.in_flight.add(deliveries);
        if let Some(at_ns) = self.in_flight.next_at_ns() {
            self.agenda.rearm(at_ns);
        }
    }

    pub(crate) fn register(&mut self, endpoint: network::Endpoint) {
        let now_ns = nanoseconds(self.now());
        let deliveries = self.network.register(now_ns, endpoint);
        self.put_in_flight(deliveries);
    }

    pub(crate) fn unregister(&mut self, endpoint: network::Endpoint) {
        let now_ns = nanoseconds(self.now());
        let deliveries = self.network.unregister(now_ns, endpoint);
        self.put_in_flight(deliveries);
        self.wake_receiver(endpoint);
    }

    /// Wakes whoever waits for a message to `endpoint`.
    pub(crate) fn wake_receiver(&mut self, endpoint: network::Endpoint) {
        self.wake(WaitKey::Inbox(endpoint.address), usize::MAX);
        if let Some(receiver) = self.receivers.remove(&endpoint.address) {
            Waker::wake(receiver);
        }
    }
}
