//! HTTP for every listener: the shapes of request, answer and failure.
//!
//! Each listener has its own router and limits. Handlers get a [`Request`] whose body is already read
//! within the listener's limits, and answer with a [`Response`]. This room knows no SCIM, no Cedar and no store.

mod body;
pub mod client;
pub mod operations;
mod peer;
pub mod plain;
pub mod router;
pub mod server;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderValue};

pub use body::{Body, BodyReader, BrokenOff, Chunks, Closed};
pub use hyper::{Method, StatusCode, header};
pub use peer::{ClientCertificate, Peer, PeerProcess};
pub use router::{Handling, RouteTable, Router, here, later, now, stream};

/// An answer; its body is whole or comes in chunks.
pub type Response = hyper::Response<Body>;

/// What a handler returns.
pub type Answer = Pin<Box<dyn Future<Output = Response> + Send>>;

/// A handler. Cheap to clone; owns what it needs. It runs to its end even when the client hangs up.
pub type Handler = Arc<dyn Fn(Request) -> Answer + Send + Sync>;

/// A handler that never waits: no future is made, which counts on the decision path.
pub type NowHandler = Arc<dyn Fn(Request) -> Response + Send + Sync>;

/// An answer that is there, or one that is still to be waited for.
#[expect(
    clippy::large_enum_variant,
    reason = "the large variant is the usual one, and a box would cost what this saves"
)]
pub enum Reply {
    /// There.
    Now(Response),
    /// On its way.
    Later(Answer),
}

impl Reply {
    /// Waits for it.
    pub async fn response(self) -> Response {
        match self {
            Self::Now(response) => response,
            Self::Later(answer) => answer.await,
        }
    }
}

/// A handler whose answer is usually there at once: no future is made for it then.
pub type PromptHandler = Arc<dyn Fn(Request) -> Reply + Send + Sync>;

/// Answers a body at once where it can, and says whether it did. What it wrote then is the answer, whose status is 200.
pub type AlikeHandler = Arc<dyn Fn(&[u8], &mut plain::Plain<'_>) -> bool + Send + Sync>;

/// What answers every request of one connection with the same head as this one, whose body does not matter; `None` where
/// each has to be looked at.
pub type HeadHandler = Arc<dyn Fn(&Request) -> Option<AlikeHandler> + Send + Sync>;

/// A handler that reads the body piece by piece; [`Request::body`] is empty.
pub type StreamHandler = Arc<dyn Fn(Request, BodyReader) -> Answer + Send + Sync>;

/// A request, read whole.
#[derive(Debug)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// The path as sent, undecoded, without the query.
    pub path: String,
    /// The query as sent, without the question mark.
    pub query: Option<String>,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, within the listener's limit.
    pub body: Bytes,
    /// Who connected.
    pub peer: Arc<Peer>,
    /// Path parameters by name, percent-decoded.
    pub parameters: Vec<(&'static str, String)>,
    /// The request's id (a UUID), also in the log and in the `Cedargate-Request-Id` header; empty on listeners whose
    /// answers do not show one.
    pub id: String,
}

impl Request {
    /// A bare request for a path with its query, for tests of handlers: no headers, no body, no peer.
    pub fn new(method: Method, target: &str) -> Self {
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query.to_owned())),
            None => (target, None),
        };
        Self {
            method,
            path: path.to_owned(),
            query,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            peer: Arc::default(),
            parameters: Vec::new(),
            id: String::new(),
        }
    }

    /// A path parameter; empty where the route has none of this name.
    pub fn parameter(&self, name: &str) -> &str {
        self.parameters.iter().find(|(key, _)| *key == name).map_or("", |(_, value)| value)
    }

    /// A header as text, where it is there exactly once and printable.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.get_all(name).iter();
        let first = values.next()?;
        if values.next().is_some() { None } else { first.to_str().ok() }
    }

    /// The token of `Authorization: Bearer …`, where there is one.
    pub fn bearer(&self) -> Option<&str> {
        let (scheme, token) = self.header("authorization")?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    }

    /// The query's parameters, percent-decoded, in order.
    pub fn query_pairs(&self) -> Vec<(String, String)> {
        form_urlencoded::parse(self.query.as_deref().unwrap_or("").as_bytes()).into_owned().collect()
    }
}

