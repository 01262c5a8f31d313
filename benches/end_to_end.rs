//! `/v1/authorize` over real sockets, as ratios to a bare hyper server in the same run (see README.md).
//!
//! Starts the built server on 1,000 and on 100,000 people and a bare server beside it, then asks them in turn, round by
//! round. Every ratio is the median of the rounds' ratios, since absolute figures of a shared machine drift.
//! `--json` prints one JSON object on stdout, `--quick` is short and proves little.

#[path = "support/bare.rs"]
mod bare;
#[path = "support/client.rs"]
mod client;
#[path = "support/process.rs"]
mod process;
#[path = "support/questions.rs"]
mod questions;
#[path = "support/seed.rs"]
mod seed;
#[path = "support/statistics.rs"]
mod statistics;
#[path = "support/workload.rs"]
mod workload;

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use client::{Door, Load, Plan, Requests};
use process::{Process, Server};
use questions::Questions;
use statistics::{Stopwatch, median, quantile, rounded, table};
use workload::{Failure, World};

/// How many people the servers know.
const SIZES: [u64; 2] = [1_000, 100_000];
const CONNECTIONS: usize = 32;
/// Connections of HTTP/2, and streams on each.
const MULTIPLEXED: usize = 8;
const STREAMS: usize = 32;
/// Different bodies that are asked again and again.
const WARM: usize = 20_000;
/// Bodies that are asked once.
const FRESH: usize = 100_000;
const BATCH: usize = 100;
/// Where the servers and the client run, if there are two cores.
const SERVER_CORE: usize = 0;
const CLIENT_CORE: usize = 1;
/// The hidden mode in which this program is the bare server.
const BARE: &str = "--bare-server";
const PATH: &str = "/v1/authorize";
const BATCH_PATH: &str = "/v1/authorize/batch";

struct Settings {
    json: bool,
    rounds: usize,
    window: Duration,
    /// Questions a second in the open loop.
    rate: f64,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.split_first() {
        Some((first, rest)) if first == BARE => {
            let bytes = rest.first().and_then(|bytes| bytes.parse().ok()).unwrap_or(0);
            bare::run(bytes)
        }
        Some(_) | None => settings(&arguments).and_then(|settings| measure_all(&settings)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            say(&format!("the benchmark failed: {failure}"));
            ExitCode::FAILURE
        }
    }
}

fn settings(arguments: &[String]) -> Result<Settings, Failure> {
    let mut settings = Settings { json: false, rounds: 9, window: Duration::from_millis(1_000), rate: 5_000.0 };
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--json" => settings.json = true,
            "--quick" => (settings.rounds, settings.window) = (3, Duration::from_millis(300)),
            "--rate" => settings.rate = arguments.next().ok_or("--rate wants questions a second")?.parse()?,
            // `cargo bench` adds it.
            "--bench" => {}
            other => return Err(format!("unknown argument {other}; there are --json, --quick and --rate N").into()),
        }
    }
    Ok(settings)
}

/// Talk goes to stderr, so that stdout is the result alone.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// A server that is measured, with what it is asked.
struct Target {
    name: String,
    address: SocketAddr,
    /// The Unix socket beside the address, if there is one.
    socket: Option<PathBuf>,
    process: Process,
    warm: Requests,
    fresh: Requests,
    batches: Requests,
    /// Of the warm questions.
    permit_share: f64,
    /// Of a whole answer, in the mean.
    answer_bytes: usize,
    samples: Vec<Sample>,
}

/// One round of one server. Times in microseconds.
#[derive(Clone, Copy, Default)]
struct Sample {
    /// Answers a second, and processor time of the server for each, in the closed loop.
    throughput: f64,
    processor: f64,
    /// In the open loop.
    p50: f64,
    p99: f64,
    /// How busy the client was in the closed loop.
    busy: f64,
    /// Answers a second over the Unix socket, and over multiplexed HTTP/2, in the closed loop.
    unix_throughput: f64,
    http2_throughput: f64,
    /// The same for questions never asked before.
    fresh_throughput: f64,
    fresh_processor: f64,
    /// For each decision of a batch.
    batch_throughput: f64,
    batch_processor: f64,
}

