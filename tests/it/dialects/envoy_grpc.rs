//! Envoy's gRPC service, asked over HTTP/2 as Envoy does.

use cedargate::gate::envoy_grpc::PATH;
use envoy_types::pb::envoy::service::auth::v3::attribute_context::{HttpRequest, Request};
use envoy_types::pb::envoy::service::auth::v3::{AttributeContext, CheckRequest, CheckResponse};
use envoy_types::pb::google::protobuf::value::Kind;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;

use super::{Outcome, Posed, Seen, Session, TOKENS, Told, USER};

fn say(seen: &Seen<'_>) -> CheckRequest {
    let mut headers = vec![(":path".to_owned(), seen.path.to_owned())];
    headers.extend(seen.user.map(|user| (USER.to_owned(), user.to_owned())));
    headers.extend(seen.authorization.map(|shown| ("authorization".to_owned(), shown.to_owned())));
    let http = HttpRequest {
        method: seen.method.to_owned(),
        path: seen.path.to_owned(),
        host: seen.host.unwrap_or("localhost").to_owned(),
        headers: headers.into_iter().collect(),
        ..HttpRequest::default()
    };
    let request = Request { http: Some(http), ..Request::default() };
    CheckRequest { attributes: Some(AttributeContext { request: Some(request), ..AttributeContext::default() }) }
}

/// Flag, length, message (gRPC over HTTP/2).
fn framed(message: &CheckRequest) -> Bytes {
    let message = message.encode_to_vec();
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[0][..], &length[..], &message[..]].concat().into()
}

fn told(answer: &CheckResponse) -> Told {
    let permit = answer.status.as_ref().expect("a status").code == 0;
    let metadata = answer.dynamic_metadata.as_ref().expect("metadata");
    let text = |name: &str| match metadata.fields[name].kind.as_ref() {
        Some(Kind::StringValue(text)) => text.clone(),
        other => panic!("{name}: {other:?}"),
    };
    assert_eq!(text("decision") == "permit", permit, "status and metadata");
    Told { permit, reason: text("reason"), grounds: None }
}

async fn call(
    sender: &mut http2::SendRequest<Full<Bytes>>,
    address: &str,
    dashboard: bool,
    body: Bytes,
) -> CheckResponse {
    let request = hyper::Request::post(format!("http://{address}{PATH}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("cedargate-gate-token", TOKENS[usize::from(dashboard)])
        .body(Full::new(body))
        .unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(response.status(), 200);
    let body = response.into_body().collect().await.unwrap();
    let trailers = body.trailers().cloned().unwrap_or_default();
    assert_eq!(trailers.get("grpc-status").map(|status| status.as_bytes()), Some(&b"0"[..]));
    CheckResponse::decode(&body.to_bytes()[5..]).unwrap()
}

pub(super) fn one_by_one(session: &mut Session, questions: &[Posed]) -> Vec<Outcome> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(&session.address).await.unwrap();
        let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        let connection = tokio::spawn(connection);
        let mut outcomes = Vec::new();
        for posed in questions {
            outcomes.push(match posed.seen() {
                Ok(seen) => Ok(told(&call(&mut sender, &session.address, posed.dashboard, framed(&say(&seen))).await)),
                Err(why) => Err(why),
            });
        }
        drop(sender);
        connection.await.unwrap().unwrap();
        outcomes
    })
}