/// Something went wrong: the wire shape of failure, with its HTTP status and its gRPC code side by side.
/// A refusal is never a permit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status.
    pub status: StatusCode,
    /// The gRPC status code that says the same.
    pub grpc: i32,
    /// A stable word for programs.
    pub code: &'static str,
    /// A sentence for people: what, where, and what to do next. Never a secret.
    pub message: String,
}

impl Refusal {
    /// 400, `INVALID_ARGUMENT`.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, grpc: 3, code: "bad-request", message: message.into() }
    }

    /// 401, `UNAUTHENTICATED`.
    pub fn unauthenticated(message: impl Into<String>) -> Self {
        Self { status: StatusCode::UNAUTHORIZED, grpc: 16, code: "unauthenticated", message: message.into() }
    }

    /// 403, `PERMISSION_DENIED`.
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self { status: StatusCode::FORBIDDEN, grpc: 7, code: "forbidden", message: message.into() }
    }

    /// 404, `NOT_FOUND`.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self { status: StatusCode::NOT_FOUND, grpc: 5, code: "not-found", message: message.into() }
    }

    /// 405, `UNIMPLEMENTED`.
    pub fn method_not_allowed(message: impl Into<String>) -> Self {
        Self { status: StatusCode::METHOD_NOT_ALLOWED, grpc: 12, code: "method-not-allowed", message: message.into() }
    }

    /// 409, `ALREADY_EXISTS`.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self { status: StatusCode::CONFLICT, grpc: 6, code: "conflict", message: message.into() }
    }

    /// 413, `RESOURCE_EXHAUSTED`.
    pub fn too_large(message: impl Into<String>) -> Self {
        Self { status: StatusCode::PAYLOAD_TOO_LARGE, grpc: 8, code: "too-large", message: message.into() }
    }

    /// 408, `DEADLINE_EXCEEDED`.
    pub fn timeout(message: impl Into<String>) -> Self {
        Self { status: StatusCode::REQUEST_TIMEOUT, grpc: 4, code: "timeout", message: message.into() }
    }

    /// 500, `INTERNAL`. The message goes to the client: the cause belongs into the log.
    pub fn internal(message: impl Into<String>) -> Self {
        Self { status: StatusCode::INTERNAL_SERVER_ERROR, grpc: 13, code: "internal", message: message.into() }
    }

    /// 503, `UNAVAILABLE`. `code` is one of the refusals of the gate: `not-fresh`, `overloaded`, …
    pub fn unavailable(code: &'static str, message: impl Into<String>) -> Self {
        Self { status: StatusCode::SERVICE_UNAVAILABLE, grpc: 14, code, message: message.into() }
    }

    /// `{"error": {"code", "message"}}` with the status, `WWW-Authenticate` on 401 and `Retry-After` on 503.
    pub fn to_response(&self) -> Response {
        let body = serde_json::json!({"error": {"code": self.code, "message": self.message}});
        let mut response = json(self.status, &body);
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// An answer with a body of the given media type, never to be cached.
pub fn respond(status: StatusCode, media_type: &'static str, body: impl Into<Bytes>) -> Response {
    let mut response = Response::new(Body::from(body.into()));
    *response.status_mut() = status;
    // Room for what a decision adds, so that the table is made once.
    let mut headers = HeaderMap::with_capacity(8);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    *response.headers_mut() = headers;
    response
}

/// An answer in `application/json`.
pub fn json(status: StatusCode, body: &serde_json::Value) -> Response {
    respond(status, "application/json", body.to_string())
}

/// An answer without a body.
pub fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}
