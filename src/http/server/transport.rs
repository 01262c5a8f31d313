//! A connection's bytes, with patience that ends.
//!
//! hyper's own header deadline does not run before the first byte, cannot tell a slow header from an idle
//! connection, and costs a timer for each request. Here one slow tick for each connection looks at a few
//! numbers that the request path leaves behind.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
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

/// Bytes that a connection may send without a request, a piece of a body or a piece of an answer coming of it: pings,
/// settings, empty frames. Above, the connection is cut. More than the 1 MiB that HTTP/2 lets a client send ahead.
const LONGEST_IDLE_TALK: u64 = 2 * 1024 * 1024;

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
    idle_since: AtomicU64,
    /// When the first byte after the last request came, plus one; 0 where none did.
    head_since: AtomicU64,
    linger: AtomicBool,
    /// Counts what comes of the bytes: requests, pieces of bodies and of answers.
    progress: AtomicU32,
    /// Requests whose bodies are read piece by piece, at the handler's pace.
    streaming: AtomicU32,
    /// Answers, or parts of them, that are there and wait for the client to take them.
    unsent: AtomicU32,
    /// Counts pieces of answers that the client had room for.
    sent: AtomicU32,
}

impl Vitals {
    pub(super) fn new() -> Self {
        Self {
            opened: Stopwatch::start(),
            requests: AtomicU32::new(0),
            asked: AtomicBool::new(false),
            multiplexed: AtomicBool::new(false),
            idle_since: AtomicU64::new(0),
            head_since: AtomicU64::new(0),
            linger: AtomicBool::new(false),
            progress: AtomicU32::new(0),
            streaming: AtomicU32::new(0),
            unsent: AtomicU32::new(0),
            sent: AtomicU32::new(0),
        }
    }

    /// A request's headers are complete.
    pub(super) fn begin(&self, version: Version) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.progress();
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

    /// Something came of what the client sent.
    pub(super) fn progress(&self) {
        self.progress.fetch_add(1, Ordering::Relaxed);
    }

    /// A body is read piece by piece from now on, or no longer.
    pub(super) fn stream(&self, begins: bool) {
        count(&self.streaming, begins);
    }

    /// An answer waits for the client from now on, or no longer: it is taken, or waits for its writer.
    pub(super) fn unsent(&self, begins: bool) {
        count(&self.unsent, begins);
    }