fn measure_all(settings: &Settings) -> Result<(), Failure> {
    let total = Stopwatch::start();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let core = (cores > 1 && keep_to_core(CLIENT_CORE)).then_some(SERVER_CORE);
    let folders = SIZES.map(|_| tempfile::tempdir());
    let mut targets = Vec::new();
    for (users, folder) in SIZES.into_iter().zip(folders.iter()) {
        let folder = folder.as_ref().map_err(ToString::to_string)?.path();
        targets.push(start(users, folder, core)?);
    }
    let bytes = targets.first().map_or(0, |target| target.answer_bytes);
    targets.insert(0, start_bare(bytes, &targets, core)?);
    say(&format!("measuring {} rounds", settings.rounds));
    for round in 0..settings.rounds {
        for turn in 0..targets.len() {
            let at = (round + turn) % targets.len();
            if let Some(target) = targets.get_mut(at) {
                let sample = measure(target, settings, round)?;
                target.samples.push(sample);
            }
        }
    }
    let result = evaluate(&targets, settings, core.is_some())?;
    if settings.json {
        writeln!(std::io::stdout(), "{result}")?;
    } else {
        writeln!(std::io::stdout(), "{}", show(&targets))?;
    }
    say(&format!("{:.0} s in all", total.elapsed().as_secs_f64()));
    Ok(())
}

/// Seeds a world, starts the server on it, and asks every warm question once.
fn start(users: u64, folder: &std::path::Path, core: Option<usize>) -> Result<Target, Failure> {
    let world = World::new(users)?;
    let seeding = Stopwatch::start();
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(seed::seed(&world, folder))?;
    say(&format!("{users} people seeded in {:.1} s", seeding.elapsed().as_secs_f64()));
    let server = Server::start(folder, core)?;
    let gate = server.address("gate")?;
    let Server { mut process, ready_after, .. } = server;
    let mut questions = Questions::new(&world, users)?;
    let endpoints = questions.endpoints();
    say(&format!(
        "server with {users} people and {endpoints} endpoints ready after {:.2} s",
        ready_after.as_secs_f64()
    ));
    let bodies: Vec<String> = (0..WARM).map(|_| questions.by_frequency()).collect();
    let batches = bodies.chunks(BATCH).map(|part| questions::http_request(BATCH_PATH, &questions::batch(part)));
    let batches = batches.collect();
    let warm: Requests = bodies.iter().map(|body| questions::http_request(PATH, body)).collect();
    let fresh = (0..FRESH).map(|_| questions::http_request(PATH, &questions.by_anybody())).collect();
    process.settle()?;
    let requests = std::sync::Arc::clone(&warm);
    let window = Duration::from_secs(60);
    let Load { answers, permits, bytes, .. } =
        client::run(gate, Plan { requests, first: 0, again: false, window, connections: CONNECTIONS, rate: None })?;
    if answers < WARM {
        return Err("the server is too slow to be warmed up in a minute".into());
    }
    let permit_share = ratio(permits, answers);
    // Nearly all permits or nearly all denies would be another workload than the one described.
    if !(0.4..0.95).contains(&permit_share) {
        return Err(format!("{permit_share:.2} of the questions are permitted; the workload is wrong").into());
    }
    let answer_bytes = bytes / answers.max(1);
    let (name, samples) = (format!("cedargate, {users} people"), Vec::new());
    let socket = Some(folder.join("gate.sock"));
    Ok(Target { name, address: gate, socket, process, warm, fresh, batches, permit_share, answer_bytes, samples })
}

/// Starts this program again as the bare server, whose answers have the same size.
fn start_bare(bytes: usize, others: &[Target], core: Option<usize>) -> Result<Target, Failure> {
    let other = others.first().ok_or("no server to compare with")?;
    let start = |body: usize| -> Result<(Process, SocketAddr, usize), Failure> {
        let program = std::env::current_exe()?;
        let mut process = Process::start(&program, &[BARE, &body.to_string()], core, Stdio::piped())?;
        let mut line = String::new();
        BufReader::new(process.output().ok_or("no output")?).read_line(&mut line)?;
        let address: SocketAddr = line.trim().parse()?;
        let requests = std::sync::Arc::clone(&other.warm);
        let window = Duration::from_secs(60);
        let plan = Plan { requests, first: 0, again: false, window, connections: CONNECTIONS, rate: None };
        let load = client::run(address, plan)?;
        Ok((process, address, load.bytes / load.answers.max(1)))
    };
    // Once to learn how long the head is.
    let (_, _, first) = start(bytes)?;
    let (process, address, answer_bytes) = start((2 * bytes).saturating_sub(first))?;
    let none: Requests = std::sync::Arc::new([]);
    Ok(Target {
        name: "bare hyper server".to_owned(),
        address,
        socket: None,
        process,
        warm: std::sync::Arc::clone(&other.warm),
        fresh: std::sync::Arc::clone(&none),
        batches: none,
        permit_share: 0.0,
        answer_bytes,
        samples: Vec::new(),
    })
}

