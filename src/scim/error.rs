//! The failures of SCIM, one constructor for each case of RFC 7644 section 3.12.
//!
//! `detail` is what an administrator sees in the identity provider: it says what is wrong, where, and what
//! to do next. It never repeats a secret, and no more of the client's text than [`quote`] lets through.

use std::fmt;

use crate::http::StatusCode;
use serde_json::{Value, json};

/// The URN of the error message.
pub const ERROR_SCHEMA: &str = "urn:ietf:params:scim:api:messages:2.0:Error";

/// A refusal of a SCIM request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScimError {
    /// The HTTP status.
    pub status: StatusCode,
    /// The word of RFC 7644 table 9 where there is one.
    pub scim_type: Option<&'static str>,
    /// For the administrator.
    pub detail: String,
    /// Whole seconds after which trying again makes sense, where that is known.
    pub retry_after: Option<u64>,
}

impl ScimError {
    /// Any status without a SCIM word.
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, scim_type: None, detail: detail.into(), retry_after: None }
    }

    fn bad_request(scim_type: &'static str, detail: impl Into<String>) -> Self {
        Self { scim_type: Some(scim_type), ..Self::new(StatusCode::BAD_REQUEST, detail) }
    }

    /// 400 `invalidFilter`: the filter cannot be read, or compares what cannot be compared.
    pub fn invalid_filter(detail: impl Into<String>) -> Self {
        Self::bad_request("invalidFilter", detail)
    }

    /// 400 `tooMany`: more results than the server is willing to return.
    pub fn too_many(detail: impl Into<String>) -> Self {
        Self::bad_request("tooMany", detail)
    }

    /// 409 `uniqueness`: the value belongs to another resource. Name the attribute, never the holder.
    pub fn uniqueness(detail: impl Into<String>) -> Self {
        Self { scim_type: Some("uniqueness"), ..Self::new(StatusCode::CONFLICT, detail) }
    }

    /// 400 `mutability`: the attribute is read-only, immutable or may not be removed.
    pub fn mutability(detail: impl Into<String>) -> Self {
        Self::bad_request("mutability", detail)
    }

    /// 400 `invalidSyntax`: the body has not the shape of the request.
    pub fn invalid_syntax(detail: impl Into<String>) -> Self {
        Self::bad_request("invalidSyntax", detail)
    }

    /// 400 `invalidPath`: the path of a PATCH operation cannot be read or is not in the schema.
    pub fn invalid_path(detail: impl Into<String>) -> Self {
        Self::bad_request("invalidPath", detail)
    }

    /// 400 `noTarget`: the path of a PATCH operation leads nowhere.
    pub fn no_target(detail: impl Into<String>) -> Self {
        Self::bad_request("noTarget", detail)
    }

    /// 400 `invalidValue`: a value is missing or has not the attribute's type.
    pub fn invalid_value(detail: impl Into<String>) -> Self {
        Self::bad_request("invalidValue", detail)
    }

    /// 400 `invalidVers`: the protocol version is not supported.
    pub fn invalid_version(detail: impl Into<String>) -> Self {
        Self::bad_request("invalidVers", detail)
    }

    /// 403 `sensitive`: personal or secret data may not stand in a URI or a filter (RFC 7644 section 7.5.2).
    pub fn sensitive(detail: impl Into<String>) -> Self {
        Self { scim_type: Some("sensitive"), ..Self::new(StatusCode::FORBIDDEN, detail) }
    }

    /// 400 `invalidCursor` (RFC 9865).
    pub fn invalid_cursor(detail: impl Into<String>) -> Self {
        Self::bad_request("invalidCursor", detail)
    }

    /// 400 `expiredCursor` (RFC 9865).
    pub fn expired_cursor(detail: impl Into<String>) -> Self {
        Self::bad_request("expiredCursor", detail)
    }

    /// 400 `invalidCount` (RFC 9865).
    pub fn invalid_count(detail: impl Into<String>) -> Self {
        Self::bad_request("invalidCount", detail)
    }

    /// 401: the token is missing, wrong, expired or revoked.
    pub fn unauthorized(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, detail)
    }

    /// 403: the token is good but does not allow this.
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, detail)
    }

    /// 404: no such resource or endpoint.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    /// 405: the endpoint does not take this method.
    pub fn method_not_allowed(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, detail)
    }

    /// 409 without a SCIM word: the request is at odds with the present state.
    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, detail)
    }

    /// 412: the resource is no longer the one that `If-Match` names.
    pub fn version_mismatch(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::PRECONDITION_FAILED, detail)
    }

    /// 413: more than a stated limit.
    pub fn too_large(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, detail)
    }

    /// 429: slow down, and try again after so many whole seconds.
    pub fn too_many_requests(seconds: u64, detail: impl Into<String>) -> Self {
        Self { retry_after: Some(seconds), ..Self::new(StatusCode::TOO_MANY_REQUESTS, detail) }
    }

    /// 500. The cause belongs into the log, not into the detail.
    pub fn internal(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, detail)
    }

    /// 501: a part of SCIM that this server does not have.
    pub fn not_implemented(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_IMPLEMENTED, detail)
    }

    /// 503: the store cannot be reached; nothing was changed or the outcome is unknown to the client.
    pub fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, detail)
    }

    /// With the event of the provisioning log that says more.
    #[must_use]
    pub(super) fn of_event(mut self, event: &str) -> Self {
        self.detail = format!("{} (event {event})", self.detail);
        self
    }

    /// The error body of RFC 7644 section 3.12: `status` is text.
    pub fn to_json(&self) -> Value {
        let mut body = json!({
            "schemas": [ERROR_SCHEMA],
            "status": self.status.as_str(),
            "detail": self.detail,
        });
        if let (Some(scim_type), Some(members)) = (self.scim_type, body.as_object_mut()) {
            members.insert("scimType".to_owned(), Value::from(scim_type));
        }
        body
    }
}

