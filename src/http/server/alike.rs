//! Requests that are alike in all but their bodies, answered where their bytes come in.
//!
//! A gateway says the same head again and again. Once the library has read one and its route has something that answers
//! by the body alone ([`AlikeHandler`]), the next request with the very same head is answered here: nothing is parsed,
//! since the same bytes at the begin of a request mean the same request. Whatever is not known by every byte goes to the library
//! as it came: pieces, pipelines, new heads, refusals, all of HTTP/2. So where a request begins must be certain: it is
//! followed from the first byte by lengths that every parser reads alike ([`super::heads`]), and where it is not certain the
//! connection belongs to the library for good.

use std::io::{self, IoSlice};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::Version;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::heads::{Head, Known, LONGEST, Pattern, Read};
use super::service::{Connection, overloaded};
use crate::http::plain::Plain;
use crate::http::{AlikeHandler, StatusCode};
use crate::telemetry::Stopwatch;

/// Heads that are remembered of one connection; the oldest goes first.
const HEADS: usize = 4;
/// New heads in a row after which nothing is expected of the connection any more: a client that sends another one each
/// time (trace ids) is not slowed down by remembering.
const MOST_NEW: u32 = 64;

/// Where the stream asks and the service answers what a head is good for. One request is under way at a time.
#[derive(Default)]
pub(super) struct Learning(Mutex<Learnt>);

#[derive(Default)]
enum Learnt {
    #[default]
    Nothing,
    Wanted,
    Handler(AlikeHandler),
}

impl Learning {
    fn want(&self, wanted: bool) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = if wanted { Learnt::Wanted } else { Learnt::Nothing };
    }

    /// Takes what answers requests like this one, if the stream wants to know.
    pub(super) fn learn(&self, of: impl FnOnce() -> Option<AlikeHandler>) {
        let mut learnt = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Learnt::Wanted = *learnt {
            *learnt = of().map_or(Learnt::Nothing, Learnt::Handler);
        }
    }

    fn take(&self) -> Option<AlikeHandler> {
        match std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner)) {
            Learnt::Handler(handler) => Some(handler),
            Learnt::Nothing | Learnt::Wanted => None,
        }
    }
}

/// Where the next byte of the client stands.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    /// At the begin of a request, or as far in its head as [`Alike::part`] holds; everything before is answered.
    Head,
    /// In the body of a request that the library has, so many bytes from its end; or behind it, its answer under way.
    Body(usize),
    /// Nobody here knows: the library has the rest of the connection.
    Somewhere,
}

/// A stream that answers what it knows.
pub(super) struct Alike<S> {
    stream: S,
    connection: Arc<Connection>,
    next: Next,
    /// A head whose end has not come.
    part: Vec<u8>,
    /// The head that the library has, where it may be remembered.
    candidate: Option<Pattern>,
    known: Vec<Known>,
    oldest: usize,
    new_heads: u32,
    /// Requests on this connection that were begun, by the library or here; all are answered where as many have ended.
    begun: u32,
    answer: Sending,
    date: Date,
}

/// An answer of ours on its way.
#[derive(Default)]
struct Sending {
    text: Vec<u8>,
    sent: usize,
    /// When it was made.
    moment: u64,
}

impl<S> Alike<S> {
    pub(super) fn new(stream: S, connection: Arc<Connection>) -> Self {
        // Answers that carry ids of their own are all different.
        let is_of_use = connection.listener.table.has_alike() && !connection.listener.request_ids;
        Self {
            stream,
            connection,
            next: if is_of_use { Next::Head } else { Next::Somewhere },
            part: Vec::new(),
            candidate: None,
            known: Vec::new(),
            oldest: 0,
            new_heads: 0,
            begun: 0,
            answer: Sending::default(),
            date: Date::default(),
        }
    }

    /// Looks at what came; whether it is answered, and nobody else need see it.
    fn answers(&mut self, came: &[u8]) -> bool {
        match self.next {
            Next::Somewhere => return false,
            Next::Body(left) => {
                self.next = left.checked_sub(came.len()).map_or(Next::Somewhere, Next::Body);
                return false;
            }
            Next::Head => {}
        }
        if self.part.is_empty() {
            let with_body = |(at, known): (usize, &Known)| Some((at, known.pattern.body_of(came)?));
            if let Some((at, body)) = self.known.iter().enumerate().find_map(with_body) {
                self.new_heads = 0;
                if self.answer(at, body) {
                    return true;
                }
                self.hand_over(0, None);
                return false;
            }
            self.follow(came);
        } else {
            let mut part = std::mem::take(&mut self.part);
            part.extend_from_slice(came);
            self.follow(&part);
        }
        false
    }

    /// Finds out where the request ends that begins so, which the library has.
    fn follow(&mut self, request: &[u8]) {
        match Head::read(request) {
            Read::Head(head) => {
                let came = request.len() - head.length;
                let pattern = head.pattern(request).filter(|pattern| self.is_new(pattern));
                match head.body.checked_sub(came) {
                    Some(left) => self.hand_over(left, pattern),
                    None => self.forget(),
                }
            }
            Read::Part if request.len() < LONGEST => self.part = request.to_vec(),
            Read::Part | Read::Doubt => self.forget(),
        }
    }

