//! Answers: resources with their headers, and every failure as the error body of RFC 7644 section 3.12.

use std::sync::Arc;

use serde::Serialize;
use serde_json::{Map, Value};

use super::error::ScimError;
use super::members::Streamed;
use crate::domain::{Revision, Timestamp};
use crate::http::header::{
    CONTENT_LOCATION, ETAG, HeaderMap, HeaderName, HeaderValue, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE,
};
use crate::http::router::Renderer;
use crate::http::{Body, Response, StatusCode, empty, respond};

/// The media type of RFC 7644 section 3.1.
pub const MEDIA_TYPE: &str = "application/scim+json";

/// Bytes that the answer with one resource mostly has room in.
const USUAL_BODY: usize = 1_024;

/// Names the place in the ledger that a write took.
pub const REVISION_HEADER: &str = "cedargate-revision";

/// Whole seconds after which a client may try again when the store could not be reached.
const RETRY_SECONDS: u64 = 10;

/// Any JSON with the SCIM media type.
pub(super) fn body(status: StatusCode, value: &impl Serialize) -> Response {
    let mut text = Vec::with_capacity(USUAL_BODY);
    // Maps of JSON have texts as keys, and memory does not fail.
    let _written = serde_json::to_writer(&mut text, value);
    respond(status, MEDIA_TYPE, text)
}

/// JSON with the SCIM media type that is still being written.
pub(super) fn streamed(status: StatusCode, whole: Body) -> Response {
    let mut response = respond(status, MEDIA_TYPE, "");
    *response.body_mut() = whole;
    response
}

/// The error body; with `WWW-Authenticate` on 401 and `Retry-After` where trying again helps.
pub fn failure(error: &ScimError) -> Response {
    let mut response = body(error.status, &error.to_json());
    let headers = response.headers_mut();
    if error.status == StatusCode::UNAUTHORIZED {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"scim\""));
    }
    if error.status == StatusCode::SERVICE_UNAVAILABLE || error.status == StatusCode::TOO_MANY_REQUESTS {
        headers.insert(RETRY_AFTER, HeaderValue::from(error.retry_after.unwrap_or(RETRY_SECONDS)));
    }
    response
}

/// Renders refusals of the listener (body too large, too slow, overload) in SCIM's shape.
pub fn renderer() -> Renderer {
    Arc::new(|refusal| failure(&ScimError::new(refusal.status, refusal.message.clone())))
}

/// A resource ready to be answered.
pub(super) struct Answered {
    /// What the client asked to see of it.
    pub shown: Map<String, Value>,
    /// Its version.
    pub version: u64,
    /// Where it is.
    pub location: String,
    /// The place in the ledger, after a write.
    pub revision: Option<Revision>,
    /// Members that are too many for `shown`, which holds their placeholder.
    pub streamed: Option<Streamed>,
}

impl Answered {
    /// 200 or another success with the body.
    pub fn with_body(self, status: StatusCode) -> Response {
        let mut response = match self.streamed {
            Some(members) => members.respond(status, &Value::Object(self.shown)),
            None => body(status, &self.shown),
        };
        let headers = response.headers_mut();
        let place = if status == StatusCode::CREATED { LOCATION } else { CONTENT_LOCATION };
        set(headers, place, &self.location);
        set(headers, ETAG, &tag(self.version));
        with_revision(headers, self.revision);
        response
    }

    /// 204.
    pub fn without_body(self) -> Response {
        let mut response = empty(StatusCode::NO_CONTENT);
        set(response.headers_mut(), ETAG, &tag(self.version));
        with_revision(response.headers_mut(), self.revision);
        response
    }
}

/// 204 after a deletion.
pub(super) fn deleted(revision: Revision) -> Response {
    let mut response = empty(StatusCode::NO_CONTENT);
    with_revision(response.headers_mut(), Some(revision));
    response
}

/// 304: the client has this version already.
pub(super) fn not_modified(version: u64) -> Response {
    let mut response = empty(StatusCode::NOT_MODIFIED);
    set(response.headers_mut(), ETAG, &tag(version));
    response
}

/// The weak entity tag of a version, the same in the header and in `meta.version`.
pub(super) fn tag(version: u64) -> String {
    format!("W/\"{version}\"")
}

/// A time in the form of RFC 3339, UTC, with milliseconds.
pub(super) fn date_time(time: Timestamp) -> String {
    jiff::Timestamp::from_millisecond(time.0).map_or_else(|_| time.0.to_string(), |time| format!("{time:.3}"))
}

fn with_revision(headers: &mut HeaderMap, revision: Option<Revision>) {
    if let Some(revision) = revision {
        set(headers, HeaderName::from_static(REVISION_HEADER), &revision.to_string());
    }
}

/// Our own texts are always printable; another is left out rather than sent broken.
fn set(headers: &mut HeaderMap, name: HeaderName, text: &str) {
    if let Ok(value) = HeaderValue::from_str(text) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_milliseconds_and_tags_are_weak() {
        assert_eq!(date_time(Timestamp(0)), "1970-01-01T00:00:00.000Z");
        assert_eq!(date_time(Timestamp(1_700_000_000_120)), "2023-11-14T22:13:20.120Z");
        assert_eq!(tag(3), "W/\"3\"");
    }

    #[test]
    fn failures_carry_the_headers_that_help() {
        let response = failure(&ScimError::unauthorized("no token"));
        assert!(response.headers().contains_key("www-authenticate"));
        assert_eq!(response.headers()["content-type"], MEDIA_TYPE);
        assert_eq!(failure(&ScimError::unavailable("later")).headers()["retry-after"], "10");
        let limited = failure(&ScimError::too_many_requests(3, "slow down"));
        assert_eq!(limited.headers()["retry-after"], "3");
    }
}
