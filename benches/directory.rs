//! The directory at a million people: memory, start, and what a change costs while questions are asked (see README.md).
//!
//! Seeds a ledger, then measures in two fresh processes: this program again, which loads the ledger through the
//! library and changes it, and the built server. `--json` prints one JSON object on stdout, `--users N` takes another
//! number of people, `--quick` 50,000.

#[path = "support/ledgers.rs"]
mod ledgers;
#[allow(dead_code, reason = "shared with the other benchmarks")]
#[path = "support/process.rs"]
mod process;
#[path = "support/program.rs"]
mod program;
#[path = "support/seed.rs"]
mod seed;
#[path = "support/statistics.rs"]
mod statistics;
#[allow(dead_code, reason = "shared with the other benchmarks")]
#[path = "support/workload.rs"]
mod workload;

use std::io::{Read, Write};
use std::path::Path;
use std::process::{ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cedargate::directory::Directory;
use cedargate::domain::Number;
use cedargate::store::sqlite::SqliteStore;
use cedargate::store::{ApplyHook, Kind, Step, Store};
use serde_json::{Value, json};

use process::{Process, Server, kibibytes, pause};
use program::say;
use statistics::{Stopwatch, median, quantile, rounded, table};
use workload::{Draws, Failure, GROUPS_EACH, ROLES_EACH, World, mix};

const USERS: u64 = 1_000_000;
const QUICK: u64 = 50_000;
/// Members of the group that changes, where there are so many people.
const MEMBERS: u64 = 100_000;
/// Changes of one person each.
const CHANGES: u64 = 300;
/// How long readers read undisturbed.
const QUIET: Duration = Duration::from_secs(1);
/// Most look-ups whose time is kept, for each phase.
const MOST_SAMPLES: usize = 4_000_000;
/// The hidden mode that loads and changes: the folder and the number of people follow.
const LOAD: &str = "--load";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [LOAD, folder, users] => users.parse().map_err(Failure::from).and_then(|users| load(Path::new(folder), users)),
        all => run(all),
    };
    program::end(outcome)
}

fn run(arguments: &[&str]) -> Result<(), Failure> {
    let (mut as_json, mut users) = (false, USERS);
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        match *argument {
            "--json" => as_json = true,
            "--quick" => users = QUICK,
            "--users" => users = arguments.next().ok_or("--users wants a number")?.parse()?,
            // `cargo bench` adds it.
            "--bench" => {}
            other => return Err(format!("unknown argument {other}; there are --json, --quick and --users N").into()),
        }
    }
    let folder = tempfile::tempdir()?;
    let world = World::new(users)?;
    say(&format!("a ledger of {users} people, {} groups, {} accounts", world.groups, world.accounts));
    let seeded = ledgers::copy(&world, folder.path())?;
    say(&format!("seeded in {seeded:.0} s; starting the server"));
    let server = measure_server(folder.path(), users)?;
    say("loading and changing in a process of its own");
    let library = measure_library(folder.path(), users)?;
    let ledger = std::fs::metadata(folder.path().join("ledger.sqlite"))?.len() / (1024 * 1024);
    let result = json!({
        "process": server,
        "directory": library,
        "detail": {
            "users": users, "roles_each": ROLES_EACH, "groups_each": GROUPS_EACH, "groups": world.groups,
            "accounts": world.accounts, "seed_s": rounded(seeded), "ledger_mb": ledger,
            "optimised": !cfg!(debug_assertions),
        },
    });
    let mut out = std::io::stdout();
    if as_json {
        writeln!(out, "{result}")?;
    } else {
        writeln!(out, "{}", show(&result))?;
    }
    Ok(())
}

/// The built server: ready when, with how much memory.
fn measure_server(folder: &Path, users: u64) -> Result<Value, Failure> {
    let mut server = Server::start(folder, None)?;
    let at_start = megabytes(server.process.id(), "VmRSS")?;
    server.process.settle()?;
    let question = json!({
        "subject": {"user": World::username(users.saturating_sub(1))},
        "action": "listOrders",
        "resource": {"type": "Account", "id": World::account_id(0)},
    });
    let answer = process::exchange(server.address("gate")?, "POST /v1/authorize HTTP/1.1\r\n", &question.to_string())?;
    if answer.contains("unknown-user") {
        return Err("the server does not know the last person".into());
    }
    Ok(json!({
        format!("resident_mb_{users}"): at_start,
        format!("ready_s_{users}"): rounded(server.ready_after.as_secs_f64()),
        format!("resident_mb_{users}_after_check"): megabytes(server.process.id(), "VmRSS")?,
        format!("peak_mb_{users}"): megabytes(server.process.id(), "VmHWM")?,
    }))
}

