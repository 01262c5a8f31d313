//! The dialects as pure functions: which decisions pass, which answers deny, what is read and what is refused.

use std::sync::Arc;

use envoy_types::pb::envoy::config::core::v3::Metadata;
use envoy_types::pb::envoy::service::auth::v3::attribute_context::{self, HttpRequest, Peer};
use envoy_types::pb::envoy::service::auth::v3::check_response::HttpResponse;
use envoy_types::pb::envoy::service::auth::v3::{AttributeContext, CheckRequest, CheckResponse};
use envoy_types::pb::google::protobuf::value::Kind;
use envoy_types::pb::google::protobuf::{Struct, Value};
use prost::Message;

use super::credentials::CallerSource;
use super::*;
use crate::authz::{PersonName, Schemes};
use crate::domain::{Reason, Revision, Subject};
use crate::http::header::{HeaderMap, HeaderName, HeaderValue};

fn judged(reason: Reason) -> Judged {
    let decision = Decision {
        at: crate::domain::Timestamp(0),
        until: None,
        reason,
        message: "a sentence that is nobody's outside".into(),
        policies: Arc::new(["p1".into()]),
        action: Some("listOrders".into()),
        resource: None,
        revision: Revision { epoch: 1, number: 7 },
        bundle: "b3".into(),
    };
    let person = PersonName { username: "jdoe".into(), id: "00000000-0000-7000-8000-000000000000".into() };
    let person = Some(Arc::new(person));
    let challenge = "Bearer";
    Judged { decision, id: uuid::Uuid::nil().into(), person, challenge }
}

#[test]
fn a_401_names_each_scheme_that_is_accepted() {
    let by_header = Manner { caller: vec![CallerSource::Principal], ..Manner::default() };
    let challenge = |manner: &Manner, bearer, basic| answer::challenge(manner, Schemes { bearer, basic });
    let plain = Manner::default();
    assert_eq!(challenge(&plain, true, true), "Bearer, Basic realm=\"api\", charset=\"UTF-8\"");
    assert_eq!(challenge(&plain, false, true), "Basic realm=\"api\", charset=\"UTF-8\"");
    assert_eq!((challenge(&plain, true, false), challenge(&plain, false, false)), ("Bearer", "Bearer"));
    assert_eq!(challenge(&by_header, false, true), "Bearer", "nobody's password is looked at");
    let judged = Judged { challenge: challenge(&plain, true, true), ..judged(Reason::Unauthenticated) };
    let config = GateConfig::default();
    for response in [forward_auth::write(&judged), auth_request::write(&judged), envoy_http::write(&judged, &config)] {
        assert_eq!(response.status(), 401);
        assert_eq!(response.headers()["www-authenticate"], judged.challenge);
    }
}

fn refusals() -> Vec<Refusal> {
    vec![
        Refusal::unavailable("not-fresh", "x"),
        Refusal::unavailable("overloaded", "x"),
        Refusal::internal("x"),
        Refusal::unauthenticated("x"),
        Refusal::bad_request("x"),
        Refusal::not_found("x"),
        Refusal::method_not_allowed("x"),
        Refusal::too_large("x"),
        Refusal::timeout("x"),
        Refusal::forbidden("x"),
        HeaderFault::Missing("x").into(),
    ]
}

/// The message of a gRPC answer; its frame and trailers are checked through Envoy itself.
async fn message(response: Response) -> CheckResponse {
    use http_body_util::BodyExt as _;
    assert_eq!(
        (response.status().as_u16(), &response.headers()["content-type"]),
        (200, &"application/grpc".parse().unwrap())
    );
    let body = response.into_body().collect().await.unwrap();
    assert_eq!(body.trailers().unwrap()["grpc-status"], "0");
    let bytes = body.to_bytes();
    assert_eq!(u32::from_be_bytes(bytes[1..5].try_into().unwrap()) as usize, bytes.len() - 5);
    CheckResponse::decode(&bytes[5..]).unwrap()
}

