//! What the gateway dialects answer with: the headers that tell a decision, and who is meant by it.
//!
//! A service behind the gateway may rely on `Cedargate-User` and its neighbours, so every dialect sets them or has
//! the gateway remove them: what a client sent under these names never passes. Texts for people outside say nothing
//! but yes or no; the reason goes to the gateway, in headers that its configuration keeps to itself.

use std::sync::Arc;

use super::credentials::{CallerSource, Manner};
use crate::authz::{DecisionId, PersonName, Schemes};
use crate::domain::{Decision, Reason, Verdict};
use crate::http::header::{HeaderMap, HeaderName, HeaderValue, WWW_AUTHENTICATE};
use crate::http::{Refusal, Response, StatusCode, respond};
use crate::telemetry::Laps;

/// `permit` or `deny`.
pub const DECISION: &str = "cedargate-decision";
/// The decision's id.
pub const DECISION_ID: &str = "cedargate-decision-id";
/// The reason's code, or the refusal's.
pub const REASON: &str = "cedargate-reason";
/// The username of the person who was permitted; absent for endpoints that anybody may ask.
pub const USER: &str = "cedargate-user";
/// That person's SCIM id.
pub const USER_ID: &str = "cedargate-user-id";

/// Every header of ours that a service may meet. A client's copies are set or removed.
pub const OURS: [&str; 6] = [DECISION, DECISION_ID, REASON, USER, USER_ID, super::credentials::TOKEN_HEADER];

/// Where a gateway asks for the times of an answer's stages, which it gets where it may ask for explanations.
pub const TIMING: HeaderName = HeaderName::from_static("cedargate-timing");

/// Headers by which clients ask a service for another method or path than the one that was judged. No gateway that
/// asks us may pass them on.
pub const OVERRIDES: [&str; 5] =
    ["x-http-method-override", "x-http-method", "x-method-override", "x-original-url", "x-rewrite-url"];

/// A decision with its id and the person whom it is about.
#[derive(Clone, Debug)]
pub struct Judged {
    /// The decision.
    pub decision: Decision,
    /// Its id.
    pub id: DecisionId,
    /// Whom it judged; nobody where anybody may ask.
    pub person: Option<Arc<PersonName>>,
    /// What a caller who proved nothing is asked for ([`challenge`]).
    pub challenge: &'static str,
}

impl Judged {
    /// Whether the request may pass. The only place where an answer of a gateway dialect becomes an allow.
    pub const fn permits(&self) -> bool {
        matches!(self.decision.verdict(), Verdict::Permit)
    }

    /// The status that a deny has outside: 401 for a caller who proved nothing, 400 for a request that reads in
    /// two ways, else 403.
    pub const fn deny_status(&self) -> StatusCode {
        // Every other reason, a new one as well, is a plain 403.
        if matches!(self.decision.reason, Reason::Unauthenticated) {
            StatusCode::UNAUTHORIZED
        } else if matches!(self.decision.reason, Reason::MalformedRequest) {
            StatusCode::BAD_REQUEST
        } else {
            StatusCode::FORBIDDEN
        }
    }

    /// Name and value of the headers that go to the service with a permitted request.
    pub fn identity(&self) -> Vec<(&'static str, &str)> {
        let mut headers = vec![
            (DECISION, verdict_name(self.decision.verdict())),
            (DECISION_ID, &*self.id),
            (REASON, self.decision.reason.code()),
        ];
        if let Some(person) = &self.person {
            // A name that a header cannot hold is left out; the id always fits.
            let fits = person.username.bytes().all(|byte| (b' '..=b'~').contains(&byte));
            headers.extend(fits.then_some((USER, &*person.username)));
            headers.push((USER_ID, &*person.id));
        }
        headers
    }

    /// [`Self::identity`] in an answer.
    pub fn write_identity(&self, headers: &mut HeaderMap) {
        for (name, value) in self.identity() {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(HeaderName::from_static(name), value);
            }
        }
    }

    /// The headers of a deny: verdict, id and reason, for the gateway; for its client what a 401 asks for.
    pub fn write_deny(&self, status: StatusCode, headers: &mut HeaderMap) {
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(self.challenge));
        }
        if let Ok(id) = HeaderValue::from_str(&self.id) {
            headers.insert(HeaderName::from_static(DECISION_ID), id);
        }
        write_reason(headers, self.decision.reason.code());
    }
}

/// The wire's word for a verdict.
pub const fn verdict_name(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Permit => "permit",
        Verdict::Deny => "deny",
    }
}

/// An answer of `200` that lets the request pass.
pub fn allowing(judged: &Judged) -> Response {
    let mut response = respond(StatusCode::OK, "text/plain", "");
    judged.write_identity(response.headers_mut());
    response
}

/// An answer that does not, with a body that tells an outsider nothing.
pub fn denying(status: StatusCode) -> Response {
    respond(status, "text/plain", body_of(status))
}

/// The value of `WWW-Authenticate` (RFC 9110 section 11.6.1): each scheme that is accepted from the callers of this
/// gateway. A 401 must name one: `Bearer` where none is.
pub fn challenge(manner: &Manner, schemes: Schemes) -> &'static str {
    let basic = schemes.basic && manner.caller.contains(&CallerSource::Authorization);
    match (schemes.bearer, basic) {
        (_, false) => "Bearer",
        (true, true) => "Bearer, Basic realm=\"api\", charset=\"UTF-8\"",
        (false, true) => "Basic realm=\"api\", charset=\"UTF-8\"",
    }
}

/// What an outsider reads.
pub fn body_of(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED => "authentication is needed\n",
        StatusCode::BAD_REQUEST => "the request cannot be read in one way only\n",
        StatusCode::SERVICE_UNAVAILABLE => "access cannot be decided now; try again soon\n",
        _ => "access denied\n",
    }
}

/// What every answer to one question of a service carries: the names of verdict, reason and id.
pub static DECISION_NAMES: [HeaderName; 3] =
    [HeaderName::from_static(DECISION), HeaderName::from_static(REASON), HeaderName::from_static(DECISION_ID)];

/// Their values, but for the id.
pub const fn decision_words(reason: Reason) -> [&'static str; 2] {
    let verdict = if reason.permits() { Verdict::Permit } else { Verdict::Deny };
    [verdict_name(verdict), reason.code()]
}

/// All three in an answer.
pub fn decision_headers(headers: &mut HeaderMap, reason: Reason, id: &str) {
    let ([decision_name, reason_name, id_name], [verdict, code]) = (&DECISION_NAMES, decision_words(reason));
    headers.insert(decision_name, HeaderValue::from_static(verdict));
    headers.insert(reason_name, HeaderValue::from_static(code));
    if let Ok(mut id) = HeaderValue::from_str(id) {
        // New each time: a place in the table of HTTP/2's headers would be of no use (RFC 7541 section 6.2.3).
        id.set_sensitive(true);
        headers.insert(id_name, id);
    }
}

/// The times of the stages (W3C Server Timing).
pub fn write_timing(headers: &mut HeaderMap, laps: &Laps) {
    if let Ok(value) = HeaderValue::try_from(laps.server_timing()) {
        headers.insert(HeaderName::from_static("server-timing"), value);
    }
}

/// A refusal's headers: it denies, and its code is the reason.
pub fn write_refusal(headers: &mut HeaderMap, refusal: &Refusal) {
    write_reason(headers, refusal.code);
}

fn write_reason(headers: &mut HeaderMap, code: &'static str) {
    headers.insert(HeaderName::from_static(DECISION), HeaderValue::from_static("deny"));
    headers.insert(HeaderName::from_static(REASON), HeaderValue::from_static(code));
}
