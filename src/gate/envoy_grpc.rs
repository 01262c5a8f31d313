//! Envoy's ext_authz over gRPC: `envoy.service.auth.v3.Authorization/Check`, unary.
//!
//! In: one length-prefixed `CheckRequest`; of its attributes the HTTP request, `source.principal` and the metadata of
//! jwt_authn are read, each only where the credential's manner says so.
//! Out: always a `CheckResponse`: status 0 with headers to set and to remove, or a denied response; the decision's id,
//! reason, policies and revision in the dynamic metadata (namespace `envoy.filters.http.ext_authz`).
//! Fail-closed: a denied response for everything, a bad message too. A gRPC error would be Envoy's to judge, and an
//! operator may have told it to let requests pass on errors (`failure_mode_allow`).

mod message;
mod writer;

use bytes::Bytes;
use envoy_types::pb::google::protobuf::value::Kind;
use envoy_types::pb::google::protobuf::{Struct, Value};
use prost::Message as _;

pub use message::Check;

use super::answer::{self, Judged};
use super::credentials::{CallerSource, GateConfig, Manner};
use super::original::{self, HeaderFault, Original, Vouched};
use crate::http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use crate::http::{Body, Refusal, Request, Response, StatusCode};
use message::{Attributes, Header, Http};
use writer::Writer;

/// The method's path.
pub const PATH: &str = "/envoy.service.auth.v3.Authorization/Check";

/// Where jwt_authn leaves what it has verified.
const JWT_AUTHN: &str = "envoy.filters.http.jwt_authn";

/// Numbers of `google.rpc.Code`; an allow is the absence of one.
const OK: i32 = 0;
const UNAUTHENTICATED: u32 = 16;
const PERMISSION_DENIED: u32 = 7;

/// `HeaderAppendAction.OVERWRITE_IF_EXISTS_OR_ADD`.
const OVERWRITE: u32 = 2;

/// Reads the message: a flag that says uncompressed, the length, the bytes (gRPC over HTTP/2, Length-Prefixed-Message).
///
/// # Errors
/// 400 for everything else.
pub fn parse(request: &Request) -> Result<Check, Refusal> {
    let kind = request.header("content-type").unwrap_or("");
    if kind != "application/grpc" && kind != "application/grpc+proto" {
        return Err(Refusal::bad_request("this is a gRPC method; send `content-type: application/grpc`"));
    }
    let (flag, rest) = request.body.split_first().ok_or_else(|| Refusal::bad_request("the message is missing"))?;
    let (length, message) = rest.split_first_chunk::<4>().ok_or_else(|| Refusal::bad_request("the message is cut"))?;
    if *flag != 0 {
        return Err(Refusal::bad_request("the message is compressed; send it as it is"));
    }
    if u32::from_be_bytes(*length) as usize != message.len() {
        return Err(Refusal::bad_request("the message's length is not the one it says"));
    }
    Check::decode(request.body.slice_ref(message))
        .map_err(|_| Refusal::bad_request("the message is not a CheckRequest"))
}

/// Headers of the HTTP request, from whichever of the two fields Envoy was told to fill.
///
/// # Errors
/// Names and values that HTTP does not know.
pub fn headers(check: &Check) -> Result<HeaderMap, HeaderFault> {
    let Some(http) = http(check) else { return Ok(HeaderMap::new()) };
    let raw: &[Header] = http.header_map.as_ref().map_or(&[], |map| &map.headers);
    let mut headers = HeaderMap::with_capacity(http.headers.len() + raw.len());
    for Header { key, value, raw_value } in
        http.headers.iter().chain(raw).filter(|header| !header.key.starts_with(b":"))
    {
        let value = if raw_value.is_empty() { value } else { raw_value };
        let unreadable = || HeaderFault::Unreadable(String::from_utf8_lossy(key).into_owned());
        let name = HeaderName::from_bytes(key).map_err(|_| unreadable())?;
        headers.append(name, HeaderValue::from_maybe_shared(value.clone()).map_err(|_| unreadable())?);
    }
    Ok(headers)
}

