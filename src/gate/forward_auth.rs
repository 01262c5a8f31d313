//! `/forward-auth`: Traefik's ForwardAuth, Caddy's forward_auth, APISIX's forward-auth.
//!
//! In: any method; the original request stands in `X-Forwarded-Method`, `-Uri` and `-Host`, the caller's own headers
//! beside them. The query of our own address is the client's (Caddy appends it) and is never read.
//! Out: 200 passes the request on with our headers; everything else goes to the client as it stands.
//! Fail-closed: 503 where nothing can be decided, 400 for headers that cannot be read, 403 for a gateway that is not
//! admitted. Never 2xx.

use super::answer::{self, Judged};
use super::credentials::Manner;
use super::original::{self, HeaderFault, Original, Vouched};
use crate::http::{Refusal, Request, Response, StatusCode};

const METHOD: &str = "x-forwarded-method";
const URI: &str = "x-forwarded-uri";
const HOST: &str = "x-forwarded-host";

/// Reads the question.
///
/// # Errors
/// A header that is missing, occurs twice, has a twin or cannot be read.
pub fn read<'a>(request: &'a Request, manner: &Manner) -> Result<Original<'a>, HeaderFault> {
    let headers = &request.headers;
    original::without_twins(headers.keys().map(|name| name.as_str()), &[METHOD, URI, HOST], manner)?;
    Ok(Original {
        method: original::method(METHOD, original::required(headers, METHOD)?)?,
        host: Some(original::host(HOST, original::required(headers, HOST)?)?),
        path: original::required(headers, URI)?,
        caller: original::caller(headers, manner, Vouched::default())?,
        request_id: original::request_id(headers),
    })
}

/// Writes the decision.
pub fn write(judged: &Judged) -> Response {
    if judged.permits() {
        return answer::allowing(judged);
    }
    let status = judged.deny_status();
    let mut response = answer::denying(status);
    judged.write_deny(status, response.headers_mut());
    response
}

/// Writes what is not a decision.
pub fn refuse(refusal: &Refusal) -> Response {
    let status = match refusal.status {
        // Ours and the gateway's affair: to the client it is a plain no, never a request to authenticate.
        StatusCode::BAD_REQUEST | StatusCode::SERVICE_UNAVAILABLE => refusal.status,
        StatusCode::INTERNAL_SERVER_ERROR => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::FORBIDDEN,
    };
    let mut response = answer::denying(status);
    answer::write_refusal(response.headers_mut(), refusal);
    response
}
