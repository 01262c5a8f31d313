//! The floors of the gateway benchmark: a service that says 200, and gRPC servers that decide nothing.
//!
//! The servers are tonic's own, over the generated messages: each `CheckRequest` is read and a `CheckResponse` written.
//! One says nothing but yes, the other says as much as Cedargate does, so that Envoy has as much to do with it.

use std::convert::Infallible;
use std::io::{Read, Write};
use std::sync::Arc;

use envoy_types::pb::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use envoy_types::pb::envoy::config::core::v3::{HeaderValue, HeaderValueOption};
use envoy_types::pb::envoy::service::auth::v3::authorization_server::{Authorization, AuthorizationServer};
use envoy_types::pb::envoy::service::auth::v3::check_response::HttpResponse;
use envoy_types::pb::envoy::service::auth::v3::{CheckRequest, CheckResponse, OkHttpResponse};
use envoy_types::pb::google::protobuf::value::Kind;
use envoy_types::pb::google::protobuf::{ListValue, Struct, Value};
use envoy_types::pb::google::rpc::Status;
use http_body_util::Full;
use hyper::service::service_fn;
use hyper::{Request, Response, body::Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::TcpListener;
use tonic::transport::server::TcpIncoming;

use crate::workload::Failure;

/// The service: 200 to everything.
pub fn service() -> Result<(), Failure> {
    listening(|listener| async move {
        let builder = Arc::new(auto::Builder::new(TokioExecutor::new()));
        loop {
            let (stream, _) = listener.accept().await?;
            let _ = stream.set_nodelay(true);
            let builder = Arc::clone(&builder);
            tokio::spawn(async move {
                let service = service_fn(|_: Request<Incoming>| async {
                    Ok::<_, Infallible>(Response::new(Full::new(bytes::Bytes::from("ok"))))
                });
                let _ = builder.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    })
}

/// The server that says yes.
pub fn allows() -> Result<(), Failure> {
    grpc(Always(CheckResponse {
        status: Some(Status::default()),
        http_response: Some(HttpResponse::OkResponse(OkHttpResponse::default())),
        dynamic_metadata: None,
    }))
}

/// The server that says yes in as many words as Cedargate does for a permitted request of a person.
pub fn same_messages() -> Result<(), Failure> {
    let id = "01890000-0000-7000-8000-000000000000";
    let header = |(name, value): (&str, &str)| HeaderValueOption {
        header: Some(HeaderValue { key: name.into(), value: value.into(), raw_value: Vec::new() }),
        append_action: HeaderAppendAction::OverwriteIfExistsOrAdd.into(),
        ..HeaderValueOption::default()
    };
    let set = [
        ("cedargate-decision", "permit"),
        ("cedargate-decision-id", id),
        ("cedargate-reason", "granted"),
        ("cedargate-user", "user000001"),
        ("cedargate-user-id", id),
    ];
    let remove = ["x-http-method-override", "x-http-method", "x-method-override", "x-original-url", "x-rewrite-url"];
    let text = |text: &str| Value { kind: Some(Kind::StringValue(text.into())) };
    let policies = Value { kind: Some(Kind::ListValue(ListValue { values: vec![text("orders.read")] })) };
    let told = [("decision", "permit"), ("decision_id", id), ("reason", "granted"), ("revision", "1-1000")];
    let more = [("bundle", id), ("action", "listOrders"), ("user", "user000001")];
    let fields = told.into_iter().chain(more).map(|(name, value)| (name.to_owned(), text(value)));
    let fields = fields.chain([("policies".to_owned(), policies)]).collect();
    grpc(Always(CheckResponse {
        status: Some(Status::default()),
        http_response: Some(HttpResponse::OkResponse(OkHttpResponse {
            headers: set.map(header).into(),
            headers_to_remove: remove.map(str::to_owned).into(),
            ..OkHttpResponse::default()
        })),
        dynamic_metadata: Some(Struct { fields }),
    }))
}

/// Gives this answer to every message that can be read.
struct Always(CheckResponse);

#[tonic::async_trait]
impl Authorization for Always {
    async fn check(
        &self,
        request: tonic::Request<CheckRequest>,
    ) -> Result<tonic::Response<CheckResponse>, tonic::Status> {
        // Read, so that the decoding cannot be left out.
        match request.get_ref().attributes {
            Some(_) => Ok(tonic::Response::new(self.0.clone())),
            None => Err(tonic::Status::invalid_argument("no attributes")),
        }
    }
}

fn grpc(always: Always) -> Result<(), Failure> {
    listening(|listener| async move {
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        let server = AuthorizationServer::new(always);
        Ok(tonic::transport::Server::builder().serve_with_incoming(server, incoming).await?)
    })
}

/// Serves on a free port, says its address on standard output, and ends with its standard input.
fn listening<F>(serve: impl FnOnce(TcpListener) -> F) -> Result<(), Failure>
where
    F: Future<Output = Result<(), Failure>>,
{
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async move {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        writeln!(std::io::stdout(), "{}", listener.local_addr()?)?;
        serve(listener).await
    })
}
