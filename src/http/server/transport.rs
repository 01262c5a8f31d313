//! A connection's bytes, with patience that ends.
//!
//! hyper's own header deadline does not run before the first byte, cannot tell a slow header from an idle
//! connection, and costs a timer for each request. Here one slow tick for each connection looks at a few
//! numbers that the request path leaves behind.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::Version;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Semaphore;
use tokio::time::Sleep;

use crate::telemetry::metrics::Cut;
use crate::telemetry::{ListenerMetrics, Stopwatch};

/// How long, and how many bytes, a client may go on sending a body that was refused. Closing at once would
/// reset the connection, and the client might never see the refusal.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 16 * 1024 * 1024;

/// Said to a client whose headers did not arrive in time.
const TOO_SLOW: &[u8] = b"HTTP/1.1 408 Request Timeout\r\ncontent-type: application/json\r\ncontent-length: 102\r\n\
connection: close\r\n\r\n\
{\"error\":{\"code\":\"timeout\",\"message\":\"the headers did not arrive in time; send them without a pause\"}}";

/// How long a connection may keep us waiting, by what for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// For the rest of the headers.
    pub(super) head: Duration,
    /// For the next request.
    pub(super) idle: Duration,
    /// For the client to read.
    pub(super) write_stall: Duration,
}

impl Patience {
    /// While connections are short, those that ask nothing are let go soon.
    fn crowded(self) -> Self {
        Self { head: self.head / 4, idle: self.idle.min(Duration::from_secs(1)), write_stall: self.write_stall }
    }

    /// How often to look: a deadline is kept to an eighth.
    fn tick(self) -> Duration {
        let shortest = self.head.min(self.idle).min(self.write_stall);
        (shortest / 8).clamp(Duration::from_millis(5), Duration::from_secs(1))
    }
}

/// Whether connections are short: the limit is reached, or the machine has no file descriptor left.
#[derive(Debug)]
pub(super) struct Crowd {
    /// One for each connection that may be open.
    pub(super) permits: Arc<Semaphore>,
    /// The machine refused the last one.
    pub(super) refused: AtomicBool,
}

impl Crowd {
    fn is_dense(&self) -> bool {
        self.refused.load(Ordering::Relaxed) || self.permits.available_permits() == 0
    }
}

/// What the request path leaves behind about a connection. Times are milliseconds since it opened.
#[derive(Debug)]
pub(super) struct Vitals {
    opened: Stopwatch,
    requests: AtomicU32,
    asked: AtomicBool,
    multiplexed: AtomicBool,
    idle_since: AtomicU32,
    /// When the first byte after the last request came, plus one; 0 where none did.
    head_since: AtomicU32,
    linger: AtomicBool,
}

impl Vitals {
    pub(super) fn new() -> Self {
        Self {
            opened: Stopwatch::start(),
            requests: AtomicU32::new(0),
            asked: AtomicBool::new(false),
            multiplexed: AtomicBool::new(false),
            idle_since: AtomicU32::new(0),
            head_since: AtomicU32::new(0),
            linger: AtomicBool::new(false),
        }
    }

