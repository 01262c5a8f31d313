//! The load: keep-alive connections on one thread, closed or open loop; over TCP, a Unix socket or multiplexed HTTP/2.
//!
//! Closed: every connection sends its next question as soon as it has an answer; that shows throughput. Open: question
//! `n` is due at `n / rate`, whether the server keeps up or not, and its latency counts from that instant, so a stall
//! is felt by all questions that it delays. Waiting is spinning: timers of a millisecond would drown microseconds, and a
//! client that sleeps has each answer wake it, on a virtual machine for the price of a whole request, which the server
//! pays, and a slow server more often than a quick one.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use crate::multiplexed;
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
    /// Questions a second in the open loop; `None` is the closed loop. HTTP/2 has the closed loop only.
    pub rate: Option<f64>,
    /// Whether a 503 is an answer, too: the server sheds load.
    pub sheds: bool,
    /// The status of an answer.
    pub status: u16,
    /// Waits by spinning, as above. Otherwise the client sleeps where nothing is there to be read.
    pub spins: bool,
    /// What the body of a permit holds, where no header of ours tells.
    pub permit_mark: Option<&'static str>,
    /// Whether each request must be permitted; answers that differ are counted. Empty: nothing is expected.
    pub expected: Arc<[bool]>,
}

impl Plan {
    /// The closed loop: these requests again and again.
    pub fn closed(requests: &Requests, window: Duration, connections: usize) -> Self {
        Self {
            requests: Arc::clone(requests),
            first: 0,
            again: true,
            window,
            connections,
            rate: None,
            sheds: false,
            status: 200,
            spins: true,
            permit_mark: None,
            expected: Arc::new([]),
        }
    }

    /// Each request at most once, from this one on.
    pub fn once(self, first: usize) -> Self {
        Self { first, again: false, ..self }
    }

    /// The open loop.
    pub fn at_rate(self, rate: f64) -> Self {
        Self { rate: Some(rate), ..self }
    }
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
    /// How many answers were other verdicts than expected.
    pub wrong: usize,
    /// How many requests the server refused with a 503; they are no answers.
    pub shed: usize,
    /// The verdict of each request that was asked, where the plan asks each once.
    pub verdicts: Vec<(usize, bool)>,
    /// Bytes of all answers with their heads.
    pub bytes: usize,
    /// Share of the time in which the client had something to do: near 1 in the closed loop, it was the limit.
    pub busy: f64,
}

/// What the connections of one run share.
pub struct Shared {
    pub plan: Plan,
    next: AtomicUsize,
    pub started: Stopwatch,
}

impl Shared {
    /// The next request and when it is due; `None` when there is nothing more to ask.
    pub fn turn(&self) -> Option<(usize, &[u8], Duration)> {
        let plan = &self.plan;
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let at = plan.first + turn;
        let at = if plan.again { at % plan.requests.len().max(1) } else { at };
        let request = plan.requests.get(at)?;
        let due = match plan.rate {
            #[expect(clippy::cast_precision_loss, reason = "turns are far below 2^52")]
            Some(rate) => Duration::from_secs_f64(turn as f64 / rate),
            None => self.started.elapsed(),
        };
        (due < plan.window).then_some((at, &**request, due))
    }
}

impl Load {
    /// Counts one answer to a request.
    pub fn count(&mut self, shared: &Shared, at: usize, due: Duration, answer: &Answer) {
        self.time = shared.started.elapsed();
        if answer.shed {
            self.shed += 1;
            return;
        }
        self.latencies.push(self.time.saturating_sub(due).as_secs_f64() * 1e6);
        self.answers += 1;
        self.permits += usize::from(answer.permit);
        self.wrong += usize::from(shared.plan.expected.get(at).is_some_and(|expected| *expected != answer.permit));
        self.bytes += answer.bytes;
        if !shared.plan.again {
            self.verdicts.push((at, answer.permit));
        }
    }
}

/// Runs a plan against a server. Fails at any answer of another status.
pub fn run(server: impl Into<Door>, plan: Plan) -> Result<Load, Failure> {
    let server = server.into();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(connect_and_ask(server, plan))
}

/// Never sleeps, but lets others have the processor; answers the time in which nothing was asked meanwhile. Ends with whoever
/// waits for the rest.
async fn spin(shared: Arc<Shared>, idle: Arc<AtomicU64>) {
    let (mut turn, mut since) = (0, shared.started.elapsed());
    loop {
        tokio::task::yield_now().await;
        std::thread::yield_now();
        let (now_turn, now) = (shared.next.load(Ordering::Relaxed), shared.started.elapsed());
        if now_turn == turn {
            let past = u64::try_from(now.saturating_sub(since).as_nanos()).unwrap_or(0);
            idle.fetch_add(past, Ordering::Relaxed);
        }
        (turn, since) = (now_turn, now);
    }
}

