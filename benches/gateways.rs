//! Through Envoy: alone, with bare tonic servers that always allow, and with Cedargate, side by side in one run.
//!
//! See README.md. `--json` prints one JSON object on stdout, `--quick` takes fewer and shorter rounds.

#[allow(dead_code, reason = "shared with the other benchmarks")]
#[path = "support/client.rs"]
mod client;
#[allow(dead_code, reason = "shared with the other benchmarks")]
#[path = "support/multiplexed.rs"]
mod multiplexed;
#[path = "support/plain.rs"]
mod plain;
#[allow(dead_code, reason = "shared with the other benchmarks")]
#[path = "support/process.rs"]
mod process;
#[path = "support/program.rs"]
mod program;
#[allow(dead_code, reason = "shared with the other benchmarks")]
#[path = "support/seed.rs"]
mod seed;
#[allow(dead_code, reason = "shared with the other benchmarks")]
#[path = "support/statistics.rs"]
mod statistics;
#[allow(dead_code, reason = "shared with the other benchmarks")]
#[path = "support/workload.rs"]
mod workload;

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use client::{Plan, Requests};
use process::{Process, exchange, pause};
use serde_json::json;
use statistics::{Stopwatch, median, quantile, rounded, table};
use workload::{Failure, World};

/// The hidden modes in which this program is the service, or a server that always allows.
const SERVICE: &str = "--service";
const ALLOWS: &str = "--allows";
const SAME_MESSAGES: &str = "--same-messages";
const PEOPLE: u64 = 1_000;
const CONNECTIONS: usize = 32;
/// Requests a second in the open loop: far below what Envoy alone does.
const RATE: f64 = 1_000.0;
/// How long a started program may take to answer.
const START: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.first().map(String::as_str) {
        Some(SERVICE) => plain::service(),
        Some(ALLOWS) => plain::allows(),
        Some(SAME_MESSAGES) => plain::same_messages(),
        Some(_) | None => measure(&arguments),
    };
    program::end(outcome)
}

/// Figures of one way through, one of each round.
#[derive(Default)]
struct Way {
    name: &'static str,
    throughput: Vec<f64>,
    p50: Vec<f64>,
    p99: Vec<f64>,
}

fn measure(arguments: &[String]) -> Result<(), Failure> {
    let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
    let (rounds, window) = if has("--quick") { (1, Duration::from_millis(500)) } else { (5, Duration::from_secs(3)) };
    let folder = tempfile::tempdir()?;
    let world = World::new(PEOPLE)?;
    tokio::runtime::Runtime::new()?.block_on(seed::seed(&world, folder.path()))?;
    let (cedargate, gate) = cedargate(folder.path())?;
    let (_allows, allowing) = own_mode(ALLOWS)?;
    let (_same, saying_as_much) = own_mode(SAME_MESSAGES)?;
    let (_service, service) = own_mode(SERVICE)?;
    let envoys = [
        ("Envoy alone", envoy(folder.path(), "alone", None, service)?),
        ("+ tonic, yes", envoy(folder.path(), "allows", Some(allowing), service)?),
        ("+ tonic, as much", envoy(folder.path(), "same", Some(saying_as_much), service)?),
        ("+ Cedargate", envoy(folder.path(), "cedargate", Some(gate), service)?),
    ];
    let requests = requests(&world, gate)?;
    let mut ways: Vec<Way> = envoys.iter().map(|(name, _)| Way { name, ..Way::default() }).collect();
    for round in 0..=rounds {
        for (way, (_, (_, address))) in ways.iter_mut().zip(&envoys) {
            let plan = Plan::closed(&requests, window, CONNECTIONS);
            let closed = client::run(*address, plan.clone())?;
            let mut open = client::run(*address, plan.at_rate(RATE))?;
            // The first round warms up.
            if round > 0 {
                way.throughput.push(closed.answers as f64 / closed.time.as_secs_f64());
                way.p50.push(quantile(&mut open.latencies, 0.5));
                way.p99.push(quantile(&mut open.latencies, 0.99));
            }
        }
    }
    drop(cedargate);
    let out = &mut std::io::stdout();
    if has("--json") {
        writeln!(out, "{}", as_json(&ways))?
    } else {
        write!(out, "{}", as_table(&ways))?
    }
    Ok(())
}

/// Requests that Cedargate permits, of many people: asked first, so that all three ways carry the same load.
fn requests(world: &World, gate: SocketAddr) -> Result<Requests, Failure> {
    let mut permitted = Vec::new();
    for user in 0..PEOPLE {
        let account = World::account_id(world.accounts_of(user).first().copied().unwrap_or(0));
        let name = World::username(user);
        let path = format!("/api/accounts/{account}/orders");
        let question = json!({"subject": {"user": name}, "request": {"method": "GET", "path": path}});
        let answer = exchange(gate, "POST /v1/authorize HTTP/1.1\r\n", &question.to_string())?;
        if answer.contains("\"decision\":\"permit\"") {
            let text = format!("GET {path} HTTP/1.1\r\nHost: dashboard.example.com\r\nX-User: {name}\r\n\r\n");
            permitted.push(text.into_bytes().into_boxed_slice());
        }
    }
    if permitted.len() < 100 {
        return Err(format!("only {} of {PEOPLE} requests are permitted", permitted.len()).into());
    }
    Ok(permitted.into())
}