    /// The library has the rest of the connection.
    fn forget(&mut self) {
        self.next = Next::Somewhere;
        (self.known, self.part, self.candidate) = (Vec::new(), Vec::new(), None);
    }

    fn is_new(&self, pattern: &Pattern) -> bool {
        self.known.iter().all(|known| known.pattern != *pattern)
    }

    /// A request is the library's to answer.
    fn hand_over(&mut self, left: usize, candidate: Option<Pattern>) {
        self.new_heads = if candidate.is_some() { self.new_heads + 1 } else { self.new_heads };
        if self.new_heads > MOST_NEW {
            self.forget();
            return;
        }
        self.connection.learning.want(candidate.is_some());
        self.candidate = candidate;
        self.begun = self.begun.wrapping_add(1);
        self.next = Next::Body(left);
    }

    /// Called once everything that the library had to say has left.
    fn flushed(&mut self) {
        if self.next != Next::Body(0) || !self.connection.vitals.all_ended(self.begun) {
            return;
        }
        self.next = Next::Head;
        let handler = self.connection.learning.take();
        if let (Some(pattern), Some(handler)) = (self.candidate.take(), handler) {
            let known = Known { pattern, handler };
            match self.known.get_mut(self.oldest) {
                Some(place) => *place = known,
                None => self.known.push(known),
            }
            self.oldest = (self.oldest + 1) % HEADS;
        }
    }

    /// Makes the answer to a body behind a known head; `false` where it is the library's to make.
    fn answer(&mut self, known: usize, body: &[u8]) -> bool {
        let Some(known) = self.known.get(known) else { return false };
        let connection = &self.connection;
        let (listener, vitals) = (&connection.listener, &connection.vitals);
        if body.len() as u64 > listener.limits.body_bytes || vitals.fragments.any() || !connection.is_known() {
            return false;
        }
        let watch = Stopwatch::start();
        let date = self.date.at(vitals.moment(watch, Duration::ZERO), || listener.ids.now());
        let mut plain = Plain::new(&mut self.answer.text, date);
        let status = if !listener.admission.admits() {
            let refusal = overloaded();
            let refused = plain.write_response(&listener.table.render(known.pattern.path(), &refusal));
            refused.then_some(refusal.status)
        } else {
            working(connection, || (known.handler)(body, &mut plain)).then_some(StatusCode::OK)
        };
        let Some(status) = status else {
            self.answer.text.clear();
            return false;
        };
        let took = watch.elapsed();
        vitals.begin(Version::HTTP_11);
        self.begun = self.begun.wrapping_add(1);
        self.answer.moment = vitals.moment(watch, took);
        listener.metrics.answered(status.as_u16(), took);
        tracing::debug!(
            listener = listener.metrics.name(),
            route = known.pattern.path(),
            status = status.as_u16(),
            took_us = took.as_micros(),
            "answered"
        );
        true
    }
}

/// Runs a handler as one of the requests that are being worked on; `false` also where there are too many or it failed.
fn working(connection: &Connection, handler: impl FnOnce() -> bool) -> bool {
    let metrics = &connection.listener.metrics;
    let most = i64::try_from(connection.listener.limits.requests).unwrap_or(i64::MAX);
    // What fails here does so again in the library's hands, and is told there.
    let done = metrics.begin() <= most && catch_unwind(AssertUnwindSafe(handler)).unwrap_or(false);
    metrics.end();
    done
}

impl<S: AsyncRead + AsyncWrite + Unpin> Alike<S> {
    /// Sends what we have to say before anything else is done with the stream.
    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.answer.text.is_empty() {
            return Poll::Ready(Ok(()));
        }
        while let Some(rest) = self.answer.text.get(self.answer.sent..).filter(|rest| !rest.is_empty()) {
            let sent = ready!(Pin::new(&mut self.stream).poll_write(context, rest))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.answer.sent += sent;
        }
        ready!(Pin::new(&mut self.stream).poll_flush(context))?;
        self.answer.text.clear();
        self.answer.sent = 0;
        self.connection.vitals.end_at(self.answer.moment);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Alike<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            ready!(this.poll_send(context))?;
            let before = buffer.filled().len();
            ready!(Pin::new(&mut this.stream).poll_read(context, buffer))?;
            let came = buffer.filled().get(before..).unwrap_or_default();
            if came.is_empty() || !this.answers(came) {
                return Poll::Ready(Ok(()));
            }
            buffer.set_filled(before);
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Alike<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_send(context))?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_send(context))?;
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// The library flushes once all that it has to say is written: only then may somebody else speak.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(context))?;
        ready!(Pin::new(&mut self.stream).poll_flush(context))?;
        self.flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(context))?;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// The value of `Date` (RFC 9110 section 6.6.1), written once for each second.
#[derive(Default)]
struct Date {
    text: String,
    /// The moment of the connection at which the second is over.
    until: u64,
}

impl Date {
    /// At this moment of the connection; `clock` tells the milliseconds of the day's time.
    fn at(&mut self, now: u64, clock: impl FnOnce() -> i64) -> &[u8] {
        if now >= self.until {
            let milliseconds = clock();
            let moment = jiff::Timestamp::from_millisecond(milliseconds).unwrap_or_default();
            self.text = moment.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
            self.until = now + 1000 - u64::try_from(milliseconds.rem_euclid(1000)).unwrap_or(0);
        }
        self.text.as_bytes()
    }
}