/// One round of one server.
fn measure(target: &Target, settings: &Settings, round: usize) -> Result<Sample, Failure> {
    let plan = |requests: &Requests, share: u32| Plan {
        requests: std::sync::Arc::clone(requests),
        first: 0,
        again: true,
        window: settings.window / share,
        connections: CONNECTIONS,
        rate: None,
    };
    // What the round before left in the processor's caches is another server's.
    client::run(target.address, plan(&target.warm, 10))?;
    let (throughput, processor, busy) = closed(target, target.address.into(), plan(&target.warm, 1))?;
    let open = Plan { rate: Some(settings.rate), ..plan(&target.warm, 1) };
    let mut latencies = client::run(target.address, open)?.latencies;
    let (p50, p99) = (quantile(&mut latencies, 0.5), quantile(&mut latencies, 0.99));
    let mut sample = Sample { throughput, processor, p50, p99, busy, ..Sample::default() };
    if let Some(socket) = &target.socket {
        (sample.unix_throughput, ..) = closed(target, Door::Unix(socket.clone()), plan(&target.warm, 2))?;
    }
    let multiplexed = Door::Multiplexed(target.address, STREAMS);
    let few = Plan { connections: MULTIPLEXED, ..plan(&target.warm, 2) };
    (sample.http2_throughput, ..) = closed(target, multiplexed, few)?;
    if !target.fresh.is_empty() {
        let part = target.fresh.len() / settings.rounds.max(1);
        let once = Plan { first: part * round, again: false, ..plan(&target.fresh, 2) };
        // No round may reach into the next one's questions.
        let end = (part * (round + 1)).min(target.fresh.len());
        let requests: Requests = target.fresh.get(..end).unwrap_or(&[]).into();
        (sample.fresh_throughput, sample.fresh_processor, _) =
            closed(target, target.address.into(), Plan { requests, ..once })?;
    }
    if !target.batches.is_empty() {
        let (throughput, processor, _) = closed(target, target.address.into(), plan(&target.batches, 2))?;
        let each = f64::from(u32::try_from(BATCH)?);
        (sample.batch_throughput, sample.batch_processor) = (throughput * each, processor / each);
    }
    Ok(sample)
}

/// Answers a second, microseconds of the server's processor for each, and how busy the client was.
fn closed(target: &Target, door: Door, plan: Plan) -> Result<(f64, f64, f64), Failure> {
    let before = target.process.processor_time()?;
    let Load { answers, time, busy, .. } = client::run(door, plan)?;
    let spent = target.process.processor_time()?.saturating_sub(before);
    let answers = f64::from(u32::try_from(answers)?).max(1.0);
    Ok((answers / time.as_secs_f64(), spent.as_secs_f64() * 1e6 / answers, busy))
}

/// Keeps all threads of this process on one core, those of children started later as well. False where it cannot.
fn keep_to_core(core: usize) -> bool {
    let own = std::process::id().to_string();
    let command = Command::new("taskset").args(["-a", "-cp", &core.to_string(), &own]).stdout(Stdio::null()).status();
    command.is_ok_and(|status| status.success())
}

fn ratio(part: usize, whole: usize) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "counts of questions are small")]
    let ratio = part as f64 / whole.max(1) as f64;
    ratio
}

/// The median of the rounds' ratios.
fn against(one: &Target, of: fn(&Sample) -> f64, other: &Target, to: fn(&Sample) -> f64) -> f64 {
    let ratios: Vec<f64> = one.samples.iter().zip(&other.samples).map(|(a, b)| of(a) / to(b).max(1e-9)).collect();
    median(&ratios)
}

fn middle(target: &Target, of: fn(&Sample) -> f64) -> f64 {
    median(&target.samples.iter().map(of).collect::<Vec<_>>())
}