#[tokio::test]
async fn a_permit_passes_in_every_dialect_and_nothing_else_does() {
    let config = GateConfig::default();
    for reason in Reason::ALL {
        let judged = judged(reason);
        let permit = reason.permits();
        let forward = forward_auth::write(&judged);
        assert_eq!(forward.status().is_success(), permit, "{reason:?}");
        let nginx = auth_request::write(&judged);
        assert_eq!(nginx.status() == 200, permit, "{reason:?}");
        assert!([200, 401, 403].contains(&nginx.status().as_u16()), "{reason:?}");
        let envoy = envoy_http::write(&judged, &config);
        assert_eq!(envoy.status() == 200, permit, "{reason:?}");
        assert!(envoy.status().as_u16() < 500 && (permit || !envoy.status().is_success()), "{reason:?}");
        for response in [&forward, &nginx, &envoy] {
            assert_eq!(response.headers()["cache-control"], "no-store");
            assert_eq!(response.headers()["cedargate-decision"], if permit { "permit" } else { "deny" });
            assert_eq!(response.headers()["cedargate-reason"], reason.code());
            assert_eq!(response.headers().contains_key("cedargate-user"), permit);
            let body = response.body().whole().unwrap();
            assert!(!String::from_utf8_lossy(body).contains("sentence"), "{body:?}");
        }
        let grpc = message(envoy_grpc::write(&judged, &HeaderMap::new(), &config)).await;
        assert_eq!(grpc.status.unwrap().code == 0, permit, "{reason:?}");
        assert_eq!(matches!(grpc.http_response, Some(HttpResponse::OkResponse(_))), permit, "{reason:?}");
        assert!(grpc.dynamic_metadata.unwrap().fields.contains_key("decision_id"));
    }
}

#[tokio::test]
async fn no_refusal_passes_in_any_dialect() {
    for refusal in refusals() {
        assert!(!forward_auth::refuse(&refusal).status().is_success(), "{refusal:?}");
        assert_eq!(auth_request::refuse(&refusal).status(), 403, "{refusal:?}");
        let envoy = envoy_http::refuse(&refusal).status();
        assert!(envoy.is_client_error(), "5xx would be Envoy's own error: {refusal:?}");
        assert_ne!(envoy, 401, "a gateway that is not admitted is not the client's affair");
        let grpc = message(envoy_grpc::refuse(&refusal)).await;
        assert_ne!(grpc.status.unwrap().code, 0, "{refusal:?}");
        assert!(matches!(grpc.http_response, Some(HttpResponse::DeniedResponse(_))), "{refusal:?}");
    }
    assert_eq!(forward_auth::refuse(&Refusal::unavailable("not-fresh", "x")).status(), 503);
    assert_eq!(forward_auth::refuse(&Refusal::unauthenticated("x")).status(), 403);
}

#[tokio::test]
async fn what_a_client_sent_under_our_names_is_overwritten_or_removed() {
    let config = GateConfig { strip_headers: vec![HeaderName::from_static("x-user")], ..GateConfig::default() };
    let mut anonymous = judged(Reason::Public);
    anonymous.person = None;
    let mut sent = HeaderMap::new();
    for name in ["cedargate-user", "cedargate_user", "cedargate.x", "cedargate-reason", "x-other"] {
        sent.insert(HeaderName::from_static(name), HeaderValue::from_static("root"));
    }
    let answer = message(envoy_grpc::write(&anonymous, &sent, &config)).await;
    let Some(HttpResponse::OkResponse(passed)) = answer.http_response else { panic!("denied") };
    let set: Vec<String> = passed.headers.iter().map(|header| header.header.clone().unwrap().key).collect();
    assert_eq!(set, ["cedargate-decision", "cedargate-decision-id", "cedargate-reason"]);
    for name in ["cedargate-user", "cedargate_user", "cedargate.x", "x-user", "x-http-method-override"] {
        assert!(passed.headers_to_remove.iter().any(|removed| removed == name), "{name}");
    }
    assert!(!passed.headers_to_remove.iter().any(|removed| removed == "cedargate-reason" || removed == "x-other"));

    let response = envoy_http::write(&anonymous, &config);
    let removed: Vec<&str> =
        response.headers()["x-envoy-auth-headers-to-remove"].to_str().unwrap().split(',').collect();
    for name in ["cedargate-user", "cedargate-user-id", "cedargate-gate-token", "x-user", "x-original-url"] {
        assert!(removed.contains(&name), "{name}");
    }
    assert!(!removed.contains(&"cedargate-reason"));
}

