//! `/auth-request`: nginx's auth_request, ingress-nginx, HAProxy with a few lines of Lua.
//!
//! In: any method; the original request stands in `X-Original-Method` and either `X-Original-URI` (with
//! `X-Original-Host`, where the gateway sends it) or `X-Original-URL` (scheme, host, path and query: ingress-nginx).
//! Where both stand there they must agree.
//! Out: 200, 401 or 403 and nothing else: to nginx every other status is an error of ours, which its client sees as 500.
//! Fail-closed: 403.

use super::answer::{self, Judged};
use super::credentials::Manner;
use super::original::{self, HeaderFault, Original, Vouched};
use crate::http::{Refusal, Request, Response, StatusCode};

const METHOD: &str = "x-original-method";
const URI: &str = "x-original-uri";
const URL: &str = "x-original-url";
const HOST: &str = "x-original-host";

/// Reads the question.
///
/// # Errors
/// A header that is missing, occurs twice, has a twin or cannot be read; two that contradict each other.
pub fn read<'a>(request: &'a Request, manner: &Manner) -> Result<Original<'a>, HeaderFault> {
    let headers = &request.headers;
    original::without_twins(headers.keys().map(|name| name.as_str()), &[METHOD, URI, URL, HOST], manner)?;
    let told_host = original::once(headers, HOST)?.map(|host| original::host(HOST, host)).transpose()?;
    let (host, path) = match (original::once(headers, URI)?, original::once(headers, URL)?) {
        (Some(uri), None) => (told_host, uri),
        (None, Some(url)) => agreed(told_host, url)?,
        (Some(uri), Some(url)) => {
            let (host, path) = agreed(told_host, url)?;
            if path != uri {
                return Err(HeaderFault::Conflict(URI, URL));
            }
            (host, path)
        }
        (None, None) => return Err(HeaderFault::Missing(URI)),
    };
    Ok(Original {
        method: original::method(METHOD, original::required(headers, METHOD)?)?,
        host,
        path,
        caller: original::caller(headers, manner, Vouched::default())?,
        request_id: original::request_id(headers),
    })
}

/// Host and path of an absolute address. No URL parser: it would repair what must be refused.
fn agreed<'a>(told_host: Option<&'a str>, url: &'a str) -> Result<(Option<&'a str>, &'a str), HeaderFault> {
    let unreadable = || HeaderFault::Unreadable(URL.to_owned());
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://")).ok_or_else(unreadable)?;
    let at = rest.find('/').ok_or_else(unreadable)?;
    let (host, path) = rest.split_at_checked(at).ok_or_else(unreadable)?;
    let host = original::host(URL, host)?;
    match told_host {
        Some(told) if !told.eq_ignore_ascii_case(host) => Err(HeaderFault::Conflict(HOST, URL)),
        Some(_) | None => Ok((Some(host), path)),
    }
}

/// Writes the decision.
pub fn write(judged: &Judged) -> Response {
    if judged.permits() {
        return answer::allowing(judged);
    }
    let status = match judged.deny_status() {
        StatusCode::UNAUTHORIZED => StatusCode::UNAUTHORIZED,
        _ => StatusCode::FORBIDDEN,
    };
    let mut response = answer::denying(status);
    judged.write_deny(status, response.headers_mut());
    response
}

/// Writes what is not a decision.
pub fn refuse(refusal: &Refusal) -> Response {
    let mut response = answer::denying(StatusCode::FORBIDDEN);
    answer::write_refusal(response.headers_mut(), refusal);
    response
}
