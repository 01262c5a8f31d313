//! The floor: a bare hyper server that does the same I/O as the gate and decides nothing.
//!
//! The same stack as the gate's listener (tokio's default runtime, hyper-util's auto builder, no delay, the same
//! allocator), the body read whole and parsed as a question, one fixed answer. On request it checks the signature of
//! the question's token, each time: the floor of a token that was never seen before.

use std::borrow::Cow;
use std::convert::Infallible;
use std::io::{Read, Write};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, body::Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;
use serde::de::IgnoredAny;
use tokio::net::TcpListener;

use crate::workload::Failure;

/// As the gate's limit for one question is of this order.
const LARGEST_BODY: usize = 64 * 1024;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Question<'a> {
    #[serde(borrow)]
    subject: Subject<'a>,
    #[serde(borrow)]
    request: Asked<'a>,
    #[serde(borrow)]
    channel: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Subject<'a> {
    #[serde(borrow)]
    user: Option<Cow<'a, str>>,
    #[serde(borrow)]
    authorization: Option<Cow<'a, str>>,
}

/// What a token's signature is checked with.
#[derive(Clone)]
pub struct Signatures {
    key: DecodingKey,
    validation: Validation,
}

impl Signatures {
    /// The first key of a key set's file.
    pub fn read(file: &str) -> Result<Self, Failure> {
        let keys: JwkSet = serde_json::from_str(&std::fs::read_to_string(file)?)?;
        let key = DecodingKey::from_jwk(keys.keys.first().ok_or("no key")?)?;
        let mut validation = Validation::new(Algorithm::RS256);
        validation.set_audience(&[crate::tokens::AUDIENCE]);
        validation.set_issuer(&[crate::tokens::ISSUER]);
        Ok(Self { key, validation })
    }

    fn hold(&self, header: &str) -> bool {
        let token = header.trim_start_matches("Bearer ");
        jsonwebtoken::decode::<IgnoredAny>(token, &self.key, &self.validation).is_ok()
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked<'a> {
    #[serde(borrow)]
    method: Cow<'a, str>,
    #[serde(borrow)]
    host: Cow<'a, str>,
    #[serde(borrow)]
    path: Cow<'a, str>,
}

/// Serves on a free port, says its address on standard output, and ends with its standard input.
pub fn run(answer_bytes: usize, signatures: Option<Signatures>) -> Result<(), Failure> {
    let answer = Bytes::from(format!("{{\"decision\":\"{}\"}}", "x".repeat(answer_bytes.saturating_sub(15))));
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
            let (builder, answer) = (std::sync::Arc::clone(&builder), answer.clone());
            let signatures = signatures.clone().map(std::sync::Arc::new);
            tokio::spawn(async move {
                let service = service_fn(move |request| respond(request, answer.clone(), signatures.clone()));
                let _ = builder.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    })
}

async fn respond(
    request: Request<Incoming>,
    answer: Bytes,
    signatures: Option<std::sync::Arc<Signatures>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let body = Limited::new(request.into_body(), LARGEST_BODY).collect().await;
    let understood = body.ok().is_some_and(|body| {
        let body = body.to_bytes();
        serde_json::from_slice::<Question<'_>>(&body).is_ok_and(|question| {
            // Read, so that no field can be left out of the parsing.
            let Question { subject, request, channel } = &question;
            let used = [&request.method, &request.host, &request.path];
            let known = match (&subject.user, &subject.authorization, &signatures) {
                (_, Some(header), Some(signatures)) => signatures.hold(header),
                (Some(text), _, _) | (None, Some(text), _) => !text.is_empty(),
                (None, None, _) => false,
            };
            known
                && used.iter().all(|text| !text.is_empty())
                && channel.as_ref().is_none_or(|channel| !channel.is_empty())
        })
    });
    let mut response = Response::new(Full::new(answer));
    if !understood {
        *response.status_mut() = StatusCode::BAD_REQUEST;
    }
    let json = hyper::header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(hyper::header::CONTENT_TYPE, json);
    Ok(response)
}
