//! The decision path without a socket: the library's rooms put together as `app` does it, on a seeded ledger.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use cedargate::authz::{Authz, AuthzConfig};
use cedargate::clock::Sources;
use cedargate::directory::Directory;
use cedargate::domain::{Asked, Channel, Question, Subject};
use cedargate::gate::Gate;
use cedargate::gate::credentials::GateConfig;
use cedargate::http::plain::Plain;
use cedargate::http::{Handling, Method, Reply, Request, RouteTable};
use cedargate::policy::{Bundle, Live, Source};
use cedargate::telemetry::Metrics;
use cedargate::token::{TokenConfig, Verifier};
use serde_json::Value;

use crate::seed;
use crate::statistics::{Stopwatch, median};
use crate::workload::Failure;

/// Rounds of which the median counts.
const ROUNDS: usize = 15;

/// The rooms.
pub struct Inside {
    pub bundle: Arc<Bundle>,
    pub directory: Arc<Directory>,
    pub authz: Arc<Authz>,
    pub verifier: Arc<Verifier>,
    pub gate: RouteTable,
    runtime: tokio::runtime::Runtime,
}

impl Inside {
    /// On a folder with a ledger, these policies and these issuers.
    pub fn open(data: &Path, policies: &Path, tokens: &TokenConfig) -> Result<Self, Failure> {
        let sources = Sources::system();
        let told =
            |faults: Vec<cedargate::policy::Diagnostic>| faults.iter().map(ToString::to_string).collect::<String>();
        let bundle = Arc::new(Bundle::load(&Source::Folder(policies.to_owned())).map_err(told)?);
        let store = seed::open(data)?;
        let directory = Arc::new(Directory::load(&store)?);
        let verifier = Verifier::new(tokens, sources.clock.now()).map_err(|faults| format!("{faults:?}"))?;
        let verifier = Arc::new(verifier);
        let live = Arc::new(Live::new(Arc::clone(&bundle)));
        let config = AuthzConfig { self_check_every: 0, ..AuthzConfig::default() };
        let metrics = Arc::new(Metrics::new(&[]));
        let authz = Authz::new(&config, Arc::clone(&directory), live, Arc::clone(&verifier), &sources, metrics);
        let authz = Arc::new(authz);
        let gate = Arc::new(Gate::new(Arc::clone(&authz), GateConfig::default())).routes().build()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Self { bundle, directory, authz, verifier, gate, runtime })
    }

    /// A request as the listener hands it over.
    pub fn request(path: &str, body: &Bytes) -> Request {
        let mut request = Request::new(Method::POST, path);
        request.body = body.clone();
        request
    }

    /// Has the gate answer a request: body read, decided, answer written. Whether it was a 200.
    pub fn answer(&self, request: Request) -> bool {
        let Ok(found) = self.gate.find(&request.method, &request.path) else { return false };
        let response = match found.handling {
            Handling::Now(handler) => handler(request),
            Handling::Here(handler) => match handler(request) {
                Reply::Now(response) => response,
                Reply::Later(answer) => self.runtime.block_on(answer),
            },
            Handling::Later(handler) => self.runtime.block_on(handler(request)),
            Handling::Stream(_) => return false,
        };
        response.status() == cedargate::http::StatusCode::OK
    }

    /// Answers questions as on a connection that says the same head each time: from their bodies to the bytes of whole
    /// answers.
    pub fn alike(&self) -> Result<impl FnMut(&Bytes), Failure> {
        let request = Request::new(Method::POST, "/v1/authorize");
        let head = self.gate.alike(&request.method, &request.path).ok_or("nothing answers by the body alone")?;
        let handler = head(&request).ok_or("nothing answers by the body alone")?;
        let mut text = Vec::new();
        Ok(move |body: &Bytes| {
            text.clear();
            let answered = handler(body, &mut Plain::new(&mut text, b"Sun, 22 Nov 2026 12:00:00 GMT"));
            assert!(answered, "a question of the workload is answered");
            std::hint::black_box(&text);
        })
    }

    /// Whether the question is permitted.
    pub fn permits(&self, asked: &OwnQuestion) -> bool {
        self.authz.decide(&asked.question()).is_ok_and(|decision| decision.reason.permits())
    }
}

/// A question of the workload, read.
pub struct OwnQuestion {
    pub subject: String,
    pub is_token: bool,
    pub method: String,
    pub host: String,
    pub path: String,
    pub context: Vec<(String, cedargate::domain::ContextValue)>,
}

impl OwnQuestion {
    /// From a body of `/v1/authorize`.
    pub fn read(body: &str) -> Result<Self, Failure> {
        let body: Value = serde_json::from_str(body)?;
        let text = |path: &str| body.pointer(path).and_then(Value::as_str).map(str::to_owned);
        let nonce =
            text("/context/nonce").map(|nonce| ("nonce".to_owned(), cedargate::domain::ContextValue::Text(nonce)));
        let token = text("/subject/authorization");
        Ok(Self {
            is_token: token.is_some(),
            subject: token.or_else(|| text("/subject/user")).ok_or("no subject")?,
            method: text("/request/method").ok_or("no method")?,
            host: text("/request/host").ok_or("no host")?,
            path: text("/request/path").ok_or("no path")?,
            context: nonce.into_iter().collect(),
        })
    }

    /// As the decisions take it.
    pub fn question(&self) -> Question<'_> {
        Question {
            subject: if self.is_token { Subject::Authorization(&self.subject) } else { Subject::User(&self.subject) },
            asked: Asked::Request { method: &self.method, host: Some(&self.host), path: &self.path },
            channel: Channel::Api,
            context: &self.context,
            least_revision: None,
        }
    }
}

/// Nanoseconds for one of these: the median of some rounds through all of them.
pub fn nanoseconds<T>(of: &[T], mut act: impl FnMut(&T)) -> f64 {
    of.iter().for_each(&mut act);
    once_each(of, ROUNDS, act)
}

/// As [`nanoseconds`], each only once: the rounds are parts.
pub fn nanoseconds_once<T>(of: &[T], act: impl FnMut(&T)) -> f64 {
    let mut act = act;
    let parts: Vec<f64> =
        of.chunks(of.len().div_ceil(ROUNDS).max(1)).map(|part| once_each(part, 1, &mut act)).collect();
    median(&parts)
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
fn once_each<T>(of: &[T], rounds: usize, mut act: impl FnMut(&T)) -> f64 {
    let times: Vec<f64> = (0..rounds)
        .map(|_| {
            let watch = Stopwatch::start();
            of.iter().for_each(&mut act);
            watch.elapsed().as_secs_f64() * 1e9 / of.len().max(1) as f64
        })
        .collect();
    median(&times)
}

/// Allocations of this thread for one of these, in the mean.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
pub fn allocations<T>(of: &[T], mut act: impl FnMut(&T)) -> f64 {
    of.iter().for_each(&mut act);
    let counted = allocation_counter::measure(|| of.iter().for_each(&mut act));
    counted.count_total as f64 / of.len().max(1) as f64
}
