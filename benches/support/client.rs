//! The load: keep-alive connections on one thread, closed or open loop; over TCP, a Unix socket or multiplexed HTTP/2.
//!
//! Closed: every connection sends its next question as soon as it has an answer; that shows throughput. Open: question
//! `n` is due at `n / rate`, whether the server keeps up or not, and its latency counts from that instant, so a stall
//! is felt by all questions that it delays. Waiting is spinning, since timers of a millisecond would drown microseconds.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use crate::statistics::Stopwatch;
use crate::workload::Failure;

/// Requests ready to be sent, asked in turn.
pub type Requests = Arc<[Box<[u8]>]>;

/// Largest answer that is read: a batch of a hundred has tens of kilobytes.
const LARGEST_ANSWER: usize = 1024 * 1024;
/// How much longer than its window a run may take, before it is given up.
const OVERTIME: Duration = Duration::from_secs(20);

/// Where a server listens, and how it is spoken to.
#[derive(Clone, Debug)]
pub enum Door {
    /// HTTP/1.1 over TCP.
    Tcp(SocketAddr),
    /// HTTP/1.1 over a Unix socket.
    Unix(PathBuf),
    /// HTTP/2 over TCP, so many streams on each connection.
    Multiplexed(SocketAddr, usize),
}

impl From<SocketAddr> for Door {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

/// How to ask.
#[derive(Clone)]
pub struct Plan {
    pub requests: Requests,
    /// The first request; the next ones follow.
    pub first: usize,
    /// Start again after the last request; otherwise end.
    pub again: bool,
    /// For how long; without an end where requests end first.
    pub window: Duration,
    pub connections: usize,
    /// Questions a second in the open loop; `None` is the closed loop.
    pub rate: Option<f64>,
}

/// What came of it.
#[derive(Default)]
pub struct Load {
    pub answers: usize,
    /// Until the last answer.
    pub time: Duration,
    /// In microseconds, one for each answer.
    pub latencies: Vec<f64>,
    /// How many answers permit.
    pub permits: usize,
    /// Bytes of all answers with their heads.
    pub bytes: usize,
    /// Share of the time for which the client itself computed: near 1 in the closed loop, it was the limit.
    pub busy: f64,
}

struct Shared {
    plan: Plan,
    next: AtomicUsize,
    started: Stopwatch,
}

/// Runs a plan against a server. Fails at any answer but 200.
pub fn run(server: impl Into<Door>, plan: Plan) -> Result<Load, Failure> {
    let server = server.into();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let before = own_processor_time();
    let mut load = runtime.block_on(connect_and_ask(server, plan))?;
    load.busy = own_processor_time().saturating_sub(before).as_secs_f64() / load.time.as_secs_f64().max(1e-9);
    Ok(load)
}

async fn connect_and_ask(server: Door, plan: Plan) -> Result<Load, Failure> {
    let limit = plan.window.saturating_add(OVERTIME);
    let connections = plan.connections;
    let mut askers = Vec::new();
    for _ in 0..connections {
        match &server {
            Door::Tcp(address) => {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                askers.push(Asker::Plain(Box::new(stream)));
            }
            Door::Unix(path) => askers.push(Asker::Plain(Box::new(UnixStream::connect(path).await?))),
            Door::Multiplexed(address, streams) => {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
                tokio::spawn(async move { drop(connection.await) });
                askers.extend((0..*streams).map(|_| Asker::Multiplexed(sender.clone())));
            }
        }
    }
    let shared = Arc::new(Shared { plan, next: AtomicUsize::new(0), started: Stopwatch::start() });
    let asking: Vec<_> = askers.into_iter().map(|asker| tokio::spawn(ask(asker, Arc::clone(&shared)))).collect();
    let mut load = Load::default();
    for one in asking {
        let one = tokio::time::timeout(limit, one).await.map_err(|_| "the server does not keep up")???;
        load.answers += one.answers;
        load.time = load.time.max(one.time);
        load.latencies.extend(one.latencies);
        load.permits += one.permits;
        load.bytes += one.bytes;
    }
    Ok(load)
}

/// A connection's bytes, whatever carries them.
trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wire for T {}

/// Whoever asks one question at a time.
enum Asker {
    Plain(Box<dyn Wire>),
    Multiplexed(SendRequest<Full<Bytes>>),
}

impl Asker {
    async fn exchange(&mut self, request: &[u8], buffer: &mut Vec<u8>) -> Result<Answer, Failure> {
        match self {
            Self::Plain(stream) => {
                stream.write_all(request).await?;
                read(&mut **stream, buffer).await
            }
            Self::Multiplexed(sender) => {
                let answer = sender.send_request(over_http2(request)?).await?;
                let permit = answer.headers().get("cedargate-decision").is_some_and(|verdict| verdict == "permit");
                if answer.status() != hyper::StatusCode::OK {
                    return Err(format!("an answer other than 200: {}", answer.status()).into());
                }
                Ok(Answer { permit, bytes: answer.into_body().collect().await?.to_bytes().len() })
            }
        }
    }
}

/// The same question as a request of HTTP/2.
fn over_http2(request: &[u8]) -> Result<hyper::Request<Full<Bytes>>, Failure> {
    let end = request.windows(4).position(|four| four == b"\r\n\r\n").ok_or("a request without a head")?;
    let head = std::str::from_utf8(request.get(..end).unwrap_or(&[]))?;
    let path = head.split(' ').nth(1).ok_or("a request without a path")?;
    let body = Bytes::copy_from_slice(request.get(end + 4..).unwrap_or(&[]));
    let request = hyper::Request::post(format!("http://gate{path}")).header("content-type", "application/json");
    Ok(request.body(Full::new(body))?)
}

/// Processor time of this thread until now; zero where the system does not tell.
fn own_processor_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(text.split(' ').next().and_then(|first| first.parse().ok()).unwrap_or(0))
}