/// The claims that jwt_authn has verified, as a JSON object, where this gateway's word counts for them.
pub fn claims(check: &Check, manner: &Manner) -> Option<String> {
    if !manner.caller.contains(&CallerSource::JwtMetadata) {
        return None;
    }
    let metadata = attributes(check)?.metadata_context.as_ref()?.filter_metadata.get(JWT_AUTHN)?;
    // Envoy keeps the payload under a name of its configuration. More than one provider's would be two callers.
    let mut payloads = metadata.fields.values().filter_map(|value| match &value.kind {
        Some(Kind::StructValue(payload)) if payload.fields.contains_key("iss") => Some(payload),
        _ => None,
    });
    match (payloads.next(), payloads.next()) {
        (Some(payload), None) => Some(json_object(payload).to_string()),
        _ => None,
    }
}

fn json_object(payload: &Struct) -> serde_json::Value {
    payload.fields.iter().map(|(name, value)| (name.clone(), json(value))).collect::<serde_json::Map<_, _>>().into()
}

/// Numbers of a `Struct` are doubles; whole ones become whole again, since claims such as `exp` are.
fn json(value: &Value) -> serde_json::Value {
    match &value.kind {
        None | Some(Kind::NullValue(_)) => serde_json::Value::Null,
        Some(Kind::BoolValue(truth)) => (*truth).into(),
        Some(Kind::StringValue(text)) => text.as_str().into(),
        Some(Kind::NumberValue(number)) => whole(*number).map_or_else(|| (*number).into(), Into::into),
        Some(Kind::ListValue(list)) => list.values.iter().map(json).collect::<Vec<_>>().into(),
        Some(Kind::StructValue(inner)) => json_object(inner),
    }
}

fn whole(number: f64) -> Option<i64> {
    const LARGEST: f64 = 9_007_199_254_740_992.0;
    #[expect(clippy::cast_possible_truncation, reason = "it is whole and within 53 bits")]
    let exact = number as i64;
    (number.fract() == 0.0 && number.abs() <= LARGEST).then_some(exact)
}

/// Reads the question out of the message, its [`headers`] and its [`claims`].
///
/// # Errors
/// No HTTP request in it; a header that occurs twice, has a twin or cannot be read.
pub fn read<'a>(
    check: &'a Check,
    headers: &'a HeaderMap,
    claims: Option<&'a str>,
    manner: &Manner,
) -> Result<Original<'a>, HeaderFault> {
    let http = http(check).ok_or(HeaderFault::Missing("attributes.request.http"))?;
    original::without_twins(headers.keys().map(HeaderName::as_str), &[], manner)?;
    let host = match text(":authority", &http.host)? {
        "" => None,
        host => Some(original::host(":authority", host)?),
    };
    Ok(Original {
        method: original::method(":method", text(":method", &http.method)?)?,
        host,
        path: text(":path", &http.path)?,
        caller: original::caller(headers, manner, Vouched { principal: principal(check), claims })?,
        request_id: original::request_id(headers),
    })
}

fn text<'a>(name: &'static str, bytes: &'a [u8]) -> Result<&'a str, HeaderFault> {
    std::str::from_utf8(bytes).map_err(|_| HeaderFault::Unreadable(name.to_owned()))
}

/// The name in the client certificate that Envoy has verified.
fn principal(check: &Check) -> Option<&str> {
    let principal = attributes(check)?.source.as_ref()?.principal.as_str();
    (!principal.is_empty()).then_some(principal)
}

fn attributes(check: &Check) -> Option<&Attributes> {
    check.attributes.as_ref()
}

fn http(check: &Check) -> Option<&Http> {
    attributes(check)?.request.as_ref()?.http.as_ref()
}

/// Writes the decision; `sent` are the client's headers.
pub fn write(judged: &Judged, sent: &HeaderMap, config: &GateConfig) -> Response {
    let mut answer = Writer::new();
    if judged.permits() {
        allow(&mut answer, judged, sent, config);
    } else {
        let status = judged.deny_status();
        let unproved = status == StatusCode::UNAUTHORIZED;
        let code = if unproved { UNAUTHENTICATED } else { PERMISSION_DENIED };
        deny(&mut answer, code, status, unproved.then_some(judged.challenge));
    }
    answer.message(DYNAMIC_METADATA, |metadata| describe(metadata, judged));
    framed(answer)
}