/// The built binary on a seeded folder; the gateway names the caller, so that no token is verified.
fn cedargate(folder: &Path) -> Result<(Process, SocketAddr), Failure> {
    let config = folder.join("cedargate.toml");
    std::fs::write(&config, "[gate]\ncaller = [\"header:x-user\"]\n")?;
    let text = |path: &Path| path.display().to_string();
    let (data, config, any) = (text(folder), text(&config), "127.0.0.1:0".to_owned());
    let policies = concat!(env!("CARGO_MANIFEST_DIR"), "/policies").to_owned();
    let arguments = ["serve", "--config", &config, "--data", &data, "--store", &data, "--policies", &policies];
    let listeners = ["--front", &any, "--gate", &any, "--ops", &any];
    let arguments = [&arguments[..], &listeners[..]].concat();
    let mut process = Process::start(Path::new(env!("CARGO_BIN_EXE_cedargate")), &arguments, None, Stdio::null())?;
    let file = folder.join("addresses.json");
    let started = Stopwatch::start();
    while started.elapsed() < START {
        process.running()?;
        if let Ok(text) = std::fs::read_to_string(&file) {
            let addresses: serde_json::Value = serde_json::from_str(&text)?;
            let gate = addresses.get("gate").and_then(serde_json::Value::as_str).unwrap_or_default();
            return Ok((process, gate.trim_start_matches("http://").parse()?));
        }
        pause(Duration::from_millis(5));
    }
    Err("the server does not become ready".into())
}

/// This very program in one of its hidden modes, and the address that it says.
fn own_mode(mode: &str) -> Result<(Process, SocketAddr), Failure> {
    let mut process = Process::start(&std::env::current_exe()?, &[mode], None, Stdio::piped())?;
    let mut line = String::new();
    BufReader::new(process.output().ok_or("no output")?).read_line(&mut line)?;
    Ok((process, line.trim().parse()?))
}

/// Envoy by the file that operators are given, with the addresses of this run; without a server to ask, the filter goes.
fn envoy(
    folder: &Path,
    name: &str,
    asks: Option<SocketAddr>,
    service: SocketAddr,
) -> Result<(Process, SocketAddr), Failure> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let mut text = std::fs::read_to_string(root.join("docs/gateways/envoy-grpc.yaml"))?;
    let cut = |text: &str, from: &str, to: &str| -> Option<String> {
        let (before, rest) = text.split_once(from)?;
        let (_, after) = rest.split_once(to)?;
        Some(format!("{before}{to}{after}"))
    };
    let missing = "docs/gateways/envoy-grpc.yaml has another shape than this benchmark knows";
    text = cut(&text, "          access_log:", "          http_filters:").ok_or(missing)?;
    if asks.is_none() {
        let filter = "          - name: envoy.filters.http.ext_authz";
        text = cut(&text, filter, "          - name: envoy.filters.http.router").ok_or(missing)?;
    }
    let own: SocketAddr = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let socket = |at: SocketAddr| format!("address: {}, port_value: {}", at.ip(), at.port());
    text = text
        .replace("address: 0.0.0.0, port_value: 8000", &socket(own))
        .replace("address: 127.0.0.1, port_value: 8181", &socket(asks.unwrap_or(service)))
        .replace("address: 127.0.0.1, port_value: 9000", &socket(service));
    let file = folder.join(format!("{name}.yaml"));
    std::fs::write(&file, text)?;
    let installed = Command::new(root.join("tests/install")).arg("envoy").status()?;
    if !installed.success() {
        return Err("tests/install envoy failed".into());
    }
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |folder| root.join(folder));
    let file = file.display().to_string();
    let arguments = ["-c", &file, "--concurrency", "1", "--use-dynamic-base-id", "-l", "error"];
    let mut process = Process::start(&target.join("tools/python/bin/envoy"), &arguments, None, Stdio::null())?;
    let line = "GET /api/accounts/500000/orders HTTP/1.1\r\nX-User: nobody\r\n";
    let started = Stopwatch::start();
    let mut last = String::new();
    while started.elapsed() < START {
        process.running()?;
        // Cedargate denies nobody, and an answer that is a denial is an answer.
        match exchange(own, line, "") {
            Ok(_) => return Ok((process, own)),
            Err(failure) if failure.to_string().contains("403") => return Ok((process, own)),
            Err(failure) => last = failure.to_string(),
        }
        pause(Duration::from_millis(10));
    }
    Err(format!("{name} does not become ready: {last}").into())
}

fn as_table(ways: &[Way]) -> String {
    let mut rows = vec![["", "requests/s", "", "p50 µs", "", "p99 µs", ""].map(str::to_owned).to_vec()];
    for way in ways {
        let mut row = vec![way.name.to_owned()];
        for (own, first) in figures(way).into_iter().zip(ways.first().map(figures).unwrap_or_default()) {
            row.extend([rounded(own).to_string(), format!("×{:.2}", own / first)]);
        }
        rows.push(row);
    }
    format!("{}of tonic saying as much: ×{:.2}\n", table(&rows), of_tonic(ways))
}

/// Throughput of the last way, Cedargate, to that of the one before it.
fn of_tonic(ways: &[Way]) -> f64 {
    match ways {
        [.., tonic, own] => median(&own.throughput) / median(&tonic.throughput),
        _ => f64::NAN,
    }
}

fn as_json(ways: &[Way]) -> serde_json::Value {
    let one = |way: &Way| {
        let [throughput, p50, p99] = figures(way);
        json!({"way": way.name, "requests_per_second": throughput, "p50_us": p50, "p99_us": p99})
    };
    let ways_json: Vec<_> = ways.iter().map(one).collect();
    json!({"through_envoy": ways_json, "of_tonic_saying_as_much": of_tonic(ways), "open_loop_rate": RATE})
}

fn figures(way: &Way) -> [f64; 3] {
    [median(&way.throughput), median(&way.p50), median(&way.p99)]
}
