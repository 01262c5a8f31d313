//! `/v1/authorize` over real sockets, as ratios to a bare hyper server in the same run (see README.md).
//!
//! Starts the built server on several worlds and bare servers beside it, then asks them in turn, round by round. Every
//! ratio is the median of the rounds' ratios, since absolute figures of a shared machine drift. `--json` prints one
//! JSON object on stdout, `--only NAME,…` measures these figures alone, `--quick` is short and proves little.

#[path = "support/bare.rs"]
mod bare;
#[path = "support/churn.rs"]
mod churn;
#[path = "support/client.rs"]
mod client;
#[path = "end_to_end/fleet.rs"]
mod fleet;
#[allow(dead_code, reason = "shared with the other benchmarks")]
#[path = "support/folders.rs"]
mod folders;
#[path = "support/http.rs"]
mod http;
#[allow(dead_code, reason = "shared with the other benchmarks")]
#[path = "support/inside.rs"]
mod inside;
#[path = "support/ledgers.rs"]
mod ledgers;
#[path = "end_to_end/meanwhile.rs"]
mod meanwhile;
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
#[path = "support/seed.rs"]
mod seed;
#[path = "support/statistics.rs"]
mod statistics;
#[path = "end_to_end/takes.rs"]
mod takes;
#[path = "support/tokens.rs"]
mod tokens;
#[path = "support/tonic.rs"]
mod tonic;
#[path = "support/workload.rs"]
mod workload;

use std::io::Write;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use bytes::Bytes;
use cedargate::token::TokenConfig;
use serde_json::{Map, Value, json};

use fleet::{Fleet, LARGE};
use inside::{Inside, OwnQuestion};
use program::say;
use questions::Questions;
use statistics::{Stopwatch, rounded, table};
use takes::{RATIOS, Ratio, Samples};
use workload::{Failure, World};

const CONNECTIONS: usize = 32;
const BATCH: usize = 100;
/// Where the servers and the client run, if there are two cores.
const SERVER_CORE: usize = 0;
const CLIENT_CORE: usize = 1;
/// The hidden modes in which this program is a bare server, or measures itself.
const BARE: &str = "--bare-server";
const BARE_TONIC: &str = "--bare-tonic";
const INSIDE: &str = "--inside";
/// Questions that are asked without a socket.
const ASKED_INSIDE: usize = 10_000;

/// The names beside the ratios that `--only` knows.
const PROCESS: [&str; 5] = ["warm_ns", "warm_allocations", "batch_ns", "resident_mb_1000000", "ready_s_1000000"];
const MEANWHILE: &str = "meanwhile";
const OVERLOAD: &str = "overload";

/// How to measure.
struct Settings {
    json: bool,
    quick: bool,
    rounds: usize,
    window: Duration,
    /// Questions a second in the open loop.
    rate: f64,
    /// How many the many people are.
    many_people: u64,
    /// Empty: everything.
    only: Vec<String>,
}

impl Settings {
    fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == name)
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        [BARE, bytes, keys] => bare_server(bytes, keys),
        [BARE_TONIC] => tonic::run(),
        [INSIDE, folder, users] => measure_inside(Path::new(folder), users),
        _ => settings(&arguments).and_then(|settings| measure_all(&settings)),
    };
    program::end(outcome)
}

fn bare_server(bytes: &str, keys: &str) -> Result<(), Failure> {
    let signatures = if keys.is_empty() { None } else { Some(bare::Signatures::read(keys)?) };
    bare::run(bytes.parse()?, signatures)
}

fn settings(arguments: &[String]) -> Result<Settings, Failure> {
    let mut settings = Settings {
        json: false,
        quick: false,
        rounds: 9,
        window: Duration::from_secs(1),
        rate: 5_000.0,
        many_people: 1_000_000,
        only: Vec::new(),
    };
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--json" => settings.json = true,
            "--quick" => {
                (settings.rounds, settings.window) = (3, Duration::from_millis(300));
                (settings.quick, settings.many_people) = (true, 100_000);
            }
            "--rate" => settings.rate = arguments.next().ok_or("--rate wants questions a second")?.parse()?,
            "--only" => {
                let names = arguments.next().ok_or("--only wants names, separated by commas")?;
                settings.only = names.split(',').map(str::to_owned).collect();
            }
            // `cargo bench` adds it.
            "--bench" => {}
            other => {
                let known = "there are --json, --quick, --rate N and --only NAME,…";
                return Err(format!("unknown argument {other}; {known}").into());
            }
        }
    }
    let known: Vec<&str> = RATIOS.iter().map(|ratio| ratio.name).chain(PROCESS).chain([MEANWHILE, OVERLOAD]).collect();
    if let Some(name) = settings.only.iter().find(|name| !known.contains(&name.as_str())) {
        return Err(format!("--only: there is no {name}; there are {}", known.join(", ")).into());
    }
    Ok(settings)
}

