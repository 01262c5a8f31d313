//! Envoy's ext_authz over gRPC: `envoy.service.auth.v3.Authorization/Check`, unary.
//!
//! In: one length-prefixed `CheckRequest`; of its attributes the HTTP request, `source.principal` and the metadata of
//! jwt_authn are read, each only where the credential's manner says so.
//! Out: always a `CheckResponse`: status 0 with headers to set and to remove, or a denied response; the decision's id,
//! reason, policies and revision in the dynamic metadata (namespace `envoy.filters.http.ext_authz`).
//! Fail-closed: a denied response for everything, a bad message too. A gRPC error would be Envoy's to judge, and an
//! operator may have told it to let requests pass on errors (`failure_mode_allow`).

use bytes::{BufMut, Bytes, BytesMut};
use envoy_types::pb::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use envoy_types::pb::envoy::config::core::v3::{HeaderValue as EnvoyHeader, HeaderValueOption};
use envoy_types::pb::envoy::service::auth::v3::attribute_context::HttpRequest;
use envoy_types::pb::envoy::service::auth::v3::check_response::HttpResponse;
use envoy_types::pb::envoy::service::auth::v3::{
    AttributeContext, CheckRequest, CheckResponse, DeniedHttpResponse, OkHttpResponse,
};
use envoy_types::pb::envoy::r#type::v3::HttpStatus;
use envoy_types::pb::google::protobuf::value::Kind;
use envoy_types::pb::google::protobuf::{ListValue, Struct, Value};
use envoy_types::pb::google::rpc::Status;
use prost::Message;

use super::answer::{self, Judged};
use super::credentials::{CallerSource, GateConfig, Manner};
use super::original::{self, HeaderFault, Original, Vouched};
use crate::http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use crate::http::{Body, Refusal, Request, Response, StatusCode};

/// The method's path.
pub const PATH: &str = "/envoy.service.auth.v3.Authorization/Check";

/// Where jwt_authn leaves what it has verified.
const JWT_AUTHN: &str = "envoy.filters.http.jwt_authn";

const OK: i32 = 0;
const UNAUTHENTICATED: i32 = 16;
const PERMISSION_DENIED: i32 = 7;

/// Reads the message: a flag that says uncompressed, the length, the bytes (gRPC over HTTP/2, Length-Prefixed-Message).
///
/// # Errors
/// 400 for everything else.
pub fn parse(request: &Request) -> Result<CheckRequest, Refusal> {
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
    CheckRequest::decode(message).map_err(|_| Refusal::bad_request("the message is not a CheckRequest"))
}

/// Headers of the HTTP request, from whichever of the two fields Envoy was told to fill.
///
/// # Errors
/// Names and values that HTTP does not know.
pub fn headers(check: &CheckRequest) -> Result<HeaderMap, HeaderFault> {
    let Some(http) = http(check) else { return Ok(HeaderMap::new()) };
    let raw = http.header_map.iter().flat_map(|map| &map.headers).map(|header| {
        let value = if header.raw_value.is_empty() { header.value.as_bytes() } else { &header.raw_value };
        (header.key.as_str(), value)
    });
    let folded = http.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    let mut headers = HeaderMap::new();
    for (name, value) in folded.chain(raw).filter(|(name, _)| !name.starts_with(':')) {
        let unreadable = || HeaderFault::Unreadable(name.to_owned());
        let key = HeaderName::from_bytes(name.as_bytes()).map_err(|_| unreadable())?;
        headers.append(key, HeaderValue::from_bytes(value).map_err(|_| unreadable())?);
    }
    Ok(headers)
}

/// The claims that jwt_authn has verified, as a JSON object, where this gateway's word counts for them.
pub fn claims(check: &CheckRequest, manner: &Manner) -> Option<String> {
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
    check: &'a CheckRequest,
    headers: &'a HeaderMap,
    claims: Option<&'a str>,
    manner: &Manner,
) -> Result<Original<'a>, HeaderFault> {
    let http = http(check).ok_or(HeaderFault::Missing("attributes.request.http"))?;
    original::without_twins(headers.keys().map(HeaderName::as_str), &[], manner)?;
    let host = if http.host.is_empty() { None } else { Some(original::host(":authority", &http.host)?) };
    Ok(Original {
        method: original::method(":method", &http.method)?,
        host,
        path: &http.path,
        caller: original::caller(headers, manner, Vouched { principal: principal(check), claims })?,
        request_id: original::request_id(headers),
    })
}

/// The name in the client certificate that Envoy has verified.
fn principal(check: &CheckRequest) -> Option<&str> {
    let principal = attributes(check)?.source.as_ref()?.principal.as_str();
    (!principal.is_empty()).then_some(principal)
}

fn attributes(check: &CheckRequest) -> Option<&AttributeContext> {
    check.attributes.as_ref()
}

fn http(check: &CheckRequest) -> Option<&HttpRequest> {
    attributes(check)?.request.as_ref()?.http.as_ref()
}