/// One connection.
async fn ask(mut asker: Asker, shared: Arc<Shared>) -> Result<Load, Failure> {
    let Shared { plan, next, started } = &*shared;
    let mut load = Load::default();
    let mut buffer = Vec::with_capacity(16 * 1024);
    loop {
        let turn = next.fetch_add(1, Ordering::Relaxed);
        let at = plan.first + turn;
        let at = if plan.again { at % plan.requests.len().max(1) } else { at };
        let Some(request) = plan.requests.get(at) else { return Ok(load) };
        let due = match plan.rate {
            #[expect(clippy::cast_precision_loss, reason = "turns are far below 2^52")]
            Some(rate) => Duration::from_secs_f64(turn as f64 / rate),
            None => started.elapsed(),
        };
        if due >= plan.window {
            return Ok(load);
        }
        while started.elapsed() < due {
            tokio::task::yield_now().await;
        }
        let answer = asker.exchange(request, &mut buffer).await?;
        load.time = started.elapsed();
        load.latencies.push(load.time.saturating_sub(due).as_secs_f64() * 1e6);
        load.answers += 1;
        load.permits += usize::from(answer.permit);
        load.bytes += answer.bytes;
    }
}

struct Answer {
    permit: bool,
    bytes: usize,
}

/// Reads one answer with its whole body.
async fn read(stream: &mut (impl Wire + ?Sized), buffer: &mut Vec<u8>) -> Result<Answer, Failure> {
    buffer.clear();
    let head = loop {
        if stream.read_buf(buffer).await? == 0 {
            return Err("the server closed a connection".into());
        }
        if let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
    };
    let text = std::str::from_utf8(buffer.get(..head).unwrap_or(&[]))?;
    if !text.starts_with("HTTP/1.1 200") {
        let body = String::from_utf8_lossy(buffer.get(head..).unwrap_or(&[])).into_owned();
        return Err(format!("an answer other than 200: {} {body}", text.lines().next().unwrap_or("")).into());
    }
    let header = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    let length: usize = header("content-length").ok_or("an answer without content-length")?.parse()?;
    let permit = header("cedargate-decision") == Some("permit");
    if length > LARGEST_ANSWER {
        return Err(format!("an answer of {length} bytes").into());
    }
    while buffer.len() < head + length {
        if stream.read_buf(buffer).await? == 0 {
            return Err("the server closed a connection".into());
        }
    }
    Ok(Answer { permit, bytes: buffer.len() })
}