async fn connect_and_ask(server: Door, plan: Plan) -> Result<Load, Failure> {
    let limit = plan.window.saturating_add(OVERTIME);
    let mut streams: Vec<Box<dyn Wire>> = Vec::new();
    for _ in 0..plan.connections {
        streams.push(match &server {
            Door::Tcp(address) | Door::Multiplexed(address, _) => {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                Box::new(stream)
            }
            Door::Unix(path) => Box::new(UnixStream::connect(path).await?),
        });
    }
    let head = match &server {
        Door::Multiplexed(_, streams) => Some((multiplexed::Head::of(&plan)?, *streams)),
        Door::Tcp(_) | Door::Unix(_) => None,
    };
    let shared = Arc::new(Shared { plan, next: AtomicUsize::new(0), started: Stopwatch::start() });
    let idle = Arc::new(AtomicU64::new(0));
    let spinning = (shared.plan.spins).then(|| tokio::spawn(spin(Arc::clone(&shared), Arc::clone(&idle))));
    let asking: Vec<_> = (streams.into_iter())
        .map(|stream| {
            let (shared, head) = (Arc::clone(&shared), head.clone());
            tokio::spawn(async move {
                match head {
                    Some((head, streams)) => multiplexed::ask(stream, &head, streams, &shared).await,
                    None => ask(stream, &shared).await,
                }
            })
        })
        .collect();
    let mut load = Load::default();
    for one in asking {
        let one = tokio::time::timeout(limit, one).await.map_err(|_| "the server does not keep up")???;
        load.answers += one.answers;
        load.time = load.time.max(one.time);
        load.latencies.extend(one.latencies);
        load.permits += one.permits;
        load.wrong += one.wrong;
        load.shed += one.shed;
        load.bytes += one.bytes;
        load.verdicts.extend(one.verdicts);
    }
    if let Some(spinning) = spinning {
        spinning.abort();
    }
    let idle = Duration::from_nanos(idle.load(Ordering::Relaxed)).as_secs_f64();
    load.busy = (1.0 - idle / load.time.as_secs_f64().max(1e-9)).clamp(0.0, 1.0);
    Ok(load)
}

/// A connection's bytes, whatever carries them.
pub trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wire for T {}

/// One connection of HTTP/1.1.
async fn ask(mut stream: Box<dyn Wire>, shared: &Shared) -> Result<Load, Failure> {
    let mut load = Load::default();
    let mut buffer = Vec::with_capacity(16 * 1024);
    while let Some((at, request, due)) = shared.turn() {
        while shared.started.elapsed() < due {
            tokio::task::yield_now().await;
        }
        stream.write_all(request).await?;
        let answer = read(&mut *stream, &mut buffer, &shared.plan).await?;
        load.count(shared, at, due, &answer);
    }
    Ok(load)
}

/// What is looked at of an answer.
pub struct Answer {
    pub permit: bool,
    pub shed: bool,
    pub bytes: usize,
}

/// Reads one answer with its whole body.
async fn read(stream: &mut (impl Wire + ?Sized), buffer: &mut Vec<u8>, plan: &Plan) -> Result<Answer, Failure> {
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
    let shed = plan.sheds && text.starts_with("HTTP/1.1 503");
    let status = text.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse::<u16>().ok());
    if !shed && status != Some(plan.status) {
        let body = String::from_utf8_lossy(buffer.get(head..).unwrap_or(&[])).into_owned();
        let line = text.lines().next().unwrap_or("");
        return Err(format!("an answer other than {}: {line} {body}", plan.status).into());
    }
    let header = |name: &str| {
        let fields = text.lines().filter_map(|line| line.split_once(": "));
        fields.filter(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value).next()
    };
    let length: usize = header("content-length").ok_or("an answer without content-length")?.parse()?;
    let mut permit = header("cedargate-decision") == Some("permit");
    if length > LARGEST_ANSWER {
        return Err(format!("an answer of {length} bytes").into());
    }
    while buffer.len() < head + length {
        if stream.read_buf(buffer).await? == 0 {
            return Err("the server closed a connection".into());
        }
    }
    if let Some(mark) = plan.permit_mark {
        let body = buffer.get(head..).unwrap_or(&[]);
        permit = body.windows(mark.len()).any(|part| part == mark.as_bytes());
    }
    Ok(Answer { permit, shed, bytes: buffer.len() })
}