    /// A request's headers are complete.
    pub(super) fn begin(&self, version: Version) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.head_since.store(0, Ordering::Relaxed);
        self.asked.store(true, Ordering::Relaxed);
        if version == Version::HTTP_2 {
            self.multiplexed.store(true, Ordering::Relaxed);
        }
    }

    /// An answer has been handed over to the last byte.
    pub(super) fn end(&self) {
        self.idle_since.store(self.opened.milliseconds(), Ordering::Relaxed);
        self.requests.fetch_sub(1, Ordering::Relaxed);
    }

    /// The client may still be sending a body that nobody wants: let it see the answer before the connection closes.
    pub(super) fn linger(&self) {
        self.linger.store(true, Ordering::Relaxed);
    }

    fn heard(&self) {
        if self.requests.load(Ordering::Relaxed) == 0 && self.head_since.load(Ordering::Relaxed) == 0 {
            self.head_since.store(self.opened.milliseconds().saturating_add(1), Ordering::Relaxed);
        }
    }

    /// Whether patience is over at this moment. Requests in flight have deadlines of their own.
    fn verdict(&self, now: u32, patience: Patience) -> Option<Cut> {
        if self.requests.load(Ordering::Relaxed) > 0 {
            return None;
        }
        let over = |since: u32, limit: Duration| Duration::from_millis(u64::from(now.saturating_sub(since))) >= limit;
        let asked = self.asked.load(Ordering::Relaxed);
        let head_since = self.head_since.load(Ordering::Relaxed);
        if !asked {
            // Also a connection that never says anything: nobody connects in order to be silent.
            return over(0, patience.head).then_some(Cut::SlowHead);
        }
        // On HTTP/2 bytes without a request are pings and the like, which must not look like a slow header.
        if head_since > 0 && !self.multiplexed.load(Ordering::Relaxed) && over(head_since - 1, patience.head) {
            return Some(Cut::SlowHead);
        }
        over(self.idle_since.load(Ordering::Relaxed), patience.idle).then_some(Cut::Idle)
    }
}

/// A stream that ends when patience does.
pub(super) struct Guarded<S> {
    stream: S,
    vitals: Arc<Vitals>,
    patience: Patience,
    metrics: Arc<ListenerMetrics>,
    crowd: Arc<Crowd>,
    tick: Pin<Box<Sleep>>,
    stalled_since: Option<u32>,
    lingering: Option<Lingering>,
    /// Nothing encrypts above: a text of ours would be understood.
    plain: bool,
}

struct Lingering {
    since: u32,
    discarded: usize,
    scratch: Vec<u8>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Guarded<S> {
    pub(super) fn new(
        stream: S,
        vitals: Arc<Vitals>,
        patience: Patience,
        metrics: Arc<ListenerMetrics>,
        crowd: Arc<Crowd>,
        plain: bool,
    ) -> Self {
        let tick = Box::pin(tokio::time::sleep(patience.tick()));
        Self { stream, vitals, patience, metrics, crowd, tick, stalled_since: None, lingering: None, plain }
    }

    /// Called whenever we would wait: wakes with the tick, ends with the patience.
    fn poll_patience(&mut self, context: &mut Context<'_>) -> Poll<Cut> {
        loop {
            ready!(self.tick.as_mut().poll(context));
            self.tick.set(tokio::time::sleep(self.patience.tick()));
            if let Some(cut) = self.verdict() {
                self.metrics.cut(cut);
                return Poll::Ready(cut);
            }
        }
    }

    fn verdict(&self) -> Option<Cut> {
        let now = self.vitals.opened.milliseconds();
        let since = |start: u32| Duration::from_millis(u64::from(now.saturating_sub(start)));
        if let Some(lingering) = &self.lingering {
            return (since(lingering.since) >= LINGER).then_some(Cut::SlowReader);
        }
        if self.stalled_since.is_some_and(|start| since(start) >= self.patience.write_stall) {
            return Some(Cut::SlowReader);
        }
        let crowded = self.crowd.is_dense();
        self.vitals.verdict(now, if crowded { self.patience.crowded() } else { self.patience })
    }

    /// One attempt to say why; whoever does not read will not know.
    fn explain(&mut self, cut: Cut, context: &mut Context<'_>) {
        let begun = self.vitals.head_since.load(Ordering::Relaxed) > 0;
        if self.plain && cut == Cut::SlowHead && begun && !self.vitals.multiplexed.load(Ordering::Relaxed) {
            let _ = Pin::new(&mut self.stream).poll_write(context, TOO_SLOW);
        }
    }

    fn written<T>(&mut self, result: Poll<io::Result<T>>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.stalled_since = None;
            return result;
        }
        if self.stalled_since.is_none() {
            self.stalled_since = Some(self.vitals.opened.milliseconds());
        }
        ready!(self.poll_patience(context));
        Poll::Ready(Err(impatient()))
    }

