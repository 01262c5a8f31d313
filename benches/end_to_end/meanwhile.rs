//! Questions while the world changes, and more questions than can be answered.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::churn::{self, Changes, Churn};
use crate::client::{self, Plan};
use crate::fleet::{Fleet, SMALL};
use crate::process::pause;
use crate::statistics::{median, quantile, rounded};
use crate::workload::Failure;
use crate::{CONNECTIONS, Settings};

const WRITES_A_SECOND: f64 = 300.0;
const RELOADS_EVERY: Duration = Duration::from_secs(1);
/// Connections of an overload: enough that the server always has a backlog.
const CROWD: usize = 1_024;
const ROUNDS: usize = 3;

struct Quiet {
    p50: f64,
    p99: f64,
    wrong: usize,
}

/// Questions at the fixed rate, their verdicts compared with those before.
fn ask(fleet: &Fleet, settings: &Settings, window: Duration) -> Result<Quiet, Failure> {
    let requests = fleet.asked.requests.get("warm").ok_or("no questions")?;
    let expected = fleet.asked.verdicts.get("warm").ok_or("no verdicts")?;
    let plan = Plan::closed(requests, window, CONNECTIONS).at_rate(settings.rate);
    let plan = Plan { expected: std::sync::Arc::clone(expected), ..plan };
    let mut load = client::run(fleet.running(SMALL)?.address, plan)?;
    let wrong = load.wrong;
    Ok(Quiet { p50: quantile(&mut load.latencies, 0.5), p99: quantile(&mut load.latencies, 0.99), wrong })
}

/// 300 SCIM writes a second, then a reload each second; each beside a quiet stretch. Any other answer than 200 ends
/// the benchmark.
pub fn changes(fleet: &Fleet, settings: &Settings) -> Result<Value, Failure> {
    let server = fleet.running(SMALL)?.server.as_ref().ok_or("no server")?;
    let window = settings.window * 3;
    let mut churn = Churn::new(server, 1)?;
    let (mut writes, mut reloads) = (Vec::new(), Vec::new());
    let (mut changed, mut reloaded, mut wrong) = (Changes::default(), 0, 0);
    for _ in 0..ROUNDS {
        let quiet = ask(fleet, settings, window)?;
        let stop = AtomicBool::new(false);
        let (busy, changes) = beside(|| ask(fleet, settings, window), || churn.run(WRITES_A_SECOND, &stop), &stop)?;
        changed.writes += changes.writes;
        changed.checks += changes.checks;
        changed.contradictions += changes.contradictions;
        changed.late += changes.late;
        let stop = AtomicBool::new(false);
        let again = || {
            let mut count = 0;
            while !stop.load(Ordering::Relaxed) {
                churn::reload(server)?;
                count += 1;
                pause(RELOADS_EVERY);
            }
            Ok(count)
        };
        let (renewed, count) = beside(|| ask(fleet, settings, window), again, &stop)?;
        reloaded += count;
        wrong += quiet.wrong + busy.wrong + renewed.wrong;
        writes.push((busy.p50 / quiet.p50, busy.p99, quiet.p99));
        reloads.push((renewed.p50 / quiet.p50, renewed.p99, quiet.p99));
    }
    let told = |rounds: &[(f64, f64, f64)]| {
        let column = |of: fn(&(f64, f64, f64)) -> f64| rounded(median(&rounds.iter().map(of).collect::<Vec<_>>()));
        json!({"p50_ratio": column(|r| r.0), "p99_us": column(|r| r.1), "quiet_p99_us": column(|r| r.2)})
    };
    Ok(json!({
        "questions_per_second": settings.rate,
        "scim_writes": told(&writes),
        "policy_reloads": told(&reloads),
        "writes": changed.writes, "writes_late": changed.late, "checked_writes": changed.checks,
        "reloads": reloaded, "contradictions": changed.contradictions + wrong, "errors": 0,
    }))
}

/// Both at once; the second is told to stop when the first ends.
fn beside<A, B: Send>(
    first: impl FnOnce() -> Result<A, Failure>,
    second: impl FnOnce() -> Result<B, Failure> + Send,
    stop: &AtomicBool,
) -> Result<(A, B), Failure> {
    std::thread::scope(|scope| {
        let second = scope.spawn(second);
        let first = first();
        stop.store(true, Ordering::Relaxed);
        let second = second.join().map_err(|_| "a thread failed")?;
        Ok((first?, second?))
    })
}

/// Answers a second at three times the peak's rate, against the peak.
pub fn overload(fleet: &Fleet, settings: &Settings) -> Result<Value, Failure> {
    let address = fleet.running(SMALL)?.address;
    let requests = fleet.asked.requests.get("warm").ok_or("no questions")?;
    let (mut ratios, mut shed, mut p99) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let window = settings.window * 2;
        let peak = client::run(address, Plan::closed(requests, window, CONNECTIONS))?;
        let peak = crate::ratio(peak.answers, 1) / peak.time.as_secs_f64();
        let plan = Plan::closed(requests, window, CROWD).at_rate(peak * 3.0);
        let mut load = client::run(address, Plan { sheds: true, ..plan })?;
        ratios.push(crate::ratio(load.answers, 1) / load.time.as_secs_f64() / peak);
        shed.push(crate::ratio(load.shed, load.shed + load.answers));
        p99.push(quantile(&mut load.latencies, 0.99));
    }
    Ok(json!({
        "goodput": rounded(median(&ratios)), "shed_share": rounded(median(&shed)), "load": 3,
        "connections": CROWD, "p99_from_due_us": rounded(median(&p99)),
    }))
}
