//! One request: route, admit, read, handle, answer. Whatever goes wrong is a refusal, never silence and never a permit.

use std::convert::Infallible;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::Version;
use hyper::body::{Body as _, Frame, Incoming, SizeHint};
use hyper::header::{CONNECTION, CONTENT_LENGTH, HOST, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use tokio::sync::mpsc;
use tracing::Instrument as _;

use super::admission::Admission;
use super::alike::Learning;
use super::limits::Limits;
use super::receive::{self, Held, Tally};
use super::turns::{first_turn, too_late};
use super::vitals::Vitals;
use crate::clock::{Clock, Sources};
use crate::http::body::body_too_large;
use crate::http::router::{Found, Handling, RouteTable};
use crate::http::{Answer, Body, BodyReader, BrokenOff, Method, Peer, Refusal, Reply, Request, Response};
use crate::telemetry::{ListenerMetrics, Stopwatch};

const REQUEST_ID: HeaderName = HeaderName::from_static("cedargate-request-id");
/// The client's own name of a request: every answer to it, an error as well, has the same (AuthZEN 1.0, section 10.1.3).
const CLIENTS_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What all connections of a listener share.
pub(super) struct Listener {
    pub(super) table: Arc<RouteTable>,
    pub(super) limits: Limits,
    pub(super) metrics: Arc<ListenerMetrics>,
    pub(super) ids: Ids,
    pub(super) request_ids: bool,
    pub(super) admission: Admission,
    /// Bodies on their way, of all connections.
    pub(super) bodies: Tally,
}

/// One connection.
pub(super) struct Connection {
    pub(super) listener: Arc<Listener>,
    pub(super) vitals: Arc<Vitals>,
    pub(super) peer: Arc<Peer>,
    /// Bodies on their way, of this connection.
    pub(super) bodies: Tally,
    /// What requests like those that came may be answered by.
    pub(super) learning: Learning,
    /// Tells the drain that this connection, or a handler of it, is not done.
    pub(super) _alive: mpsc::Sender<()>,
}

impl Connection {
    /// For how long the client's certificate is still valid; `None` where it has none. The handshake looked at it once,
    /// and connections may live longer.
    pub(super) fn certificate_lasts(&self) -> Option<Duration> {
        let not_after = self.peer.certificate.as_ref()?.not_after;
        let left = not_after.saturating_add(1).saturating_sub(self.listener.ids.now());
        Some(Duration::from_millis(u64::try_from(left).unwrap_or(0)))
    }

    /// Whether the client is still who it was when it connected.
    pub(super) fn is_known(&self) -> bool {
        self.certificate_lasts().is_none_or(|lasts| !lasts.is_zero())
    }

    fn known(&self) -> Result<(), Refusal> {
        let refusal =
            || Refusal::unauthenticated("the client certificate is no longer valid; connect again with a new one");
        if self.is_known() { Ok(()) } else { Err(refusal()) }
    }
}

/// Makes request ids: UUIDs of version 7 with a counter from a random start (RFC 9562 section 6.2), since asking
/// the machine for randomness each time would cost more than the rest of a cached decision.
pub(super) struct Ids {
    clock: Arc<dyn Clock>,
    next: AtomicU64,
}

impl Ids {
    pub(super) fn new(sources: &Sources) -> Self {
        let mut start = [0_u8; 8];
        sources.random.fill(&mut start);
        Self { clock: Arc::clone(&sources.clock), next: AtomicU64::new(u64::from_le_bytes(start)) }
    }

    /// Milliseconds since 1970.
    pub(super) fn now(&self) -> i64 {
        self.clock.now().0
    }

    pub(super) fn next(&self) -> String {
        let milliseconds = u64::try_from(self.now()).unwrap_or(0);
        // An odd multiplier is a bijection on 64 bits: ids stay apart, and neighbours do not look alike.
        let count = self.next.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mut tail = [0_u8; 10];
        for (to, from) in tail.iter_mut().rev().zip(count.to_be_bytes()) {
            *to = from;
        }
        uuid::Builder::from_unix_timestamp_millis(milliseconds, &tail).into_uuid().to_string()
    }
}

/// Answers a request. Called by hyper once the headers are complete.
pub(super) fn answer(
    connection: Arc<Connection>,
    request: hyper::Request<Incoming>,
) -> impl Future<Output = Result<hyper::Response<Served>, Infallible>> + Send {
    // Taken apart out here, and lent from then on: every HTTP/2 stream holds this future while it waits for its body, so
    // what it holds twice costs memory that clients decide on.
    let (parts, body) = request.into_parts();
    answered(connection, parts, body)
}

async fn answered(
    connection: Arc<Connection>,
    mut parts: Parts,
    body: Incoming,
) -> Result<hyper::Response<Served>, Infallible> {
    let watch = Stopwatch::start();
    let listener = &connection.listener;
    let mut body = Some(body);
    let mut presence = Presence::new(&connection, parts.version);
    let id = if listener.request_ids { listener.ids.next() } else { String::new() };
    let shown_id = if listener.request_ids { HeaderValue::try_from(id.as_str()).ok() } else { None };
    let is_head = parts.method == Method::HEAD;
    let is_http1 = parts.version != Version::HTTP_2;
    let clients_id = parts.headers.get(&CLIENTS_REQUEST_ID).cloned();

    let outcome = handle(&connection, &mut parts, &mut body, id).await;
    let mut response = outcome.response;
    // What looked like another request's target ends the connection too.
    if is_http1 && (outcome.body_left || connection.vitals.fragments.any()) {
        connection.vitals.linger();
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    if let Some(id) = shown_id {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    if let Some(id) = clients_id {
        response.headers_mut().insert(CLIENTS_REQUEST_ID, id);
    }
    if is_head {
        response = without_body(response);
    }
    let (status, took) = (response.status(), watch.elapsed());
    listener.metrics.answered(status.as_u16(), took);
    tracing::debug!(
        listener = listener.metrics.name(),
        route = outcome.template,
        status = status.as_u16(),
        took_us = took.as_micros(),
        "answered"
    );
    if response.body().whole().is_some() {
        presence.ends_at = Some(connection.vitals.moment(watch, took));
    }
    Ok(response.map(|body| Served::new(body, presence)))
}

/// One host for every request, in the `Host` header. HTTP/2 tells it as `:authority` (RFC 9113 section 8.3.1); a
/// target in absolute form would tell a second one, and gateways ask about requests that might carry it: refused.
fn settle_host(parts: &mut Parts) -> Result<(), Refusal> {
    let Some(authority) = parts.uri.authority() else { return Ok(()) };
    if parts.version != Version::HTTP_2 {
        return Err(Refusal::bad_request("the request's target is an absolute address; send its path alone"));
    }
    match parts.headers.get(HOST) {
        Some(host) if host.as_bytes() == authority.as_str().as_bytes() => Ok(()),
        Some(_) => Err(Refusal::bad_request("`:authority` and `Host` tell different hosts; send one of them")),
        None => {
            let unreadable = |_| Refusal::bad_request("`:authority` cannot be read; send a host and a port");
            let host = HeaderValue::from_str(authority.as_str()).map_err(unreadable)?;
            parts.headers.insert(HOST, host);
            Ok(())
        }
    }
}

/// See [`super::target`].
fn fragment() -> Refusal {
    let message = "the request's target holds a `#`; encode it as %23, or leave it and what follows out";
    Refusal { code: "malformed-request", ..Refusal::bad_request(message) }
}

/// Whether the client may still be sending it.
fn is_left(body: &Option<Incoming>) -> bool {
    body.as_ref().is_some_and(|body| !body.is_end_stream())
}

struct Outcome {
    response: Response,
    template: &'static str,
    /// The client may still be sending.
    body_left: bool,
}

async fn handle(connection: &Arc<Connection>, parts: &mut Parts, body: &mut Option<Incoming>, id: String) -> Outcome {
    let listener = &connection.listener;
    if let Err(refusal) = settle_host(parts).and_then(|()| connection.known()) {
        let response = listener.table.render(parts.uri.path(), &refusal);
        return Outcome { response, template: "", body_left: is_left(body) };
    }
    let vitals = &connection.vitals;
    if !vitals.is_multiplexed() && vitals.fragments.are_of(&parts.method, &parts.uri) {
        // The connection closes: what of the bytes still to come is a request cannot be told.
        return Outcome {
            response: listener.table.render(parts.uri.path(), &fragment()),
            template: "",
            body_left: true,
        };
    }
    let uri = &parts.uri;
    let Found { handling, template, parameters } = match listener.table.find(&parts.method, uri.path()) {
        Ok(found) => found,
        Err(miss) => {
            let response = listener.table.render_miss(uri.path(), &miss);
            return Outcome { response, template: "", body_left: is_left(body) };
        }
    };
    let refused = |refusal: &Refusal, body_left| Outcome {
        response: listener.table.render(uri.path(), refusal),
        template,
        body_left,
    };
    let request = |body| Request {
        method: parts.method.clone(),
        path: uri.path().to_owned(),
        query: uri.query().map(str::to_owned),
        headers: std::mem::take(&mut parts.headers),
        body,
        peer: Arc::clone(&connection.peer),
        parameters,
        id,
    };
    let done = |done: Result<Response, Refusal>| match done {
        Ok(response) => Outcome { response, template, body_left: false },
        Err(refusal) => refused(&refusal, false),
    };
    let metrics = &listener.metrics;
    let complete = match handling {
        Handling::Stream(_) => Ok(None),
        Handling::Now(_) | Handling::Here(_) | Handling::Later(_) => complete(connection, body).await.map(Some),
    };
    let complete = match complete {
        Ok(complete) => complete,
        Err((refusal, body_left)) => return refused(&refusal, body_left),
    };
    // What is not answered on the spot waits on the heap: every request carries the room of this function.
    let waiting: Waiting<'_> = match (handling, complete) {
        (Handling::Now(handler), Some((_slot, bytes))) => {
            let answered = catch_unwind(AssertUnwindSafe(|| handler(request(bytes))));
            return done(answered.map_err(|_| failed(metrics, template)));
        }
        (Handling::Here(handler), Some((slot, bytes))) => {
            let request = request(bytes);
            if let Some(alike) = listener.table.alike(&request.method, &request.path) {
                connection.learning.learn(|| alike(&request));
            }
            match catch_unwind(AssertUnwindSafe(|| handler(request))) {
                Ok(Reply::Now(response)) => return done(Ok(response)),
                Ok(Reply::Later(answer)) => Box::pin(here(slot, answer, template)),
                Err(_) => return done(Err(failed(metrics, template))),
            }
        }
        (Handling::Later(handler), Some((slot, bytes))) => {
            let (handler, deadline) = (Arc::clone(handler), listener.limits.handler_deadline);
            Box::pin(run(slot, template, request(bytes), move |request| handler(request), Some(deadline)))
        }
        (Handling::Stream(handler), _) => match streaming(connection, body) {
            Ok((slot, reader)) => {
                let handler = Arc::clone(handler);
                Box::pin(run(slot, template, request(Bytes::new()), move |request| handler(request, reader), None))
            }
            Err((refusal, body_left)) => return refused(&refusal, body_left),
        },
        (Handling::Now(_) | Handling::Here(_) | Handling::Later(_), None) => {
            return refused(&Refusal::internal("a body was not read"), is_left(body));
        }
    };
    done(waiting.await)
}

/// An answer that is waited for.
type Waiting<'a> = Pin<Box<dyn Future<Output = Result<Response, Refusal>> + Send + 'a>>;

/// Takes a slot for a request whose body its handler reads. A refusal comes with whether the client may still be sending.
fn streaming(connection: &Arc<Connection>, body: &mut Option<Incoming>) -> Result<(Slot, BodyReader), (Refusal, bool)> {
    let limits = &connection.listener.limits;
    if body.as_ref().is_some_and(|body| body.size_hint().lower() > limits.stream_bytes) {
        return Err((body_too_large(limits.stream_bytes), true));
    }
    let slot = Slot::take(connection, None).map_err(|refusal| (refusal, is_left(body)))?;
    let body = body.take().ok_or_else(|| (Refusal::internal("a body was read twice"), false))?;
    let reader = BodyReader::new(body, limits.stream_bytes, limits.body_deadline);
    Ok((slot, reader.holding(Streaming::new(connection))))
}

/// Reads the body, then takes a slot: one that waits for its body has nothing to work on yet. A refusal comes with whether
/// the client may still be sending.
async fn complete(connection: &Arc<Connection>, body: &mut Option<Incoming>) -> Result<(Slot, Bytes), (Refusal, bool)> {
    let (bytes, held) = match body {
        Some(body) => receive::whole(connection, body).await.map_err(|refusal| (refusal, true))?,
        None => (Bytes::new(), None),
    };
    if !connection.listener.admission.admits() {
        return Err((overloaded(), false));
    }
    let slot = Slot::take(connection, held).map_err(|refusal| (refusal, false))?;
    Ok((slot, bytes))
}

/// See [`super::admission`].
pub(super) fn overloaded() -> Refusal {
    let message = "requests wait too long for a processor here; try again soon, or ask another node";
    Refusal::unavailable("overloaded", message)
}

/// Waits for an answer on the connection's own task. One that is there at its first turn costs no timer.
async fn here(slot: Slot, mut answer: Answer, template: &'static str) -> Result<Response, Refusal> {
    let listener = &slot.connection.listener;
    let (metrics, deadline) = (&listener.metrics, listener.limits.handler_deadline);
    let caught = poll_fn(move |context| match catch_unwind(AssertUnwindSafe(|| answer.as_mut().poll(context))) {
        Ok(polled) => polled.map(Ok),
        Err(_) => Poll::Ready(Err(failed(metrics, template))),
    });
    let late = || Refusal::unavailable("timeout", format!("no answer within {deadline:?}; try again"));
    let mut caught = pin!(caught);
    match receive::at_once(caught.as_mut()).await {
        Some(done) => done,
        None => tokio::time::timeout(deadline, caught).await.unwrap_or_else(|_| Err(late())),
    }
}

/// Runs a handler, on a task of its own where it waits, so that neither a client that hangs up nor a deadline stops it.
async fn run(
    slot: Slot,
    template: &'static str,
    request: Request,
    handler: impl FnOnce(Request) -> Answer + Send + 'static,
    deadline: Option<Duration>,
) -> Result<Response, Refusal> {
    let metrics = Arc::clone(&slot.connection.listener.metrics);
    let span = tracing::info_span!("request", id = request.id, route = template);
    // Requests beside each other on one connection would wait for each other's first turns.
    let at_once = deadline.is_some() && !slot.connection.vitals.is_multiplexed();
    let work = async move {
        let _slot = slot;
        handler(request).await
    };
    let mut work: Answer = Box::pin(work.instrument(span));
    if at_once && let Some(done) = first_turn(&mut work).await {
        return done.map_err(|_| failed(&metrics, template));
    }
    let task = tokio::spawn(work);
    let joined = match deadline {
        None => task.await,
        Some(deadline) => tokio::time::timeout(deadline, task).await.map_err(|_| too_late(deadline))?,
    };
    joined.map_err(|_| failed(&metrics, template))
}

fn failed(metrics: &ListenerMetrics, template: &'static str) -> Refusal {
    metrics.panicked();
    tracing::error!(listener = metrics.name(), route = template, "a handler panicked; the request was refused");
    Refusal::internal("something went wrong here; the log has the cause")
}

/// The answer to HEAD: the headers of GET and no body (RFC 9110 section 9.3.2).
fn without_body(response: Response) -> Response {
    let (mut parts, body) = response.into_parts();
    if let Some(bytes) = body.whole() {
        parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(bytes.len()));
    }
    Response::from_parts(parts, Body::empty())
}

/// A request being worked on, and the memory that its body takes. Lives as long as the handler does.
struct Slot {
    connection: Arc<Connection>,
    _held: Option<Held>,
}

impl Slot {
    /// Refused where as many requests as allowed are being worked on.
    fn take(connection: &Arc<Connection>, held: Option<Held>) -> Result<Self, Refusal> {
        let slot = Self { connection: Arc::clone(connection), _held: held };
        let in_flight = connection.listener.metrics.begin();
        let most = i64::try_from(connection.listener.limits.requests).unwrap_or(i64::MAX);
        // Dropping the slot ends what it began.
        let overloaded = || Refusal::unavailable("overloaded", "too many requests are being worked on; try again soon");
        if in_flight <= most { Ok(slot) } else { Err(overloaded()) }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.connection.listener.metrics.end();
    }
}

/// A request that the connection is busy with, to the last byte of its answer.
struct Presence {
    connection: Arc<Connection>,
    /// When an answer that is there whole was made, so that no clock need be read when it is handed over. Until the
    /// client has taken it the connection is not idle, whatever stands here.
    ends_at: Option<u64>,
}

impl Presence {
    fn new(connection: &Arc<Connection>, version: Version) -> Self {
        connection.vitals.begin(version);
        Self { connection: Arc::clone(connection), ends_at: None }
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        let vitals = &self.connection.vitals;
        self.ends_at.map_or_else(|| vitals.end(), |moment| vitals.end_at(moment));
    }
}

/// A body that is being read piece by piece.
struct Streaming(Arc<Connection>);

impl Streaming {
    fn new(connection: &Arc<Connection>) -> Self {
        connection.vitals.stream(true);
        Self(Arc::clone(connection))
    }
}

impl Drop for Streaming {
    fn drop(&mut self) {
        self.0.vitals.stream(false);
    }
}

/// The body of an answer on its way.
pub(super) struct Served {
    body: Body,
    presence: Presence,
    /// The client's turn: it waits for the client to have room, not for a writer of ours.
    unsent: bool,
}

impl Served {
    fn new(body: Body, presence: Presence) -> Self {
        presence.connection.vitals.unsent(true);
        Self { body, presence, unsent: true }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if self.unsent {
            self.presence.connection.vitals.unsent(false);
        }
    }
}

impl hyper::body::Body for Served {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if polled.is_ready() {
            self.presence.connection.vitals.sent();
        }
        if polled.is_ready() != self.unsent {
            self.unsent = polled.is_ready();
            self.presence.connection.vitals.unsent(self.unsent);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