    /// Reads what still comes and throws it away, within limits.
    fn poll_linger(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            let Some(lingering) = &mut self.lingering else { return Poll::Ready(()) };
            let mut buffer = ReadBuf::new(&mut lingering.scratch);
            match Pin::new(&mut self.stream).poll_read(context, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    lingering.discarded += buffer.filled().len();
                    if lingering.discarded > LINGER_BYTES {
                        return Poll::Ready(());
                    }
                }
                Poll::Ready(Ok(()) | Err(_)) => return Poll::Ready(()),
                Poll::Pending => return self.poll_patience(context).map(|_| ()),
            }
        }
    }
}

fn impatient() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the other side kept us waiting for too long")
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(context, buffer);
        if result.is_ready() {
            if buffer.filled().len() > before {
                self.vitals.heard();
            }
            return result;
        }
        let cut = ready!(self.poll_patience(context));
        self.explain(cut, context);
        Poll::Ready(Err(impatient()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.written(result, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.written(result, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_flush(context);
        self.written(result, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.lingering.is_none() {
            ready!(Pin::new(&mut self.stream).poll_shutdown(context))?;
            if !self.vitals.linger.load(Ordering::Relaxed) {
                return Poll::Ready(Ok(()));
            }
            let since = self.vitals.opened.milliseconds();
            self.lingering = Some(Lingering { since, discarded: 0, scratch: vec![0; 16 * 1024] });
        }
        self.poll_linger(context).map(Ok)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience =
        Patience { head: Duration::from_secs(8), idle: Duration::from_secs(60), write_stall: Duration::from_secs(8) };

    #[test]
    fn a_silent_connection_has_as_long_as_the_headers() {
        let vitals = Vitals::new();
        assert_eq!(vitals.verdict(7_999, PATIENCE), None);
        assert_eq!(vitals.verdict(8_000, PATIENCE), Some(Cut::SlowHead));
    }

    #[test]
    fn nothing_is_cut_while_a_request_is_in_flight() {
        let vitals = Vitals::new();
        vitals.begin(Version::HTTP_11);
        assert_eq!(vitals.verdict(u32::MAX, PATIENCE), None);
    }

    #[test]
    fn after_an_answer_the_idle_time_counts_until_the_next_byte() {
        let vitals = Vitals::new();
        vitals.begin(Version::HTTP_11);
        vitals.end();
        vitals.idle_since.store(10_000, Ordering::Relaxed);
        assert_eq!(vitals.verdict(69_999, PATIENCE), None);
        assert_eq!(vitals.verdict(70_000, PATIENCE), Some(Cut::Idle));
        vitals.head_since.store(30_001, Ordering::Relaxed);
        assert_eq!(vitals.verdict(37_999, PATIENCE), None);
        assert_eq!(vitals.verdict(38_000, PATIENCE), Some(Cut::SlowHead));
    }

    #[test]
    fn pings_on_http2_are_not_slow_headers() {
        let vitals = Vitals::new();
        vitals.begin(Version::HTTP_2);
        vitals.end();
        vitals.idle_since.store(0, Ordering::Relaxed);
        vitals.head_since.store(1, Ordering::Relaxed);
        assert_eq!(vitals.verdict(59_999, PATIENCE), None);
        assert_eq!(vitals.verdict(60_000, PATIENCE), Some(Cut::Idle));
    }

    #[test]
    fn a_crowd_shortens_the_wait_for_those_who_ask_nothing() {
        let crowded = PATIENCE.crowded();
        assert_eq!((crowded.head, crowded.idle), (Duration::from_secs(2), Duration::from_secs(1)));
    }

    #[test]
    fn the_length_in_the_spoken_refusal_is_right() {
        let text = std::str::from_utf8(TOO_SLOW).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}\r\n", body.len())), "{}", body.len());
        assert!(serde_json::from_str::<serde_json::Value>(body).is_ok());
    }
}