/// This program again, on the same folder.
fn measure_library(folder: &Path, users: u64) -> Result<Value, Failure> {
    let folder = folder.to_str().ok_or("the temporary folder's name is not UTF-8")?;
    let program = std::env::current_exe()?;
    let mut child = Process::start(&program, &[LOAD, folder, &users.to_string()], None, Stdio::piped())?;
    let mut text = String::new();
    child.output().ok_or("no output")?.read_to_string(&mut text)?;
    serde_json::from_str(&text).map_err(|error| format!("the loading process failed: {error}").into())
}

fn megabytes(process: u32, line: &str) -> Result<f64, Failure> {
    Ok(rounded(f64::from(u32::try_from(kibibytes(process, line)?)?) / 1024.0))
}

/// What goes on while a look-up runs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nothing, before the first change.
    Quiet,
    /// The changes of single people are brought in.
    Person,
    /// The change of the large group is brought in.
    Group,
    /// The disk's part of a change.
    Between,
}

const PHASES: [(Phase, &str); 3] =
    [(Phase::Quiet, "quiet"), (Phase::Person, "person_changes"), (Phase::Group, "group_changes")];

/// What the changing thread, the apply hook and the reader share.
struct Stage {
    directory: Directory,
    now: Mutex<Phase>,
    /// What the next application is.
    coming: Mutex<Phase>,
    /// How long each application took, in microseconds.
    applied: Mutex<Vec<f64>>,
    over: AtomicBool,
}

impl Stage {
    fn now(&self) -> Phase {
        *locked(&self.now)
    }

