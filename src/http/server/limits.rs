//! Every limit of a listener, in one place.

use std::time::Duration;

use super::vitals::Patience;

/// The limits of one listener. The defaults suit a listener of small requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Open connections. More wait in the machine's queue, and idle ones are cut sooner meanwhile.
    pub connections: usize,
    /// Requests being worked on, on all connections together. One more gets 503 at once.
    pub requests: usize,
    /// Bytes of request line and headers; at least [`Self::LEAST_HEADER_BYTES`]. More gets 431.
    pub header_bytes: usize,
    /// Number of headers (HTTP/1.1). More gets 431.
    pub headers: usize,
    /// From the first byte of a request (or the opening of the connection) to its last header. Then the connection is cut.
    pub header_deadline: Duration,
    /// Bytes of a body that is read whole. More gets 413, without reading them.
    pub body_bytes: u64,
    /// Bytes of all larger or slower bodies being held at one time; one connection may hold a quarter. More gets 503.
    pub body_memory: u64,
    /// Bodies that did not come along with their headers and are waited for. More gets 503; each connection has 8 of its own.
    pub waiting_bodies: usize,
    /// From the headers to the last byte of a whole body, or between two pieces of a streamed one. Then 408.
    pub body_deadline: Duration,
    /// Bytes of a body that is read piece by piece. More gets 413.
    pub stream_bytes: u64,
    /// For a handler to answer. Then 503, and the handler runs on to its end. Streams are not limited so.
    pub handler_deadline: Duration,
    /// For a request that is ready to get a processor. While all wait longer, a part of them gets 503 at once.
    pub queue_delay: Duration,
    /// For a connection without a request. Then it is closed.
    pub idle: Duration,
    /// For the client to take the next bytes of its answer. Then the connection is cut.
    pub write_stall: Duration,
    /// For requests in flight to finish once the listener shuts down.
    pub drain: Duration,
    /// Concurrent requests on one HTTP/2 connection: what a client may make the library hold at once. Clients with more to
    /// ask wait a moment, or open another connection.
    pub streams: u32,
    /// HTTP/2 streams that the client reset before they were looked at. More ends the connection (rapid reset).
    pub pending_resets: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 4096,
            requests: 1024,
            header_bytes: 32 * 1024,
            headers: 100,
            header_deadline: Duration::from_secs(8),
            body_bytes: 1024 * 1024,
            body_memory: 48 * 1024 * 1024,
            waiting_bodies: 1024,
            body_deadline: Duration::from_secs(8),
            stream_bytes: 4 * 1024 * 1024 * 1024,
            handler_deadline: Duration::from_secs(30),
            queue_delay: Duration::from_secs(10),
            idle: Duration::from_secs(75),
            write_stall: Duration::from_secs(8),
            drain: Duration::from_secs(8),
            streams: 64,
            pending_resets: 20,
        }
    }
}

impl Limits {
    /// hyper's smallest buffer.
    pub const LEAST_HEADER_BYTES: usize = 8192;

    pub(super) fn patience(&self) -> Patience {
        let Self { header_deadline, idle, write_stall, .. } = *self;
        Patience { silent: header_deadline, head: header_deadline, idle, write_stall }
    }
}
