//! Beside a peer: Cerbos (npm) with the same rules, asked about the same questions, one core each (see README.md).
//!
//! 25 rules over 200 actions: 18 roles, two of the administration level, one public, four that forbid. Cerbos keeps no
//! people, so each of its questions carries what Cedargate looks up: roles, groups' roles, accounts, level. Both must
//! give the same answers, or the benchmark fails. `--quick` is short, `--json` prints an object.

#[allow(dead_code, reason = "shared with the other benchmarks")]
#[path = "support/client.rs"]
mod client;
#[allow(dead_code, reason = "shared with the other benchmarks")]
#[path = "support/folders.rs"]
mod folders;
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

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use client::{Load, Plan, Requests};
use process::{Process, Server, pause};
use program::say;
use statistics::{median, quantile, rounded, table};
use workload::{Draws, Failure, World};

const VERSION: &str = "0.55.0";
const PEOPLE: u64 = 1_000;
const CONNECTIONS: usize = 32;
const QUESTIONS: usize = 5_000;
/// Questions a second at which latencies are compared: what the slower one certainly bears.
const RATE: f64 = 500.0;
const SERVER_CORE: usize = 0;
const CLIENT_CORE: usize = 1;
const ALLOWS: &str = "EFFECT_ALLOW";

fn main() -> ExitCode {
    program::end(measure())
}

/// A server, and how it is asked.
struct Side {
    name: &'static str,
    process: Process,
    address: SocketAddr,
    plan: Plan,
    throughput: Vec<f64>,
    processor: Vec<f64>,
    p50: Vec<f64>,
    p99: Vec<f64>,
}

fn measure() -> Result<(), Failure> {
    let has = |flag: &str| std::env::args().any(|argument| argument == flag);
    let (rounds, window) = if has("--quick") { (2, Duration::from_secs(1)) } else { (7, Duration::from_secs(2)) };
    let own = std::process::id().to_string();
    let mut pin = Command::new("taskset");
    pin.args(["-a", "-cp", &CLIENT_CORE.to_string(), &own]).stdout(Stdio::null());
    let core = pin.status().is_ok_and(|status| status.success()).then_some(SERVER_CORE);
    let folder = tempfile::tempdir()?;
    let world = World::new(PEOPLE)?;
    let (ours, theirs) = questions(&world)?;
    let mut sides = [cedargate(folder.path(), &world, ours, core)?, cerbos(folder.path(), &world, theirs, core)?];
    let mut verdicts = Vec::new();
    for side in &sides {
        let plan = Plan { window: Duration::from_secs(120), ..side.plan.clone() };
        let mut load = client::run(side.address, plan.once(0))?;
        load.verdicts.sort_unstable();
        verdicts.push(load.verdicts);
    }
    let permits = verdicts.first().map_or(0, |all| all.iter().filter(|(_, permit)| *permit).count());
    if verdicts.first() != verdicts.last() {
        let pairs = verdicts.first().into_iter().flatten().zip(verdicts.last().into_iter().flatten());
        let differing = pairs.clone().filter(|(one, other)| one != other).count();
        let example = pairs.filter(|(one, other)| one != other).map(|(one, _)| one.0).next().unwrap_or(0);
        let text = |side: &Side| {
            let request = side.plan.requests.get(example).cloned().unwrap_or_default();
            String::from_utf8_lossy(&request).into_owned()
        };
        let told: Vec<String> = sides.iter().map(text).collect();
        return Err(format!("{differing} answers differ, for example to\n{}", told.join("\n")).into());
    }
    for _ in 0..rounds {
        for side in &mut sides {
            side.round(window)?;
        }
    }
    let [ours, theirs] = &sides;
    let ratios: Vec<f64> = ours.throughput.iter().zip(&theirs.throughput).map(|(one, other)| one / other).collect();
    tell(has("--json"), &sides, median(&ratios), permits)
}

impl Side {
    fn round(&mut self, window: Duration) -> Result<(), Failure> {
        let plan = Plan { window, ..self.plan.clone() };
        let before = self.process.processor_time()?;
        let Load { answers, time, .. } = client::run(self.address, plan.clone())?;
        let spent = self.process.processor_time()?.saturating_sub(before);
        let answers = f64::from(u32::try_from(answers)?).max(1.0);
        self.throughput.push(answers / time.as_secs_f64());
        self.processor.push(spent.as_secs_f64() * 1e6 / answers);
        let mut latencies = client::run(self.address, plan.at_rate(RATE))?.latencies;
        self.p50.push(quantile(&mut latencies, 0.5));
        self.p99.push(quantile(&mut latencies, 0.99));
        Ok(())
    }