    /// The client had room for a piece of an answer.
    pub(super) fn sent(&self) {
        self.progress();
        self.sent.fetch_add(1, Ordering::Relaxed);
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

    /// Whether patience is over at this moment. Requests in flight have deadlines of their own, answers have [`Unsent`].
    fn verdict(&self, now: u64, patience: Patience) -> Option<Cut> {
        if self.requests.load(Ordering::Relaxed) > 0 {
            return None;
        }
        let over = |since: u64, limit: Duration| Duration::from_millis(now.saturating_sub(since)) >= limit;
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

fn count(counter: &AtomicU32, up: bool) {
    counter.fetch_add(if up { 1 } else { u32::MAX }, Ordering::Relaxed);
}

/// Since when answers wait and the client takes nothing. HTTP/2 lets it close its window: then nothing is written that
/// could stall, and the request never ends by itself.
#[derive(Default)]
struct Unsent(Option<(u32, u64)>);

impl Unsent {
    /// Looked at with each tick: whether answers have waited for as long as this while nothing of them left.
    fn is_over(&mut self, vitals: &Vitals, now: u64, limit: Duration) -> bool {
        if vitals.unsent.load(Ordering::Relaxed) == 0 {
            self.0 = None;
            return false;
        }
        let sent = vitals.sent.load(Ordering::Relaxed);
        match self.0 {
            Some((before, since)) if before == sent => Duration::from_millis(now.saturating_sub(since)) >= limit,
            Some(_) | None => {
                self.0 = Some((sent, now));
                false
            }
        }
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
    stalled_since: Option<u64>,
    unsent: Unsent,
    lingering: Option<Lingering>,
    /// Nothing encrypts above: a text of ours would be understood.
    plain: bool,
    talk: Talk,
}

/// Bytes since something last came of them.
#[derive(Default)]
struct Talk {
    bytes: u64,
    progress: u32,
}

impl Talk {
    /// Whether the client may go on after so many more bytes.
    fn may_go_on(&mut self, length: usize, vitals: &Vitals) -> bool {
        let progress = vitals.progress.load(Ordering::Relaxed);
        if progress != self.progress || vitals.streaming.load(Ordering::Relaxed) > 0 {
            *self = Self { bytes: 0, progress };
        }
        self.bytes += length as u64;
        self.bytes <= LONGEST_IDLE_TALK
    }
}

struct Lingering {
    since: u64,
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
        Self {
            stream,
            vitals,
            patience,
            metrics,
            crowd,
            tick,
            stalled_since: None,
            unsent: Unsent::default(),
            lingering: None,
            plain,
            talk: Talk::default(),
        }
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

    fn verdict(&mut self) -> Option<Cut> {
        let now = self.vitals.opened.milliseconds();
        let since = |start: u64| Duration::from_millis(now.saturating_sub(start));
        if let Some(lingering) = &self.lingering {
            return (since(lingering.since) >= LINGER).then_some(Cut::SlowReader);
        }
        if self.stalled_since.is_some_and(|start| since(start) >= self.patience.write_stall) {
            return Some(Cut::SlowReader);
        }
        if self.unsent.is_over(&self.vitals, now, self.patience.write_stall) {
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
            let length = buffer.filled().len() - before;
            if length > 0 {
                self.vitals.heard();
                let guarded = &mut *self;
                if !guarded.talk.may_go_on(length, &guarded.vitals) {
                    self.metrics.cut(Cut::Flood);
                    return Poll::Ready(Err(impatient()));
                }
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
        assert_eq!(vitals.verdict(u64::MAX, PATIENCE), None);
    }

    #[test]
    fn deadlines_hold_on_connections_of_more_than_49_days() {
        let days = u64::from(u32::MAX) + 60_000;
        let vitals = Vitals::new();
        vitals.begin(Version::HTTP_11);
        vitals.end();
        vitals.idle_since.store(days, Ordering::Relaxed);
        assert_eq!(vitals.verdict(days + 59_999, PATIENCE), None);
        assert_eq!(vitals.verdict(days + 60_000, PATIENCE), Some(Cut::Idle));
    }

    #[test]
    fn answers_that_the_client_does_not_take_are_over_after_a_while() {
        let (vitals, mut unsent) = (Vitals::new(), Unsent::default());
        let mut is_over = |now| unsent.is_over(&vitals, now, PATIENCE.write_stall);
        assert!(!is_over(0) && !is_over(9_000), "nothing waits");
        vitals.unsent(true);
        assert!(!is_over(10_000) && !is_over(17_999) && is_over(18_000));
        // A piece that leaves begins the time anew; an answer that waits for its writer has none.
        vitals.sent();
        assert!(!is_over(18_000) && !is_over(25_999) && is_over(26_000));
        vitals.unsent(false);
        assert!(!is_over(26_000));
        vitals.unsent(true);
        assert!(!is_over(40_000) && is_over(48_000));
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
    fn talk_that_comes_to_nothing_ends_and_work_does_not() {
        let (vitals, mut talk) = (Vitals::new(), Talk::default());
        let half = usize::try_from(LONGEST_IDLE_TALK / 2).unwrap();
        assert!(talk.may_go_on(half, &vitals) && talk.may_go_on(half, &vitals) && !talk.may_go_on(1, &vitals));
        vitals.progress();
        assert!(talk.may_go_on(half, &vitals) && talk.may_go_on(half, &vitals) && !talk.may_go_on(1, &vitals));
        vitals.stream(true);
        assert!((0..10).all(|_| talk.may_go_on(half, &vitals)));
        vitals.stream(false);
        assert!(talk.may_go_on(half, &vitals) && !talk.may_go_on(half + 1, &vitals));
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
