//! One request: route, admit, read, handle, answer. Whatever goes wrong is a refusal, never silence and never a permit.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use hyper::Version;
use hyper::body::{Body as _, Frame, Incoming, SizeHint};
use hyper::header::{CONNECTION, CONTENT_LENGTH, HOST, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use tokio::sync::mpsc;
use tracing::Instrument as _;

use super::limits::Limits;
use super::transport::Vitals;
use crate::clock::{Clock, Sources};
use crate::http::body::{body_too_large, body_too_slow, next_data};
use crate::http::router::{Found, Handling, RouteTable};
use crate::http::{Answer, Body, BodyReader, BrokenOff, Method, Peer, Refusal, Request, Response};
use crate::telemetry::{ListenerMetrics, Stopwatch};

/// Bodies up to this size are not counted against [`Limits::body_memory`]: [`Limits::requests`] bounds them.
const SMALL_BODY: u64 = 8 * 1024;

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
    /// Bytes of larger bodies being held.
    pub(super) body_memory: AtomicU64,
}

/// One connection.
pub(super) struct Connection {
    pub(super) listener: Arc<Listener>,
    pub(super) vitals: Arc<Vitals>,
    pub(super) peer: Arc<Peer>,
    /// Tells the drain that this connection, or a handler of it, is not done.
    pub(super) _alive: mpsc::Sender<()>,
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

