//! The floor of ext_authz over gRPC: a bare tonic server (its own transport) that reads each `CheckRequest` and allows.
//! And the requests with which Envoy would ask.

use std::collections::HashMap;
use std::io::{Read, Write};

use envoy_types::pb::envoy::service::auth::v3::attribute_context::{HttpRequest, Request as Attributes};
use envoy_types::pb::envoy::service::auth::v3::authorization_server::{Authorization, AuthorizationServer};
use envoy_types::pb::envoy::service::auth::v3::check_response::HttpResponse;
use envoy_types::pb::envoy::service::auth::v3::{AttributeContext, CheckRequest, CheckResponse, OkHttpResponse};
use envoy_types::pb::google::rpc::Status;
use prost::Message;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

use crate::workload::Failure;

/// The method's path.
const PATH: &str = "/envoy.service.auth.v3.Authorization/Check";
/// The header that names the caller; the server is told to believe it.
pub const CALLER: &str = "x-user";

struct Allows;

#[tonic::async_trait]
impl Authorization for Allows {
    async fn check(
        &self,
        request: tonic::Request<CheckRequest>,
    ) -> Result<tonic::Response<CheckResponse>, tonic::Status> {
        // Read, so that the decoding cannot be left out.
        let known = request.into_inner().attributes.is_some();
        Ok(tonic::Response::new(CheckResponse {
            status: Some(Status { code: if known { 0 } else { 7 }, ..Status::default() }),
            http_response: Some(HttpResponse::OkResponse(OkHttpResponse::default())),
            dynamic_metadata: None,
        }))
    }
}

/// Serves on a free port, says its address on standard output, and ends with its standard input.
pub fn run() -> Result<(), Failure> {
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async move {
        let incoming = TcpIncoming::bind("127.0.0.1:0".parse()?)?.with_nodelay(Some(true));
        writeln!(std::io::stdout(), "{}", incoming.local_addr()?)?;
        Server::builder().serve_with_incoming(AuthorizationServer::new(Allows), incoming).await?;
        Ok(())
    })
}

/// A question of the workload as Envoy asks it: what the gateway was asked, with the headers that browsers send.
pub fn check(question: &str) -> Result<Box<[u8]>, Failure> {
    let question: serde_json::Value = serde_json::from_str(question)?;
    let text = |path: &str| question.pointer(path).and_then(serde_json::Value::as_str).unwrap_or("").to_owned();
    let headers: HashMap<String, String> = [
        (":authority", text("/request/host")),
        (":method", text("/request/method")),
        (":path", text("/request/path")),
        (":scheme", "https".to_owned()),
        ("accept", "application/json".to_owned()),
        ("user-agent", "Mozilla/5.0 (X11; Linux x86_64)".to_owned()),
        ("x-forwarded-proto", "https".to_owned()),
        ("x-request-id", "0190a000-0000-7000-8000-000000000001".to_owned()),
        (CALLER, text("/subject/user")),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    let http = HttpRequest {
        method: text("/request/method"),
        host: text("/request/host"),
        path: text("/request/path"),
        scheme: "https".to_owned(),
        protocol: "HTTP/1.1".to_owned(),
        headers,
        ..HttpRequest::default()
    };
    let attributes = AttributeContext {
        request: Some(Attributes { http: Some(http), ..Attributes::default() }),
        ..AttributeContext::default()
    };
    let message = CheckRequest { attributes: Some(attributes) }.encode_to_vec();
    let head = format!("POST {PATH} HTTP/1.1\r\nhost: gate\r\ncontent-type: application/grpc\r\nte: trailers\r\n\r\n");
    let length = u32::try_from(message.len())?.to_be_bytes();
    Ok([head.as_bytes(), &[0], &length, &message].concat().into())
}