    /// The times noted since the last call.
    fn take_applied(&self) -> Vec<f64> {
        std::mem::take(&mut *locked(&self.applied))
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The hidden mode: loads, changes, reports.
fn load(folder: &Path, users: u64) -> Result<(), Failure> {
    let own = std::process::id();
    let world = World::new(users)?;
    let before = kibibytes(own, "VmRSS")?;
    let loading = Stopwatch::start();
    let store = seed::open(folder)?;
    let opened = loading.elapsed();
    let directory = Directory::load(&store)?;
    let ready = loading.elapsed();
    let growth = kibibytes(own, "VmRSS")?.saturating_sub(before);
    if u64::from(directory.snapshot().people()) != users {
        return Err("the directory has not loaded everybody".into());
    }

    let stage = Arc::new(Stage {
        directory,
        now: Mutex::new(Phase::Quiet),
        coming: Mutex::new(Phase::Person),
        applied: Mutex::default(),
        over: AtomicBool::new(false),
    });
    store.set_apply_hook(apply_hook(&stage));
    let reader = {
        let (stage, world) = (Arc::clone(&stage), world.clone());
        std::thread::spawn(move || read(&stage, &world))
    };
    pause(QUIET);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let changes = runtime.block_on(change(&store, &world, &stage));
    stage.over.store(true, Ordering::SeqCst);
    let readings = reader.join().map_err(|_| "the reader failed")?;
    let result = json!({
        "resident_growth_mb": rounded(f64::from(u32::try_from(growth)?) / 1024.0),
        "bytes_per_user": growth * 1024 / users.max(1),
        "peak_mb": megabytes(own, "VmHWM")?,
        "open_s": rounded(opened.as_secs_f64()),
        "ready_s": rounded(ready.as_secs_f64()),
        "changes": changes?,
        "reads": readings,
    });
    writeln!(std::io::stdout(), "{result}")?;
    Ok(())
}

/// Brings commits into the directory as the server does, and notes how long that took.
fn apply_hook(stage: &Arc<Stage>) -> ApplyHook {
    let stage = Arc::clone(stage);
    Arc::new(move |revision, changes| {
        *locked(&stage.now) = *locked(&stage.coming);
        let applying = Stopwatch::start();
        stage.directory.apply(revision, changes);
        let took = applying.elapsed().as_secs_f64() * 1e6;
        *locked(&stage.now) = Phase::Between;
        locked(&stage.applied).push(took);
    })
}

/// Changes single people, then lets a large group come and go.
async fn change(store: &SqliteStore, world: &World, stage: &Stage) -> Result<Value, Failure> {
    let mut commits = Vec::new();
    for turn in 0..CHANGES {
        let user = mix(turn, 9) % world.users;
        let content = seed::user_content(world, user, false);
        let step = Step::Replace { number: world.user_number(user), expected: None, content };
        commits.push(commit(store, &format!("person-{turn}"), step).await?.1 * 1e6);
    }
    let mut people = stage.take_applied();

    let content = seed::group_content("0190a000-0000-7000-8000-000000000002", "Everybody", &["Reporting"]);
    let create = seed::create(Kind::Group, "0190a000-0000-7000-8000-000000000002".to_owned(), content);
    let (group, _) = commit(store, "group", create).await?;
    let _ = stage.take_applied();
    *locked(&stage.coming) = Phase::Group;
    // Spread over everybody, as the members of a large group are.
    let count = MEMBERS.min(world.users / 2);
    let apart = world.users / count.max(1);
    let members: Vec<Number> = (0..count).map(|at| world.user_number(at * apart)).collect();
    let join = Step::Members { group, expected: None, add: members.clone(), remove: Vec::new() };
    let joined = behind(store, world, "join", join).await?;
    let leave = Step::Members { group, expected: None, add: Vec::new(), remove: members };
    let left = behind(store, world, "leave", leave).await?;
    let applied = stage.take_applied();
    let in_groups = stage.directory.snapshot().everybody().filter(|person| person.groups().contains(&group)).count();
    let (0, [join_apply, _, leave_apply, _]) = (in_groups, applied.as_slice()) else {
        return Err("the group's members did not come and go".into());
    };
    Ok(json!({
        "person_apply_us": rounded(median(&people)),
        "person_apply_p99_us": rounded(quantile(&mut people, 0.99)),
        "person_commit_us": rounded(median(&commits)),
        "group_members": count,
        "group_join_apply_ms": rounded(join_apply / 1e3),
        "group_leave_apply_ms": rounded(leave_apply / 1e3),
        "group_join_commit_ms": rounded(joined.large * 1e3),
        "group_leave_commit_ms": rounded(left.large * 1e3),
        "deactivation_behind_join_ms": rounded(joined.behind * 1e3),
        "deactivation_behind_leave_ms": rounded(left.behind * 1e3),
    }))
}

/// Seconds until the answers of a large change and of the deactivation that was sent right behind it.
struct Waits {
    large: f64,
    behind: f64,
}

/// Sends a large change, and a deactivation as soon as the large one stands in the queue.
async fn behind(store: &SqliteStore, world: &World, operation: &str, large: Step) -> Result<Waits, Failure> {
    let user = world.users / 3;
    let content = seed::user_content(world, user, false);
    let step = Step::Replace { number: world.user_number(user), expected: None, content };
    let deactivation = format!("behind-{operation}");
    let (large, behind) = tokio::join!(commit(store, operation, large), commit(store, &deactivation, step));
    Ok(Waits { large: large?.1, behind: behind?.1 })
}

/// Commits one step: the resource's number and the seconds until the answer.
async fn commit(store: &SqliteStore, operation: &str, step: Step) -> Result<(Number, f64), Failure> {
    let committing = Stopwatch::start();
    let committed = store.commit(seed::transaction(operation.to_owned(), vec![step])).await?;
    let number = committed.outcomes.first().map_or(0, |outcome| outcome.number);
    Ok((number, committing.elapsed().as_secs_f64()))
}

/// Looks people up with their rights, again and again, as a decision does. One thread: the other core changes.
fn read(stage: &Stage, world: &World) -> Value {
    let names: Vec<String> = (0..10_000).map(|turn| World::username(mix(turn, 10) % world.users)).collect();
    let mut draws = Draws::new(11);
    let mut times: [Vec<f64>; PHASES.len()] = Default::default();
    while !stage.over.load(Ordering::SeqCst) {
        let before = stage.now();
        let name = draws.one(&names).map_or("", String::as_str);
        let looking = Stopwatch::start();
        let snapshot = stage.directory.snapshot();
        let roles = snapshot.user(name).map_or(0, |person| snapshot.rights(person).roles.len());
        drop(snapshot);
        let took = looking.elapsed().as_secs_f64() * 1e6;
        if roles == 0 {
            return json!({"error": format!("{name} has no roles")});
        }
        // A look-up that a change overtook belongs to the change.
        let during = if matches!(before, Phase::Quiet | Phase::Between) { stage.now() } else { before };
        let list = PHASES.iter().zip(&mut times).find(|((phase, _), _)| *phase == during);
        if let Some((_, list)) = list.filter(|(_, list)| list.len() < MOST_SAMPLES) {
            list.push(took);
        }
    }
    let told = PHASES.iter().zip(&mut times).map(|((_, name), times)| {
        let reading = json!({
            "reads": times.len(),
            "p50_us": rounded(quantile(times, 0.5)),
            "p99_us": rounded(quantile(times, 0.99)),
            "longest_us": rounded(quantile(times, 1.0)),
        });
        ((*name).to_owned(), reading)
    });
    Value::Object(told.collect())
}

/// The result as lines of name and value.
fn show(result: &Value) -> String {
    let mut rows = Vec::new();
    flatten("", result, &mut rows);
    table(&rows)
}

fn flatten(name: &str, value: &Value, rows: &mut Vec<Vec<String>>) {
    if let Value::Object(members) = value {
        for (member, value) in members {
            let name = if name.is_empty() { member.clone() } else { format!("{name}.{member}") };
            flatten(&name, value, rows);
        }
    } else {
        rows.push(vec![name.to_owned(), value.to_string()]);
    }
}