    pub(super) fn next(&self) -> String {
        let milliseconds = u64::try_from(self.clock.now().0).unwrap_or(0);
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
pub(super) async fn answer(
    connection: Arc<Connection>,
    request: hyper::Request<Incoming>,
) -> Result<hyper::Response<Served>, Infallible> {
    let watch = Stopwatch::start();
    let listener = &connection.listener;
    let presence = Presence::new(&connection, request.version());
    let id = if listener.request_ids { listener.ids.next() } else { String::new() };
    let shown_id = if listener.request_ids { HeaderValue::try_from(id.as_str()).ok() } else { None };
    let (parts, body) = request.into_parts();
    let is_head = parts.method == Method::HEAD;
    let is_http1 = parts.version != Version::HTTP_2;
    let clients_id = parts.headers.get(&CLIENTS_REQUEST_ID).cloned();

    let outcome = handle(&connection, parts, body, id).await;
    let mut response = outcome.response;
    if outcome.body_left && is_http1 {
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
    Ok(response.map(|body| Served { body, presence }))
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

struct Outcome {
    response: Response,
    template: &'static str,
    /// The client may still be sending.
    body_left: bool,
}

async fn handle(connection: &Arc<Connection>, mut parts: Parts, body: Incoming, id: String) -> Outcome {
    let listener = &connection.listener;
    if let Err(refusal) = settle_host(&mut parts) {
        let response = listener.table.render(parts.uri.path(), &refusal);
        return Outcome { response, template: "", body_left: !body.is_end_stream() };
    }
    let uri = parts.uri;
    let Found { handling, template, parameters } = match listener.table.find(&parts.method, uri.path()) {
        Ok(found) => found,
        Err(miss) => {
            let response = listener.table.render_miss(uri.path(), &miss);
            return Outcome { response, template: "", body_left: !body.is_end_stream() };
        }
    };
    let refused = |refusal: &Refusal, body_left| Outcome {
        response: listener.table.render(uri.path(), refusal),
        template,
        body_left,
    };
    let Some(mut slot) = Slot::take(connection) else {
        let refusal = Refusal::unavailable("overloaded", "too many requests are being worked on; try again soon");
        return refused(&refusal, !body.is_end_stream());
    };
    let request = |body| Request {
        method: parts.method,
        path: uri.path().to_owned(),
        query: uri.query().map(str::to_owned),
        headers: parts.headers,
        body,
        peer: Arc::clone(&connection.peer),
        parameters,
        id,
    };
    let done = match handling {
        Handling::Stream(handler) => {
            let limits = &listener.limits;
            if body.size_hint().lower() > limits.stream_bytes {
                return refused(&body_too_large(limits.stream_bytes), true);
            }
            let _streaming = Streaming::new(connection);
            let reader = BodyReader::new(body, limits.stream_bytes, limits.body_deadline);
            let (handler, request) = (Arc::clone(handler), request(Bytes::new()));
            run(slot, template, request, move |request| handler(request, reader), None).await
        }
        Handling::Now(handler) => match read_whole(&mut slot, body).await {
            Ok(bytes) => {
                let request = request(bytes);
                catch_unwind(AssertUnwindSafe(|| handler(request))).map_err(|_| failed(&listener.metrics, template))
            }
            Err(refusal) => return refused(&refusal, true),
        },
        Handling::Here(handler) => match read_whole(&mut slot, body).await {
            Ok(bytes) => {
                here(handler(request(bytes)), &listener.metrics, template, listener.limits.handler_deadline).await
            }
            Err(refusal) => return refused(&refusal, true),
        },
        Handling::Later(handler) => match read_whole(&mut slot, body).await {
            Ok(bytes) => {
                let (handler, request) = (Arc::clone(handler), request(bytes));
                let deadline = Some(listener.limits.handler_deadline);
                run(slot, template, request, move |request| handler(request), deadline).await
            }
            Err(refusal) => return refused(&refusal, true),
        },
    };
    match done {
        Ok(response) => Outcome { response, template, body_left: false },
        Err(refusal) => refused(&refusal, false),
    }
}

/// Runs a handler on the connection's own task. The usual answer is there at its first turn and costs no timer.
async fn here(
    mut answer: Answer,
    metrics: &ListenerMetrics,
    template: &'static str,
    deadline: Duration,
) -> Result<Response, Refusal> {
    let caught = poll_fn(move |context| match catch_unwind(AssertUnwindSafe(|| answer.as_mut().poll(context))) {
        Ok(polled) => polled.map(Ok),
        Err(_) => Poll::Ready(Err(failed(metrics, template))),
    });
    let late = || Refusal::unavailable("timeout", format!("no answer within {deadline:?}; try again"));
    within(deadline, caught).await.unwrap_or_else(|| Err(late()))
}

/// Runs a handler on a task of its own, so that neither a client that hangs up nor a deadline stops it half-way.
async fn run(
    slot: Slot,
    template: &'static str,
    request: Request,
    handler: impl FnOnce(Request) -> Answer + Send + 'static,
    deadline: Option<Duration>,
) -> Result<Response, Refusal> {
    let metrics = Arc::clone(&slot.0.listener.metrics);
    let span = tracing::info_span!("request", id = request.id, route = template);
    let work = async move {
        let _slot = slot;
        handler(request).await
    };
    let task = tokio::spawn(work.instrument(span));
    let joined = match deadline {
        None => task.await,
        Some(deadline) => match tokio::time::timeout(deadline, task).await {
            Ok(joined) => joined,
            Err(_) => {
                let message = format!(
                    "no answer within {deadline:?}; the request may still take effect, look before you try again"
                );
                return Err(Refusal::unavailable("timeout", message));
            }
        },
    };
    joined.map_err(|_| failed(&metrics, template))
}

fn failed(metrics: &ListenerMetrics, template: &'static str) -> Refusal {
    metrics.panicked();
    tracing::error!(listener = metrics.name(), route = template, "a handler panicked; the request was refused");
    Refusal::internal("something went wrong here; the log has the cause")
}

/// Reads a body whole, within size, memory and time.
async fn read_whole(slot: &mut Slot, mut body: Incoming) -> Result<Bytes, Refusal> {
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    let connection = Arc::clone(&slot.0);
    let limits = &connection.listener.limits;
    if body.size_hint().lower() > limits.body_bytes {
        return Err(body_too_large(limits.body_bytes));
    }
    let reading = async {
        let mut whole = BytesMut::new();
        while let Some(bytes) = next_data(&mut body).await? {
            if !bytes.is_empty() {
                connection.vitals.progress();
            }
            if body.is_end_stream() && whole.is_empty() && bytes.len() as u64 <= SMALL_BODY.min(limits.body_bytes) {
                // The usual case: one piece, taken without a copy.
                return Ok(bytes);
            }
            let length = (whole.len() + bytes.len()) as u64;
            if length > limits.body_bytes {
                return Err(body_too_large(limits.body_bytes));
            }
            slot.hold(length)?;
            whole.extend_from_slice(&bytes);
        }
        Ok(whole.freeze())
    };
    within(limits.body_deadline, reading).await.unwrap_or_else(|| Err(body_too_slow(limits.body_deadline)))
}

/// `None` where the work is not done within the deadline. A timer is only set for work that still waits at its
/// second turn: a body that came along with its headers is there by then, and needs none.
async fn within<T>(deadline: Duration, work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    let mut first_turn = true;
    let early = poll_fn(|context| match work.as_mut().poll(context) {
        Poll::Ready(done) => Poll::Ready(Some(done)),
        Poll::Pending if first_turn => {
            first_turn = false;
            context.waker().wake_by_ref();
            Poll::Pending
        }
        Poll::Pending => Poll::Ready(None),
    });
    match early.await {
        Some(done) => Some(done),
        None => tokio::time::timeout(deadline, work).await.ok(),
    }
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
struct Slot(Arc<Connection>, u64);

impl Slot {
    /// `None` where as many requests as allowed are being worked on.
    fn take(connection: &Arc<Connection>) -> Option<Self> {
        let slot = Self(Arc::clone(connection), 0);
        let in_flight = slot.0.listener.metrics.begin();
        let most = i64::try_from(slot.0.listener.limits.requests).unwrap_or(i64::MAX);
        // Dropping the slot ends what it began.
        (in_flight <= most).then_some(slot)
    }

    /// Takes memory for a body of this length; refuses where too much is taken.
    fn hold(&mut self, length: u64) -> Result<(), Refusal> {
        if length <= SMALL_BODY || length <= self.1 {
            return Ok(());
        }
        let listener = &self.0.listener;
        let held = listener.body_memory.fetch_add(length - self.1, Ordering::Relaxed) + (length - self.1);
        self.1 = length;
        if held > listener.limits.body_memory {
            return Err(Refusal::unavailable("overloaded", "too much is being received at once; try again soon"));
        }
        Ok(())
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.listener.metrics.end();
        if self.1 > 0 {
            self.0.listener.body_memory.fetch_sub(self.1, Ordering::Relaxed);
        }
    }
}

/// A request that the connection is busy with, to the last byte of its answer.
struct Presence(Arc<Connection>);

impl Presence {
    fn new(connection: &Arc<Connection>, version: Version) -> Self {
        connection.vitals.begin(version);
        Self(Arc::clone(connection))
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.0.vitals.end();
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
            self.presence.0.vitals.progress();
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