impl fmt::Display for ScimError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.scim_type {
            Some(scim_type) => write!(f, "{} {scim_type}: {}", self.status.as_u16(), self.detail),
            None => write!(f, "{}: {}", self.status.as_u16(), self.detail),
        }
    }
}

impl std::error::Error for ScimError {}

/// A piece of the client's text for a message: at most 60 characters, without control characters, in back-ticks.
pub fn quote(text: &str) -> String {
    const LONGEST: usize = 60;
    let mut quoted = String::with_capacity(LONGEST + 5);
    quoted.push('`');
    quoted.extend(text.chars().take(LONGEST).map(|c| if c.is_control() { '\u{FFFD}' } else { c }));
    if text.chars().nth(LONGEST).is_some() {
        quoted.push('…');
    }
    quoted.push('`');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_has_the_shape_of_rfc_7644() {
        let body = ScimError::uniqueness("userName is taken").to_json();
        assert_eq!(
            body,
            json!({"schemas": [ERROR_SCHEMA], "status": "409", "scimType": "uniqueness", "detail": "userName is taken"})
        );
        let body = ScimError::unauthorized("no token").to_json();
        assert_eq!(body, json!({"schemas": [ERROR_SCHEMA], "status": "401", "detail": "no token"}));
    }

    #[test]
    fn every_word_of_the_table_has_its_status() {
        let cases = [
            (ScimError::invalid_filter(""), 400, Some("invalidFilter")),
            (ScimError::too_many(""), 400, Some("tooMany")),
            (ScimError::uniqueness(""), 409, Some("uniqueness")),
            (ScimError::mutability(""), 400, Some("mutability")),
            (ScimError::invalid_syntax(""), 400, Some("invalidSyntax")),
            (ScimError::invalid_path(""), 400, Some("invalidPath")),
            (ScimError::no_target(""), 400, Some("noTarget")),
            (ScimError::invalid_value(""), 400, Some("invalidValue")),
            (ScimError::invalid_version(""), 400, Some("invalidVers")),
            (ScimError::sensitive(""), 403, Some("sensitive")),
            (ScimError::version_mismatch(""), 412, None),
            (ScimError::too_large(""), 413, None),
            (ScimError::not_found(""), 404, None),
        ];
        for (error, status, word) in cases {
            assert_eq!((error.status.as_u16(), error.scim_type), (status, word));
        }
    }

    #[test]
    fn quoted_text_is_short_and_plain() {
        assert_eq!(quote("a\r\nb"), "`a\u{FFFD}\u{FFFD}b`");
        assert_eq!(quote(&"x".repeat(61)).chars().count(), 63);
    }
}
