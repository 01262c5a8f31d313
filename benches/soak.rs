//! Half load for many minutes, while identity providers change people at random and the policies are loaded anew: does
//! memory grow, does any answer contradict what was said last? See README.md.
//!
//! `--minutes N` (10), `--json`. The first fifth warms up; the slope is that of the straight line through all later
//! samples of resident memory.

#[allow(dead_code, reason = "shared with the other benchmarks")]
#[path = "support/churn.rs"]
mod churn;
#[allow(dead_code, reason = "shared with the other benchmarks")]
#[path = "support/client.rs"]
mod client;
#[allow(dead_code, reason = "shared with the other benchmarks")]
#[path = "support/http.rs"]
mod http;
#[path = "support/ledgers.rs"]
mod ledgers;
#[path = "support/multiplexed.rs"]
mod multiplexed;
#[allow(dead_code, reason = "shared with the other benchmarks")]
#[path = "support/process.rs"]
mod process;
#[path = "support/program.rs"]
mod program;
#[allow(dead_code, reason = "shared with the other benchmarks")]
#[path = "support/questions.rs"]
mod questions;
#[allow(dead_code, reason = "shared with the other benchmarks")]
#[path = "support/seed.rs"]
mod seed;
#[allow(dead_code, reason = "shared with the other benchmarks")]
#[path = "support/statistics.rs"]
mod statistics;
#[allow(dead_code, reason = "shared with the other benchmarks")]
#[path = "support/workload.rs"]
mod workload;

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;

use churn::{Changes, Churn};
use client::{Plan, Requests};
use process::Server;
use program::say;
use questions::Questions;
use statistics::{Stopwatch, quantile, rounded};
use workload::{Failure, World};

const PEOPLE: u64 = 10_000;
const CONNECTIONS: usize = 32;
const BODIES: usize = 20_000;
const WRITES_A_SECOND: f64 = 50.0;
/// How long one stretch of questions is; memory is looked at after each.
const STRETCH: Duration = Duration::from_secs(5);
/// Stretches between two reloads of the policies.
const RELOAD_EVERY: usize = 6;
/// The share of the time that warms up.
const WARMING: f64 = 0.2;

fn main() -> ExitCode {
    program::end(soak())
}

/// A look at the server: minutes since the start, MiB resident.
#[derive(Clone, Copy)]
struct Look {
    minutes: f64,
    resident_mb: f64,
}

/// What the questions came to.
#[derive(Default)]
struct Asked {
    looks: Vec<Look>,
    answers: usize,
    wrong: usize,
    reloads: usize,
    p50: Vec<f64>,
    p99: Vec<f64>,
}

fn soak() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let minutes: f64 = match arguments.iter().position(|argument| argument == "--minutes") {
        Some(at) => arguments.get(at + 1).ok_or("--minutes wants a number")?.parse()?,
        None => 10.0,
    };
    let folder = tempfile::tempdir()?;
    let world = World::new(PEOPLE)?;
    ledgers::copy(&world, folder.path())?;
    let mut server = Server::start(folder.path(), None)?;
    server.process.settle()?;
    let mut questions = Questions::new(&world, 1)?;
    let requests: Requests =
        (0..BODIES).map(|_| questions::http_request("/v1/authorize", &questions.by_frequency())).collect();
    let gate = server.address("gate")?;
    let once = Plan::closed(&requests, Duration::from_secs(90), CONNECTIONS).once(0);
    let mut verdicts = client::run(gate, once)?.verdicts;
    verdicts.sort_unstable();
    let expected: Arc<[bool]> = verdicts.iter().map(|(_, permit)| *permit).collect();
    let peak = client::run(gate, Plan::closed(&requests, Duration::from_secs(3), CONNECTIONS))?;
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    let peak = peak.answers as f64 / peak.time.as_secs_f64();
    say(&format!("peak {peak:.0}/s; {:.0}/s for {minutes} minutes", peak / 2.0));
    let mut churn = Churn::new(&server, 1)?;
    let stop = AtomicBool::new(false);
    let plan = Plan { expected, ..Plan::closed(&requests, STRETCH, CONNECTIONS).at_rate(peak / 2.0) };
    let (asked, changes) = std::thread::scope(|scope| {
        let writing = scope.spawn(|| churn.run(WRITES_A_SECOND, &stop));
        let asked = ask(&server, &plan, minutes);
        stop.store(true, Ordering::Relaxed);
        let changes = writing.join().map_err(|_| Failure::from("a writer failed"))??;
        Ok::<(Asked, Changes), Failure>((asked?, changes))
    })?;
    tell(minutes, peak, asked, changes, arguments.iter().any(|argument| argument == "--json"))
}

fn ask(server: &Server, plan: &Plan, minutes: f64) -> Result<Asked, Failure> {
    let started = Stopwatch::start();
    let mut asked = Asked::default();
    let mut stretches = 0;
    loop {
        let gone = started.elapsed().as_secs_f64() / 60.0;
        asked.looks.push(Look { minutes: gone, resident_mb: server.process.resident_mb()? });
        if gone >= minutes {
            return Ok(asked);
        }
        if stretches % RELOAD_EVERY == RELOAD_EVERY - 1 {
            churn::reload(server)?;
            asked.reloads += 1;
        }
        let mut load = client::run(server.address("gate")?, plan.clone())?;
        stretches += 1;
        asked.answers += load.answers;
        asked.wrong += load.wrong;
        asked.p50.push(quantile(&mut load.latencies, 0.5));
        asked.p99.push(quantile(&mut load.latencies, 0.99));
    }
}

fn tell(minutes: f64, peak: f64, mut asked: Asked, changes: Changes, as_json: bool) -> Result<(), Failure> {
    let warm: Vec<Look> = asked.looks.iter().filter(|look| look.minutes >= minutes * WARMING).copied().collect();
    let result = json!({
        "minutes": minutes, "peak_per_second": rounded(peak), "load": 0.5, "questions": asked.answers,
        "p50_us": rounded(quantile(&mut asked.p50, 0.5)), "p99_us": rounded(quantile(&mut asked.p99, 0.5)),
        "writes": changes.writes, "checked_writes": changes.checks, "reloads": asked.reloads,
        "contradictions": changes.contradictions + asked.wrong,
        "resident_mb": {"first": asked.looks.first().map(|look| rounded(look.resident_mb)),
            "warm": warm.first().map(|look| rounded(look.resident_mb)),
            "last": asked.looks.last().map(|look| rounded(look.resident_mb))},
        "memory_slope_mb_per_minute": rounded(slope(&warm)),
    });
    let out = &mut std::io::stdout();
    if as_json {
        writeln!(out, "{result}")?;
    } else {
        for (name, value) in result.as_object().into_iter().flatten() {
            writeln!(out, "{name:<28} {value}")?;
        }
    }
    if changes.contradictions + asked.wrong > 0 {
        return Err("answers contradict what was said last".into());
    }
    Ok(())
}

/// Of the straight line with the least squares.
fn slope(looks: &[Look]) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    let count = looks.len().max(1) as f64;
    let mean = |of: fn(&Look) -> f64| looks.iter().map(of).sum::<f64>() / count;
    let (time, memory) = (mean(|look| look.minutes), mean(|look| look.resident_mb));
    let along: f64 = looks.iter().map(|look| (look.minutes - time) * (look.resident_mb - memory)).sum();
    let across: f64 = looks.iter().map(|look| (look.minutes - time).powi(2)).sum();
    if across > 0.0 { along / across } else { 0.0 }
}
