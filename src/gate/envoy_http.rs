//! `/envoy/*`: Envoy's ext_authz over HTTP (also Istio's and the Gateway API's external authorization over HTTP).
//!
//! In: the original method on `/envoy` + the original path and query, with the original `Host`; of the client's other
//! headers those that Envoy is told to send.
//! Out: exactly 200 passes the request on; every other status denies, and Envoy gives it to the client.
//! Fail-closed: 403 for whatever is not a decision, never 5xx: Envoy would take a 5xx for its own error, and an
//! operator may have told it to let requests pass on errors (`failure_mode_allow`).

use super::answer::{self, Judged};
use super::credentials::{GateConfig, Manner};
use super::original::{self, HeaderFault, Original, Vouched};
use crate::http::header::{HeaderName, HeaderValue};
use crate::http::{Refusal, Request, Response, StatusCode};

/// What our own path begins with, in front of the original one.
pub const PREFIX: &str = "/envoy";

/// The header by which Envoy is told which of the client's headers to drop.
const REMOVE: HeaderName = HeaderName::from_static("x-envoy-auth-headers-to-remove");

/// Reads the question; `target` is path and query of our own request.
///
/// # Errors
/// A header that occurs twice, has a twin or cannot be read.
pub fn read<'a>(request: &'a Request, target: &'a str, manner: &Manner) -> Result<Original<'a>, HeaderFault> {
    let headers = &request.headers;
    original::without_twins(headers.keys().map(|name| name.as_str()), &[], manner)?;
    let host = original::once(headers, "host")?.map(|host| original::host("host", host)).transpose()?;
    Ok(Original {
        method: original::method(":method", request.method.as_str())?,
        host,
        path: target.strip_prefix(PREFIX).unwrap_or(""),
        caller: original::caller(headers, manner, Vouched::default())?,
        request_id: original::request_id(headers),
    })
}

/// Writes the decision.
pub fn write(judged: &Judged, config: &GateConfig) -> Response {
    if judged.permits() {
        let mut response = answer::allowing(judged);
        let set: Vec<HeaderName> = response.headers().keys().cloned().collect();
        let ours = answer::OURS.into_iter().chain(answer::OVERRIDES).filter(|name| !set.iter().any(|one| one == name));
        let all: Vec<&str> = ours.chain(config.strip_headers.iter().map(HeaderName::as_str)).collect();
        if let Ok(names) = HeaderValue::from_str(&all.join(",")) {
            response.headers_mut().insert(REMOVE, names);
        }
        return response;
    }
    let status = judged.deny_status();
    let mut response = answer::denying(status);
    judged.write_deny(status, response.headers_mut());
    response
}

/// Writes what is not a decision.
pub fn refuse(refusal: &Refusal) -> Response {
    let status =
        if refusal.status == StatusCode::BAD_REQUEST { StatusCode::BAD_REQUEST } else { StatusCode::FORBIDDEN };
    let mut response = answer::denying(status);
    answer::write_refusal(response.headers_mut(), refusal);
    response
}