/// Writes the decision; `sent` are the client's headers.
pub fn write(judged: &Judged, sent: &HeaderMap, config: &GateConfig) -> Response {
    let response = if judged.permits() { allowed(judged, sent, config) } else { denied_by(judged) };
    framed(&response)
}

fn allowed(judged: &Judged, sent: &HeaderMap, config: &GateConfig) -> CheckResponse {
    let identity = judged.identity();
    // Envoy removes after it has set: what is set stays out of the list, since setting overwrites the client's.
    let is_set = |name: &str| identity.iter().any(|(set, _)| *set == name);
    let of_client = sent.keys().map(HeaderName::as_str).filter(|name| original::folded(name).starts_with("cedargate-"));
    let strip = config.strip_headers.iter().map(HeaderName::as_str);
    let remove = of_client.chain(answer::OVERRIDES).chain(strip).filter(|name| !is_set(name));
    let headers = identity.iter().map(|(name, value)| header(name, value)).collect();
    let passed =
        OkHttpResponse { headers, headers_to_remove: remove.map(str::to_owned).collect(), ..OkHttpResponse::default() };
    CheckResponse {
        status: Some(Status { code: OK, ..Status::default() }),
        dynamic_metadata: Some(metadata(judged)),
        http_response: Some(HttpResponse::OkResponse(passed)),
    }
}

fn denied_by(judged: &Judged) -> CheckResponse {
    let status = judged.deny_status();
    let code = if status == StatusCode::UNAUTHORIZED { UNAUTHENTICATED } else { PERMISSION_DENIED };
    let mut headers = plain();
    if status == StatusCode::UNAUTHORIZED {
        headers.push(header("www-authenticate", judged.challenge));
    }
    CheckResponse { dynamic_metadata: Some(metadata(judged)), ..denied(code, status, headers) }
}

/// Writes what is not a decision.
pub fn refuse(refusal: &Refusal) -> Response {
    let status = match refusal.status {
        StatusCode::BAD_REQUEST => StatusCode::BAD_REQUEST,
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::INTERNAL_SERVER_ERROR => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::FORBIDDEN,
    };
    // Zero would be an allow; no refusal has it, and none may.
    let code = if refusal.grpc == OK { PERMISSION_DENIED } else { refusal.grpc };
    let fields = [("decision", text("deny")), ("reason", text(refusal.code))];
    framed(&CheckResponse { dynamic_metadata: Some(structure(fields)), ..denied(code, status, plain()) })
}

/// The headers of every deny.
fn plain() -> Vec<HeaderValueOption> {
    vec![header("cache-control", "no-store"), header("content-type", "text/plain")]
}

fn denied(code: i32, status: StatusCode, headers: Vec<HeaderValueOption>) -> CheckResponse {
    let refused = DeniedHttpResponse {
        status: Some(HttpStatus { code: i32::from(status.as_u16()) }),
        headers,
        body: answer::body_of(status).to_owned(),
    };
    CheckResponse {
        status: Some(Status { code, ..Status::default() }),
        dynamic_metadata: None,
        http_response: Some(HttpResponse::DeniedResponse(refused)),
    }
}

/// Set, whatever the client sent under this name: so older Envoys read the absence of `append`, newer ones `append_action`.
fn header(name: &str, value: &str) -> HeaderValueOption {
    HeaderValueOption {
        header: Some(EnvoyHeader { key: name.to_owned(), value: value.to_owned(), raw_value: Vec::new() }),
        append_action: HeaderAppendAction::OverwriteIfExistsOrAdd.into(),
        ..HeaderValueOption::default()
    }
}

fn metadata(judged: &Judged) -> Struct {
    let decision = &judged.decision;
    let policies = decision.policies.iter().map(|policy| text(policy)).collect();
    let mut fields = vec![
        ("decision", text(answer::verdict_name(decision.verdict()))),
        ("decision_id", text(&judged.id)),
        ("reason", text(decision.reason.code())),
        ("policies", Value { kind: Some(Kind::ListValue(ListValue { values: policies })) }),
        ("revision", text(&decision.revision.to_string())),
        ("bundle", text(&decision.bundle)),
    ];
    fields.extend(decision.action.as_ref().map(|action| ("action", text(action))));
    fields.extend(judged.person.as_ref().map(|person| ("user", text(&person.username))));
    structure(fields)
}

fn structure(fields: impl IntoIterator<Item = (&'static str, Value)>) -> Struct {
    Struct { fields: fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect() }
}

fn text(text: &str) -> Value {
    Value { kind: Some(Kind::StringValue(text.to_owned())) }
}

/// An answer whose call went well; what was decided stands in the message.
fn framed(message: &CheckResponse) -> Response {
    let length = message.encoded_len();
    let mut bytes = BytesMut::with_capacity(5 + length);
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    // A growing buffer takes every message.
    let _always_fits = message.encode(&mut bytes);
    let mut trailers = HeaderMap::new();
    trailers.insert(HeaderName::from_static("grpc-status"), HeaderValue::from_static("0"));
    let mut response = Response::new(Body::with_trailers(Bytes::from(bytes), trailers));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}