fn request(headers: &[(&'static str, &'static str)]) -> Request {
    let mut request = Request::new(Method::GET, "/forward-auth?channel=dashboard");
    for (name, value) in headers {
        request.headers.append(*name, HeaderValue::from_static(value));
    }
    request
}

#[test]
fn forward_auth_wants_each_header_once() {
    let good = [("x-forwarded-method", "GET"), ("x-forwarded-uri", "/a?b"), ("x-forwarded-host", "h:1")];
    let manner = Manner::default();
    let whole = request(&good);
    let read = forward_auth::read(&whole, &manner).unwrap();
    assert_eq!((read.method, read.path, read.host), ("GET", "/a?b", Some("h:1")));
    for index in 0..good.len() {
        let mut fewer = good.to_vec();
        let (name, value) = fewer.remove(index);
        assert!(forward_auth::read(&request(&fewer), &manner).is_err(), "without {name}");
        assert!(
            forward_auth::read(&request(&[&good[..], &[(name, value)]].concat()), &manner).is_err(),
            "{name} twice"
        );
        let empty = [&fewer[..], &[(name, "")]].concat();
        assert!(forward_auth::read(&request(&empty), &manner).is_err(), "{name} empty");
    }
    for twin in ["x_forwarded_uri", "x-forwarded_method", "x.forwarded.host", "cedargate_user", "authorization_"] {
        let with = [&good[..], &[(twin, "x")]].concat();
        assert_eq!(forward_auth::read(&request(&with), &manner).is_err(), twin != "authorization_", "{twin}");
    }
}

#[test]
fn auth_request_takes_a_path_or_an_address_that_agree() {
    let read = |headers: &[(&'static str, &'static str)]| {
        let whole = request(&[&[("x-original-method", "GET")], headers].concat());
        let read = auth_request::read(&whole, &Manner::default());
        read.map(|original| (original.host.map(str::to_owned), original.path.to_owned()))
    };
    let at = |host: Option<&str>, path: &str| Ok((host.map(str::to_owned), path.to_owned()));
    let url = ("x-original-url", "https://h.example/a%20b?c");
    assert_eq!(read(&[("x-original-uri", "/a")]), at(None, "/a"));
    assert_eq!(read(&[("x-original-uri", "/a"), ("x-original-host", "h")]), at(Some("h"), "/a"));
    assert_eq!(read(&[url]), at(Some("h.example"), "/a%20b?c"));
    assert_eq!(read(&[url, ("x-original-uri", "/a%20b?c")]), at(Some("h.example"), "/a%20b?c"));
    assert_eq!(read(&[url, ("x-original-host", "H.example")]), at(Some("h.example"), "/a%20b?c"));
    for conflict in [
        &[url, ("x-original-uri", "/a b?c")][..],
        &[url, ("x-original-host", "other")],
        &[("x-original-url", "h.example/a")],
        &[("x-original-url", "https://h.example")],
        &[("x-original-url", "https://u@h.example/a")],
        &[("x-original-url", "ftp://h.example/a")],
        &[url, url],
        &[],
    ] {
        assert!(read(conflict).is_err(), "{conflict:?}");
    }
}

fn check(principal: &str, jwt: &[(&str, Struct)]) -> envoy_grpc::Check {
    envoy_grpc::Check::decode(check_request(principal, jwt).encode_to_vec().as_slice()).unwrap()
}

