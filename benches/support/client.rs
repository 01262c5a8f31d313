//! The load: keep-alive connections on one thread, closed or open loop.
//!
//! Closed: every connection sends its next question as soon as it has an answer; that shows throughput. Open: question
//! `n` is due at `n / rate`, whether the server keeps up or not, and its latency counts from that instant, so a stall
//! is felt by all questions that it delays. Waiting is spinning, since timers of a millisecond would drown microseconds.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::statistics::Stopwatch;
use crate::workload::Failure;

/// Requests ready to be sent, asked in turn.
pub type Requests = Arc<[Box<[u8]>]>;

/// Largest answer that is read: a batch of a hundred has tens of kilobytes.
const LARGEST_ANSWER: usize = 1024 * 1024;
/// How much longer than its window a run may take, before it is given up.
const OVERTIME: Duration = Duration::from_secs(20);

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
pub fn run(server: SocketAddr, plan: Plan) -> Result<Load, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let before = own_processor_time();
    let mut load = runtime.block_on(connect_and_ask(server, plan))?;
    load.busy = own_processor_time().saturating_sub(before).as_secs_f64() / load.time.as_secs_f64().max(1e-9);
    Ok(load)
}

async fn connect_and_ask(server: SocketAddr, plan: Plan) -> Result<Load, Failure> {
    let mut streams = Vec::new();
    for _ in 0..plan.connections {
        let stream = TcpStream::connect(server).await?;
        stream.set_nodelay(true)?;
        streams.push(stream);
    }
    let limit = plan.window.saturating_add(OVERTIME);
    let next = AtomicUsize::new(0);
    let shared = Arc::new(Shared { plan, next, started: Stopwatch::start() });
    let asking: Vec<_> = streams.into_iter().map(|stream| tokio::spawn(ask(stream, Arc::clone(&shared)))).collect();
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

/// Processor time of this thread until now; zero where the system does not tell.
fn own_processor_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(text.split(' ').next().and_then(|first| first.parse().ok()).unwrap_or(0))
}

/// One connection.
async fn ask(mut stream: TcpStream, shared: Arc<Shared>) -> Result<Load, Failure> {
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
        stream.write_all(request).await?;
        let answer = read(&mut stream, &mut buffer).await?;
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
async fn read(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Result<Answer, Failure> {
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