    fn columns(&self) -> [f64; 4] {
        [&self.throughput, &self.processor, &self.p50, &self.p99].map(|column| rounded(median(column)))
    }
}

fn tell(as_json: bool, sides: &[Side; 2], ratio: f64, permits: usize) -> Result<(), Failure> {
    let out = &mut std::io::stdout();
    if as_json {
        let side = |side: &Side| {
            let [throughput, processor, p50, p99] = side.columns();
            json!({"per_second": throughput, "cpu_us": processor, "p50_us": p50, "p99_us": p99,
                "resident_mb": side.process.resident_mb().map(rounded).unwrap_or_default()})
        };
        let [ours, theirs] = sides;
        let result = json!({"throughput_ratio": rounded(ratio), "cedargate": side(ours), "cerbos": side(theirs),
            "cerbos_version": VERSION, "questions": QUESTIONS, "permits": permits, "open_rate": RATE});
        writeln!(out, "{result}")?;
        return Ok(());
    }
    let mut rows = vec![["", "requests/s", "cpu µs", "p50 µs", "p99 µs"].map(str::to_owned).to_vec()];
    for side in sides {
        rows.push(std::iter::once(side.name.to_owned()).chain(side.columns().map(|one| one.to_string())).collect());
    }
    writeln!(out, "{}\n{ratio:.1} times the throughput; {permits} of {QUESTIONS} permitted by both", table(&rows))?;
    Ok(())
}

/// The same questions for both.
fn questions(world: &World) -> Result<(Requests, Requests), Failure> {
    let mut draws = Draws::new(55);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..QUESTIONS {
        let user = draws.below(world.users);
        let body = folders::question_of_twenty_five(world, user, None, &mut draws);
        ours.push(questions::http_request("/v1/authorize", &body));
        let body: Value = serde_json::from_str(&body)?;
        let path = body.pointer("/request/path").and_then(Value::as_str).ok_or("no path")?;
        let mut parts = path.rsplit('/');
        let (action, account) = (parts.next().ok_or("no action")?, parts.next().ok_or("no account")?);
        let groups = world.groups_of(user);
        let groups = groups.iter().map(|group| world.role_of_group(*group));
        let mut roles: Vec<String> = world.roles_of(user).into_iter().chain(groups).map(role).collect();
        roles.sort_unstable();
        roles.dedup();
        let accounts: Vec<String> = world.accounts_of(user).into_iter().map(World::account_id).collect();
        let asked = json!({
            "principal": {"id": World::username(user), "roles": roles, "attr": {
                "level": "Basic User", "accounts": accounts, "organization": workload::ORGANIZATION, "passwordAgeDays": 1}},
            "resources": [{"actions": [action], "resource": {"kind": "account", "id": account, "attr": {
                "organization": workload::ORGANIZATION}}}],
        });
        theirs.push(questions::http_request("/api/check/resources", &asked.to_string()));
    }
    Ok((ours.into(), theirs.into()))
}

/// A role's name as Cerbos takes one.
fn role(name: &str) -> String {
    name.to_lowercase().replace(' ', "_")
}

fn cedargate(folder: &Path, world: &World, requests: Requests, core: Option<usize>) -> Result<Side, Failure> {
    let (data, policies) = (folder.join("data"), folder.join("policies"));
    ledgers::copy(world, &data)?;
    folders::twenty_five(&policies, world)?;
    let mut server = Server::start_with(&data, core, &policies, "")?;
    server.process.settle()?;
    let address = server.address("gate")?;
    Ok(side("Cedargate", server.process, address, Plan::closed(&requests, Duration::ZERO, CONNECTIONS)))
}

fn side(name: &'static str, process: Process, address: SocketAddr, plan: Plan) -> Side {
    let [throughput, processor, p50, p99] = [const { Vec::new() }; 4];
    Side { name, process, address, plan, throughput, processor, p50, p99 }
}