fn check_request(principal: &str, jwt: &[(&str, Struct)]) -> CheckRequest {
    let http = HttpRequest { method: "GET".into(), path: "/a".into(), host: "h".into(), ..HttpRequest::default() };
    let wrap = |payload: &Struct| Value { kind: Some(Kind::StructValue(payload.clone())) };
    let fields = jwt.iter().map(|(name, payload)| ((*name).to_owned(), wrap(payload))).collect();
    let metadata = [("envoy.filters.http.jwt_authn".to_owned(), Struct { fields })].into_iter().collect();
    let attributes = AttributeContext {
        source: Some(Peer { principal: principal.into(), ..Peer::default() }),
        request: Some(attribute_context::Request { http: Some(http), ..attribute_context::Request::default() }),
        metadata_context: Some(Metadata { filter_metadata: metadata, ..Metadata::default() }),
        ..AttributeContext::default()
    };
    CheckRequest { attributes: Some(attributes) }
}

fn payload(fields: &[(&str, Kind)]) -> Struct {
    let field = |(name, kind): &(&str, Kind)| ((*name).to_owned(), Value { kind: Some(kind.clone()) });
    Struct { fields: fields.iter().map(field).collect() }
}

#[test]
fn envoys_word_for_a_caller_counts_where_the_credential_says_so() {
    let token = payload(&[("iss", Kind::StringValue("i".into())), ("exp", Kind::NumberValue(1_800_000_000.0))]);
    let by = |caller: &[CallerSource], check: &envoy_grpc::Check| {
        let manner = Manner { caller: caller.to_vec(), ..Manner::default() };
        let (headers, claims) = (envoy_grpc::headers(check).unwrap(), envoy_grpc::claims(check, &manner));
        match envoy_grpc::read(check, &headers, claims.as_deref(), &manner).unwrap().caller {
            Subject::Principal(name) => format!("principal {name}"),
            Subject::Claims(claims) => {
                let claims: serde_json::Value = serde_json::from_str(claims).unwrap();
                format!("claims {} {}", claims["iss"], claims["exp"])
            }
            Subject::Authorization("") => "nobody".to_owned(),
            Subject::Authorization(_) | Subject::User(_) | Subject::Id(_) | Subject::Entity(_) => "another".to_owned(),
        }
    };
    let both = check("spiffe://x/y", &[("payload", token.clone())]);
    assert_eq!(by(&[CallerSource::Authorization], &both), "nobody");
    assert_eq!(by(&[CallerSource::Principal, CallerSource::JwtMetadata], &both), "principal spiffe://x/y");
    assert_eq!(by(&[CallerSource::JwtMetadata, CallerSource::Principal], &both), "claims \"i\" 1800000000");
    assert_eq!(by(&[CallerSource::Principal], &check("", &[])), "nobody");
    let two = check("", &[("one", token.clone()), ("two", token)]);
    assert_eq!(by(&[CallerSource::JwtMetadata], &two), "nobody", "two verified tokens are two callers");
}

#[test]
fn only_a_whole_uncompressed_message_is_read() {
    let framed = |flag: u8, length: usize, message: &[u8], kind: &'static str| {
        let mut request = Request::new(Method::POST, envoy_grpc::PATH);
        request.headers.insert("content-type", HeaderValue::from_static(kind));
        let length = u32::try_from(length).unwrap().to_be_bytes();
        request.body = [&[flag], &length[..], message].concat().into();
        envoy_grpc::parse(&request)
    };
    let message = check_request("p", &[]).encode_to_vec();
    let grpc = "application/grpc";
    assert_eq!(framed(0, message.len(), &message, grpc).unwrap(), check("p", &[]));
    assert!(framed(0, message.len(), &message, "application/grpc+proto").is_ok());
    assert!(framed(0, message.len(), &message, "application/json").is_err());
    assert!(framed(1, message.len(), &message, grpc).is_err());
    assert!(framed(0, message.len() + 1, &message, grpc).is_err());
    assert!(framed(0, 3, &message, grpc).is_err());
    assert!(framed(0, 3, &[0xff, 0xff, 0xff], grpc).is_err());
    assert!(envoy_grpc::parse(&Request::new(Method::POST, "/")).is_err());
    // An empty message is one, and says nothing that could be permitted.
    let empty = framed(0, 0, &[], grpc).unwrap();
    assert!(envoy_grpc::read(&empty, &HeaderMap::new(), None, &Manner::default()).is_err());
}