// Fields of `CheckResponse`.
const STATUS: u32 = 1;
const DENIED_RESPONSE: u32 = 2;
const OK_RESPONSE: u32 = 3;
const DYNAMIC_METADATA: u32 = 4;

fn allow(answer: &mut Writer, judged: &Judged, sent: &HeaderMap, config: &GateConfig) {
    let identity = judged.identity();
    // Envoy removes after it has set: what is set stays out of the list, since setting overwrites the client's.
    let is_set = |name: &str| identity.iter().any(|(set, _)| *set == name);
    let of_client = sent.keys().map(HeaderName::as_str).filter(|name| original::is_ours(name));
    let strip = config.strip_headers.iter().map(HeaderName::as_str);
    let remove = of_client.chain(answer::OVERRIDES).chain(strip).filter(|name| !is_set(name));
    answer.message(STATUS, |_ok| ());
    answer.message(OK_RESPONSE, |passed| {
        for (name, value) in &identity {
            header(passed, name, value);
        }
        for name in remove {
            passed.text(5, name);
        }
    });
}

/// Writes what is not a decision.
pub fn refuse(refusal: &Refusal) -> Response {
    let status = match refusal.status {
        StatusCode::BAD_REQUEST => StatusCode::BAD_REQUEST,
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::INTERNAL_SERVER_ERROR => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::FORBIDDEN,
    };
    // Zero would be an allow; no refusal has it, and none may.
    let code = u32::try_from(refusal.grpc).ok().filter(|_| refusal.grpc != OK).unwrap_or(PERMISSION_DENIED);
    let mut answer = Writer::new();
    deny(&mut answer, code, status, None);
    answer.message(DYNAMIC_METADATA, |metadata| {
        metadata.text_entry("decision", "deny");
        metadata.text_entry("reason", refusal.code);
    });
    framed(answer)
}

fn deny(answer: &mut Writer, code: u32, status: StatusCode, challenge: Option<&str>) {
    answer.message(STATUS, |status| status.number(1, code));
    answer.message(DENIED_RESPONSE, |denied| {
        denied.message(1, |http| http.number(1, u32::from(status.as_u16())));
        header(denied, "cache-control", "no-store");
        header(denied, "content-type", "text/plain");
        if let Some(challenge) = challenge {
            header(denied, "www-authenticate", challenge);
        }
        denied.text(3, answer::body_of(status));
    });
}

/// Set, whatever the client sent under this name: so older Envoys read the absence of `append`, newer ones `append_action`.
fn header(response: &mut Writer, name: &str, value: &str) {
    response.message(2, |option| {
        option.message(1, |header| {
            header.text(1, name);
            header.text(2, value);
        });
        option.number(3, OVERWRITE);
    });
}

fn describe(metadata: &mut Writer, judged: &Judged) {
    let decision = &judged.decision;
    metadata.text_entry("decision", answer::verdict_name(decision.verdict()));
    metadata.text_entry("decision_id", &judged.id);
    metadata.text_entry("reason", decision.reason.code());
    metadata.entry("policies", |value| {
        value.message(6, |list| {
            for policy in &*decision.policies {
                list.message(1, |value| value.text(3, policy));
            }
        });
    });
    metadata.text_entry("revision", &decision.revision.to_string());
    metadata.text_entry("bundle", &decision.bundle);
    if let Some(action) = &decision.action {
        metadata.text_entry("action", action);
    }
    if let Some(person) = &judged.person {
        metadata.text_entry("user", &person.username);
    }
}

/// An answer whose call went well; what was decided stands in the message.
fn framed(message: Writer) -> Response {
    let mut trailers = HeaderMap::with_capacity(1);
    trailers.insert(HeaderName::from_static("grpc-status"), HeaderValue::from_static("0"));
    let mut response = Response::new(Body::with_trailers(Bytes::from(message.finish()), trailers));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}