fn cerbos(folder: &Path, world: &World, requests: Requests, core: Option<usize>) -> Result<Side, Failure> {
    let program = install()?;
    let policies = folder.join("cerbos");
    std::fs::create_dir_all(&policies)?;
    std::fs::write(policies.join("account.yaml"), rules(world)?)?;
    let free = || -> Result<SocketAddr, Failure> { Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?) };
    let (http, grpc) = (free()?, free()?);
    let config = format!(
        "server:\n  httpListenAddr: \"{http}\"\n  grpcListenAddr: \"{grpc}\"\n\
         storage:\n  driver: disk\n  disk:\n    directory: {:?}\n    watchForChanges: false\n\
         audit:\n  enabled: false\ntelemetry:\n  disabled: true\n",
        policies.display().to_string()
    );
    let file = folder.join("cerbos-config.yaml");
    std::fs::write(&file, config)?;
    let config = format!("--config={}", file.display());
    let mut process = Process::start(&program, &["server", &config, "--log-level=error"], core, Stdio::null())?;
    for _ in 0..600 {
        process.running()?;
        if TcpStream::connect(http).is_ok() {
            let plan = Plan { permit_mark: Some(ALLOWS), ..Plan::closed(&requests, Duration::ZERO, CONNECTIONS) };
            return Ok(side("Cerbos", process, http, plan));
        }
        pause(Duration::from_millis(50));
    }
    Err("Cerbos does not listen".into())
}

/// The binary that npm holds for this machine, below `target/peers`.
fn install() -> Result<PathBuf, Failure> {
    let machine = match (std::env::consts::OS, std::env::consts::ARCH) {
        ("linux", "x86_64") => "linux-x64",
        ("linux", "aarch64") => "linux-arm64",
        (system, processor) => return Err(format!("npm has no Cerbos for {system} on {processor}").into()),
    };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/peers/cerbos");
    let program = folder.join(format!("node_modules/@cerbos/cerbos-{machine}/cerbos-{machine}"));
    if !program.is_file() {
        say(&format!("installing Cerbos {VERSION} from npm"));
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join("package.json"), r#"{"private": true}"#)?;
        let package = format!("@cerbos/cerbos-{machine}@{VERSION}");
        let arguments = ["install", "--no-fund", "--no-audit", "--silent", &package];
        let status = Command::new("npm").args(arguments).current_dir(&folder).stdout(Stdio::null()).status()?;
        if !status.success() {
            return Err(format!("npm failed: {status}").into());
        }
        Command::new("chmod").arg("+x").arg(&program).status()?;
    }
    Ok(program)
}

/// The rules of [`folders::twenty_five`] in Cerbos' words.
fn rules(world: &World) -> Result<String, Failure> {
    let mut text =
        "apiVersion: api.cerbos.dev/v1\nresourcePolicy:\n  resource: account\n  version: default\n  rules:\n"
            .to_owned();
    let mut rule = |effect: &str, roles: &str, actions: &[String], condition: &str| {
        let actions = actions.join(", ");
        writeln!(text, "  - actions: [{actions}]\n    effect: EFFECT_{effect}\n    roles: [\"{roles}\"]")?;
        if !condition.is_empty() {
            writeln!(text, "    condition:\n      match:\n        expr: '{condition}'")?;
        }
        Ok::<(), Failure>(())
    };
    let granted = "R.id in P.attr.accounts";
    let names = world.role_names();
    for (at, areas) in folders::role_policies() {
        let name = names.get(at % names.len().max(1)).ok_or("no roles")?;
        let actions = folders::actions(|action| areas.contains(&folders::area(action)));
        rule("ALLOW", &role(name), &actions, granted)?;
    }
    for write in [false, true] {
        let actions = folders::actions(|action| folders::is_write(action) == write);
        rule("ALLOW", "*", &actions, &format!("P.attr.level == \"Account Admin\" && {granted}"))?;
    }
    rule("ALLOW", "*", &folders::actions(folders::is_public), "")?;
    let all = folders::actions(|_| true);
    rule("DENY", "*", &all, "P.id == \"blocked\" || (has(P.attr.nonce) && P.attr.nonce == \"blocked\")")?;
    rule("DENY", "*", &all, "P.attr.passwordAgeDays > 90")?;
    rule("DENY", "*", &folders::actions(folders::is_write), "R.attr.organization != P.attr.organization")?;
    rule("DENY", "*", &folders::actions(folders::is_dangerous), "!(has(P.attr.mfa) && P.attr.mfa == true)")?;
    Ok(text)
}