fn evaluate(targets: &[Target], settings: &Settings, pinned: bool) -> Result<Value, Failure> {
    let [bare, small, large] = targets else { return Err("three servers are compared".into()) };
    let ratios = json!({
        "cached_throughput": rounded(against(small, |s| s.throughput, bare, |s| s.throughput)),
        "cached_cpu": rounded(against(small, |s| s.processor, bare, |s| s.processor)),
        "cached_p50": rounded(against(small, |s| s.p50, bare, |s| s.p50)),
        "cached_p99": rounded(against(small, |s| s.p99, bare, |s| s.p99)),
        "cached_throughput_100000": rounded(against(large, |s| s.throughput, bare, |s| s.throughput)),
        "cached_cpu_100000": rounded(against(large, |s| s.processor, bare, |s| s.processor)),
        "cached_p50_100000": rounded(against(large, |s| s.p50, bare, |s| s.p50)),
        "cached_p99_100000": rounded(against(large, |s| s.p99, bare, |s| s.p99)),
        "unix_throughput": rounded(against(small, |s| s.unix_throughput, bare, |s| s.throughput)),
        "h2_throughput": rounded(against(small, |s| s.http2_throughput, bare, |s| s.throughput)),
        "users_100000": rounded(against(large, |s| s.processor, small, |s| s.processor)),
        "miss_built_cpu": rounded(against(small, |s| s.fresh_processor, bare, |s| s.processor)),
        "batch_100": rounded(against(small, |s| s.batch_throughput, small, |s| s.throughput)),
    });
    let servers = targets.iter().map(describe).collect::<Result<Vec<Value>, Failure>>()?;
    Ok(json!({"ratios": ratios, "detail": {
        "rounds": settings.rounds, "window_s": settings.window.as_secs_f64(), "open_rate": settings.rate,
        "connections": CONNECTIONS, "one_core_each": pinned, "optimised": !cfg!(debug_assertions), "servers": servers,
    }}))
}

fn describe(target: &Target) -> Result<Value, Failure> {
    Ok(json!({
        "name": target.name,
        "resident_mb": rounded(f64::from(u32::try_from(process::kibibytes(target.process.id(), "VmRSS")?)?) / 1024.0),
        "requests_per_second": rounded(middle(target, |s| s.throughput)),
        "cpu_us": rounded(middle(target, |s| s.processor)),
        "p50_us": rounded(middle(target, |s| s.p50)),
        "p99_us": rounded(middle(target, |s| s.p99)),
        "client_busy": rounded(middle(target, |s| s.busy)),
        "unix_per_second": rounded(middle(target, |s| s.unix_throughput)),
        "http2_per_second": rounded(middle(target, |s| s.http2_throughput)),
        "miss_per_second": rounded(middle(target, |s| s.fresh_throughput)),
        "miss_cpu_us": rounded(middle(target, |s| s.fresh_processor)),
        "batch_decisions_per_second": rounded(middle(target, |s| s.batch_throughput)),
        "batch_cpu_us": rounded(middle(target, |s| s.batch_processor)),
        "permit_share": rounded(target.permit_share),
        "answer_bytes": target.answer_bytes,
    }))
}

fn show(targets: &[Target]) -> String {
    let head = ["", "requests/s", "ratio", "cpu µs", "ratio", "p50 µs", "ratio", "p99 µs", "ratio", "client busy"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    let more = ["", "miss cpu µs", "ratio", "batch decisions/s", "to single calls", "cpu µs each", "permits", "bytes"];
    let mut further = vec![more.map(str::to_owned).to_vec()];
    let Some(bare) = targets.first() else { return String::new() };
    for target in targets {
        let mut row = vec![target.name.clone()];
        let columns: [fn(&Sample) -> f64; 4] = [|s| s.throughput, |s| s.processor, |s| s.p50, |s| s.p99];
        for column in columns {
            row.push(rounded(middle(target, column)).to_string());
            row.push(format!("{:.2}", against(target, column, bare, column)));
        }
        row.push(format!("{:.2}", middle(target, |s| s.busy)));
        rows.push(row);
        if !target.fresh.is_empty() {
            further.push(vec![
                target.name.clone(),
                rounded(middle(target, |s| s.fresh_processor)).to_string(),
                format!("{:.2}", against(target, |s| s.fresh_processor, bare, |s| s.processor)),
                rounded(middle(target, |s| s.batch_throughput)).to_string(),
                format!("{:.1}", against(target, |s| s.batch_throughput, target, |s| s.throughput)),
                rounded(middle(target, |s| s.batch_processor)).to_string(),
                format!("{:.2}", target.permit_share),
                target.answer_bytes.to_string(),
            ]);
        }
    }
    format!("{}\n{}", table(&rows), table(&further))
}
