//! The floor of the gateway benchmark: a service that says 200, and an ext_authz server that always allows.
//!
//! The second reads each `CheckRequest` and writes a `CheckResponse` as any gRPC server must, and decides nothing.

use std::convert::Infallible;
use std::io::{Read, Write};

use bytes::Bytes;
use envoy_types::pb::envoy::service::auth::v3::check_response::HttpResponse;
use envoy_types::pb::envoy::service::auth::v3::{CheckRequest, CheckResponse, OkHttpResponse};
use envoy_types::pb::google::rpc::Status;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use prost::Message;
use tokio::net::TcpListener;

use crate::workload::Failure;

const LARGEST_BODY: usize = 64 * 1024;

/// The service: 200 to everything.
pub fn service() -> Result<(), Failure> {
    serve(|_| None)
}

/// The server that always allows.
pub fn allows() -> Result<(), Failure> {
    serve(|body| {
        let message = body.get(5..).and_then(|message| CheckRequest::decode(message).ok());
        // Read, so that the decoding cannot be left out.
        let known = message.is_some_and(|check| check.attributes.is_some());
        let response = CheckResponse {
            status: Some(Status { code: if known { 0 } else { 7 }, ..Status::default() }),
            http_response: Some(HttpResponse::OkResponse(OkHttpResponse::default())),
            dynamic_metadata: None,
        };
        let message = response.encode_to_vec();
        let length = u32::try_from(message.len()).unwrap_or(0).to_be_bytes();
        Some([&[0], &length[..], &message].concat().into())
    })
}

/// Serves on a free port, says its address on standard output, and ends with its standard input.
fn serve(answer: fn(&[u8]) -> Option<Bytes>) -> Result<(), Failure> {
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async move {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        writeln!(std::io::stdout(), "{}", listener.local_addr()?)?;
        let builder = std::sync::Arc::new(auto::Builder::new(TokioExecutor::new()));
        loop {
            let (stream, _) = listener.accept().await?;
            let _ = stream.set_nodelay(true);
            let builder = std::sync::Arc::clone(&builder);
            tokio::spawn(async move {
                let service = service_fn(move |request| respond(request, answer));
                let _ = builder.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    })
}

async fn respond(
    request: Request<Incoming>,
    answer: fn(&[u8]) -> Option<Bytes>,
) -> Result<Response<BoxBody<Bytes, Infallible>>, Infallible> {
    let body = Limited::new(request.into_body(), LARGEST_BODY).collect().await;
    let body = body.map(|body| body.to_bytes()).unwrap_or_default();
    let Some(bytes) = answer(&body) else { return Ok(Response::new(Full::new("ok".into()).boxed())) };
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", hyper::header::HeaderValue::from_static("0"));
    let framed = Full::new(bytes).with_trailers(std::future::ready(Some(Ok(trailers))));
    let mut response = Response::new(framed.boxed());
    let kind = hyper::header::HeaderValue::from_static("application/grpc");
    response.headers_mut().insert(hyper::header::CONTENT_TYPE, kind);
    Ok(response)
}
