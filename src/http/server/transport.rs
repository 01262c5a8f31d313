//! A connection's bytes, with patience that ends.
//!
//! hyper's own header deadline does not run before the first byte, cannot tell a slow header from an idle
//! connection, and costs a timer for each request. Here one slow tick for each connection looks at a few
//! numbers that the request path leaves behind.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Semaphore;
use tokio::time::Sleep;

use super::seldom::Seldom;
use super::vitals::{Patience, Taken, Talk, Unsent, Vitals};
use crate::telemetry::ListenerMetrics;
use crate::telemetry::metrics::Cut;

/// How long, and how many bytes, a client may go on sending a body that was refused. Closing at once would
/// reset the connection, and the client might never see the refusal.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 16 * 1024 * 1024;

/// Said to a client whose headers did not arrive in time.
const TOO_SLOW: &[u8] = b"HTTP/1.1 408 Request Timeout\r\ncontent-type: application/json\r\ncontent-length: 102\r\n\
connection: close\r\n\r\n\
{\"error\":{\"code\":\"timeout\",\"message\":\"the headers did not arrive in time; send them without a pause\"}}";

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

/// A stream that ends when patience does.
pub(super) struct Guarded<S> {
    stream: S,
    vitals: Arc<Vitals>,
    patience: Patience,
    metrics: Arc<ListenerMetrics>,
    crowd: Arc<Crowd>,
    tick: Seldom<Sleep>,
    stalled_since: Option<u64>,
    unsent: Unsent,
    taken: Taken,
    lingering: Option<Lingering>,
    /// Nothing encrypts above: a text of ours would be understood.
    plain: bool,
    talk: Talk,
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
        let tick = Seldom::new(tokio::time::sleep(patience.first_tick()));
        Self {
            stream,
            vitals,
            patience,
            metrics,
            crowd,
            tick,
            stalled_since: None,
            unsent: Unsent::default(),
            taken: Taken::default(),
            lingering: None,
            plain,
            talk: Talk::default(),
        }
    }

    /// Called whenever we would wait: wakes with the tick, ends with the patience.
    fn poll_patience(&mut self, context: &mut Context<'_>) -> Poll<Cut> {
        if self.vitals.is_greedy() {
            self.metrics.cut(Cut::Flood);
            return Poll::Ready(Cut::Flood);
        }
        loop {
            ready!(Pin::new(&mut self.tick).poll(context));
            self.tick.set(tokio::time::sleep(self.patience.tick()));
            if let Some(cut) = self.verdict() {
                self.metrics.cut(cut);
                return Poll::Ready(cut);
            }
        }
    }

    fn verdict(&mut self) -> Option<Cut> {
        let now = self.vitals.now();
        let since = |start: u64| Duration::from_millis(now.saturating_sub(start));
        if let Some(lingering) = &self.lingering {
            return (since(lingering.since) >= LINGER).then_some(Cut::SlowReader);
        }
        if self.stalled_since.is_some_and(|start| since(start) >= self.patience.write_stall) {
            return Some(Cut::SlowReader);
        }
        let taken = self.taken.last(now);
        if self.unsent.is_over(&self.vitals, taken, now, self.patience.write_stall) {
            return Some(Cut::SlowReader);
        }
        let mut patience = if self.crowd.is_dense() { self.patience.crowded() } else { self.patience };
        if self.stalled_since.is_some() {
            // The end of an answer waits here. Whoever takes it is slow, but not idle.
            patience.idle = patience.idle.max(patience.write_stall);
        }
        self.vitals.verdict(now, taken, patience)
    }

    /// One attempt to say why; whoever does not read will not know.
    fn explain(&mut self, cut: Cut, context: &mut Context<'_>) {
        if self.plain && cut == Cut::SlowHead && self.vitals.is_within_head() {
            let _ = Pin::new(&mut self.stream).poll_write(context, TOO_SLOW);
        }
    }

    fn written<T>(&mut self, result: Poll<io::Result<T>>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.stalled_since = None;
            return result;
        }
        if self.stalled_since.is_none() {
            self.stalled_since = Some(self.vitals.now());
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
        self.taken.count(&result);
        self.written(result, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.taken.count(&result);
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
            if !self.vitals.lingers() {
                return Poll::Ready(Ok(()));
            }
            let since = self.vitals.now();
            self.lingering = Some(Lingering { since, discarded: 0, scratch: vec![0; 16 * 1024] });
        }
        self.poll_linger(context).map(Ok)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_in_the_spoken_refusal_is_right() {
        let text = std::str::from_utf8(TOO_SLOW).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}\r\n", body.len())), "{}", body.len());
        assert!(serde_json::from_str::<serde_json::Value>(body).is_ok());
    }
}