fn measure_all(settings: &Settings) -> Result<(), Failure> {
    let total = Stopwatch::start();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let core = (cores > 1 && keep_to_core(CLIENT_CORE)).then_some(SERVER_CORE);
    let wanted = |ratio: &Ratio| settings.wants(ratio.name);
    let inside = PROCESS.iter().take(3).any(|name| settings.wants(name));
    let large = PROCESS.iter().skip(3).any(|name| settings.wants(name));
    let inside = if inside { inside_of_many(settings, core)? } else { json!({}) };
    let mut names = takes::servers(&wanted);
    if large && !names.contains(&LARGE) {
        names.push(LARGE);
    }
    let fleet = Fleet::start(&names, &|asked| takes::needs(&wanted, asked), settings, core)?;
    say(&format!("measuring {} rounds", settings.rounds));
    let mut samples = Samples::default();
    for round in 0..settings.rounds {
        samples.round(&fleet, settings, round, &wanted)?;
    }
    let mut detail = Map::new();
    if settings.wants(MEANWHILE) {
        say("asking while people and policies change");
        detail.insert(MEANWHILE.to_owned(), meanwhile::changes(&fleet, settings)?);
    }
    if settings.wants(OVERLOAD) {
        say("asking more than can be answered");
        detail.insert(OVERLOAD.to_owned(), meanwhile::overload(&fleet, settings)?);
    }
    let result = evaluate(settings, &fleet, &samples, &inside, detail, core.is_some())?;
    let out = &mut std::io::stdout();
    if settings.json {
        writeln!(out, "{result}")?
    } else {
        writeln!(out, "{}", show(&samples, &result))?
    }
    say(&format!("{:.0} s in all", total.elapsed().as_secs_f64()));
    Ok(())
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

/// This program again, alone with many people in its memory.
fn inside_of_many(settings: &Settings, core: Option<usize>) -> Result<Value, Failure> {
    let folder = tempfile::tempdir()?;
    ledgers::copy(&World::new(settings.many_people)?, folder.path())?;
    let program = std::env::current_exe()?;
    let data = folder.path().to_str().ok_or("the temporary folder's name is not UTF-8")?;
    let mut command = Command::new(match core {
        Some(_) => Path::new("taskset"),
        None => &program,
    });
    if let Some(core) = core {
        command.args(["-c", &core.to_string()]).arg(&program);
    }
    let output = command.args([INSIDE, data, &settings.many_people.to_string()]).stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err("measuring without a socket failed".into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// What a warm decision costs without a socket.
fn measure_inside(folder: &Path, users: &str) -> Result<(), Failure> {
    let world = World::new(users.parse()?)?;
    let policies = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies");
    let inside = Inside::open(folder, &policies, &TokenConfig::default())?;
    let mut questions = Questions::new(&world, world.users)?;
    let bodies: Vec<String> = (0..ASKED_INSIDE).map(|_| questions.by_frequency()).collect();
    let asked: Vec<OwnQuestion> = bodies.iter().map(|body| OwnQuestion::read(body)).collect::<Result<_, _>>()?;
    let whole: Vec<Bytes> = bodies.iter().map(|body| Bytes::from(body.clone())).collect();
    let batches: Vec<Bytes> = bodies.chunks(BATCH).map(|part| Bytes::from(questions::batch(part))).collect();
    let answer = |path: &'static str, body: &Bytes| {
        let answered = inside.answer(Inside::request(path, body));
        assert!(answered, "a question of the workload is answered");
    };
    let decide = |asked: &OwnQuestion| {
        std::hint::black_box(inside.permits(asked));
    };
    let mut warm = inside.alike()?;
    let single = |body: &Bytes| answer("/v1/authorize", body);
    let many = |body: &Bytes| answer("/v1/authorize/batch", body);
    let request = |body: &Bytes| {
        std::hint::black_box(Inside::request("/v1/authorize", body));
    };
    let result = json!({
        "warm_ns": rounded(inside::nanoseconds(&whole, &mut warm)),
        "warm_allocations": rounded(inside::allocations(&whole, &mut warm)),
        "decision_ns": rounded(inside::nanoseconds(&asked, decide)),
        "decision_allocations": rounded(inside::allocations(&asked, decide)),
        "batch_ns": rounded(inside::nanoseconds(&batches, many) / BATCH as f64),
        "batch_allocations": rounded(inside::allocations(&batches, many) / BATCH as f64),
        "answer_ns": rounded(inside::nanoseconds(&whole, single) - inside::nanoseconds(&whole, request)),
        "answer_allocations": rounded(inside::allocations(&whole, single) - inside::allocations(&whole, request)),
    });
    writeln!(std::io::stdout(), "{result}")?;
    Ok(())
}

fn evaluate(
    settings: &Settings,
    fleet: &Fleet,
    samples: &Samples,
    inside: &Value,
    mut detail: Map<String, Value>,
    pinned: bool,
) -> Result<Value, Failure> {
    let chosen = |main: bool| -> Map<String, Value> {
        let wanted = RATIOS.iter().filter(|ratio| ratio.main == main && settings.wants(ratio.name));
        wanted.filter_map(|ratio| Some((ratio.name.to_owned(), json!(rounded(samples.ratio(ratio)?))))).collect()
    };
    let mut process = Map::new();
    for name in PROCESS.iter().take(3).filter(|name| settings.wants(name)) {
        process.insert((*name).to_owned(), inside.get(*name).cloned().ok_or("a figure is missing")?);
    }
    for (name, of) in [("resident_mb_1000000", 0), ("ready_s_1000000", 1)] {
        if settings.wants(name) {
            let running = fleet.running(LARGE)?;
            let figure = if of == 0 { running.rested_mb } else { running.ready_s };
            process.insert(name.to_owned(), json!(rounded(figure)));
            detail.insert("resident_mb_when_ready".to_owned(), json!(rounded(running.resident_mb)));
        }
    }
    let takes: Map<String, Value> = samples
        .medians()
        .map(|(name, figures)| {
            let [throughput, processor, p50, p99, busy] = figures.map(rounded);
            let take = json!({"per_second": throughput, "cpu_us": processor, "p50_us": p50, "p99_us": p99,
                "client_busy": busy});
            (name.to_owned(), take)
        })
        .collect();
    let shares: Map<String, Value> =
        fleet.asked.permit_shares.iter().map(|(name, share)| ((*name).to_owned(), json!(rounded(*share)))).collect();
    detail.insert("ratios".to_owned(), Value::Object(chosen(false)));
    detail.insert("takes".to_owned(), Value::Object(takes));
    detail.insert("permit_shares".to_owned(), Value::Object(shares));
    detail.insert("inside".to_owned(), inside.clone());
    let about = json!({
        "quick": settings.quick, "many_people": settings.many_people, "rounds": settings.rounds,
        "window_s": settings.window.as_secs_f64(), "open_rate": settings.rate, "connections": CONNECTIONS,
        "one_core_each": pinned, "optimised": !cfg!(debug_assertions), "answer_bytes": fleet.asked.answer_bytes,
    });
    detail.extend(about.as_object().cloned().unwrap_or_default());
    Ok(json!({"ratios": chosen(true), "process": process, "detail": detail}))
}

fn show(samples: &Samples, result: &Value) -> String {
    let head = ["", "requests/s", "cpu µs", "p50 µs", "p99 µs", "client busy"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for (name, figures) in samples.medians() {
        rows.push(std::iter::once(name.to_owned()).chain(figures.map(|figure| rounded(figure).to_string())).collect());
    }
    let mut text = table(&rows);
    for part in ["/ratios", "/process", "/detail/ratios", "/detail/inside", "/detail/meanwhile", "/detail/overload"] {
        let Some(members) = result.pointer(part).and_then(Value::as_object).filter(|members| !members.is_empty())
        else {
            continue;
        };
        let rows: Vec<Vec<String>> =
            members.iter().map(|(name, value)| vec![name.clone(), value.to_string()]).collect();
        text.push_str(&format!("\n{}\n{}", part.trim_start_matches('/'), table(&rows)));
    }
    if result.pointer("/detail/quick") == Some(&Value::Bool(true)) {
        text.push_str("\n--quick: 100,000 people stand for the million, and the rounds are short.\n");
    }
    text
}
