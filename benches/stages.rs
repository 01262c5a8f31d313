//! The cost budget of a decision, stage by stage, without a socket: nanoseconds and allocations of each (see README.md).
//!
//! `--users N` (1,000) people, `--json`. Reading the body and writing the answer are what the whole costs beyond the
//! decision, since both are the gate's own affair.

#[allow(dead_code, reason = "shared with the other benchmarks")]
#[path = "support/folders.rs"]
mod folders;
#[path = "support/inside.rs"]
mod inside;
#[path = "support/ledgers.rs"]
mod ledgers;
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
#[path = "support/tokens.rs"]
mod tokens;
#[allow(dead_code, reason = "shared with the other benchmarks")]
#[path = "support/workload.rs"]
mod workload;

use std::hint::black_box;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use cedargate::clock::{Clock, SystemClock};
use cedargate::domain::{AccessMethods, AdministrationLevel};
use cedargate::policy::{AccountFacts, Asker, CanonicalPath, Facts, PrincipalFacts, ResourceFacts};
use cedargate::token::{IssuerConfig, KeyPlace, NamedBy, TokenConfig};
use serde_json::json;

use inside::{Inside, OwnQuestion, allocations, nanoseconds, nanoseconds_once};
use questions::Questions;
use statistics::{rounded, table};
use tokens::Issuer;
use workload::{Draws, Failure, World};

const QUESTIONS: usize = 10_000;
const TOKENS: usize = 600;
const BATCH: usize = 100;
const MISSES: usize = 6_000;

/// A line of the budget.
struct Stage {
    name: &'static str,
    nanoseconds: f64,
    allocations: f64,
}

fn main() -> ExitCode {
    program::end(measure())
}

/// Measures one stage over warm inputs.
fn stage<T>(name: &'static str, of: &[T], mut act: impl FnMut(&T)) -> Stage {
    Stage { name, nanoseconds: nanoseconds(of, &mut act), allocations: allocations(of, &mut act) }
}

/// Measures one stage over inputs that are new each time.
fn stage_once<T>(name: &'static str, of: &[T], mut act: impl FnMut(&T)) -> Stage {
    let (first, second) = of.split_at(of.len() / 10);
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    let counted =
        allocation_counter::measure(|| first.iter().for_each(&mut act)).count_total as f64 / first.len() as f64;
    Stage { name, nanoseconds: nanoseconds_once(second, act), allocations: counted }
}

fn measure() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let users: u64 = match arguments.iter().position(|argument| argument == "--users") {
        Some(at) => arguments.get(at + 1).ok_or("--users wants a number")?.parse()?,
        None => 1_000,
    };
    let world = World::new(users)?;
    let mut stages = shipped(&world)?;
    stages.extend(twenty_five(&world)?);
    let out = &mut std::io::stdout();
    if arguments.iter().any(|argument| argument == "--json") {
        let lines: Vec<_> = (stages.iter())
            .map(|stage| {
                json!({"stage": stage.name, "ns": rounded(stage.nanoseconds), "allocations": rounded(stage.allocations)})
            })
            .collect();
        writeln!(out, "{}", json!({"users": users, "stages": lines}))?;
        return Ok(());
    }
    let mut rows = vec![["", "ns", "allocations"].map(str::to_owned).to_vec()];
    rows.extend((stages.iter()).map(|stage| {
        vec![stage.name.to_owned(), rounded(stage.nanoseconds).to_string(), rounded(stage.allocations).to_string()]
    }));
    writeln!(out, "{}", table(&rows))?;
    Ok(())
}

/// The shipped policies: all stages of an answer that stands in a row.
fn shipped(world: &World) -> Result<Vec<Stage>, Failure> {
    let folder = tempfile::tempdir()?;
    ledgers::copy(world, folder.path())?;
    let keys = folder.path().join("keys.json");
    let issuer = Issuer::new(&keys)?;
    let policies = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies");
    let inside = Inside::open(folder.path(), &policies, &believed(&keys))?;
    let now = SystemClock.now();
    let mut questions = Questions::new(world, 1)?;
    let bodies: Vec<String> = (0..QUESTIONS).map(|_| questions.by_frequency()).collect();
    let asked: Vec<OwnQuestion> = bodies.iter().map(|body| OwnQuestion::read(body)).collect::<Result<_, _>>()?;
    let whole: Vec<Bytes> = bodies.iter().map(|body| Bytes::from(body.clone())).collect();
    let batches: Vec<Bytes> = bodies.chunks(BATCH).map(|part| Bytes::from(questions::batch(part))).collect();
    let token = |at: usize| -> Result<String, Failure> {
        let user = World::username(at as u64 % world.users);
        Ok(format!("Bearer {}", issuer.token(&user, at, now.0 / 1000)?))
    };
    let shown: Vec<String> = (0..TOKENS).map(token).collect::<Result<_, _>>()?;
    let new: Vec<String> = (TOKENS..2 * TOKENS).map(token).collect::<Result<_, _>>()?;
    let verify = |header: &String| assert!(inside.verifier.verify(header, now).is_ok(), "an honest token holds");
    let request =
        stage("a request (not a stage)", &whole, |body| drop(black_box(Inside::request("/v1/authorize", body))));
    let answer = stage("whole answer, from its body to its answer", &whole, |body| {
        assert!(inside.answer(Inside::request("/v1/authorize", body)), "answered");
    });
    let answer = Stage {
        nanoseconds: answer.nanoseconds - request.nanoseconds,
        allocations: answer.allocations - request.allocations,
        ..answer
    };
    let alike = stage("whole answer on a connection that stays", &whole, inside.alike()?);
    let row = stage("decision by row", &asked, |asked| {
        black_box(inside.permits(asked));
    });
    let parse_and_write = Stage {
        name: "parse and write (what the whole costs beyond the decision)",
        nanoseconds: answer.nanoseconds - row.nanoseconds,
        allocations: answer.allocations - row.allocations,
    };
    let mut batch = stage("batch of 100, for one question", &batches, |body| {
        assert!(inside.answer(Inside::request("/v1/authorize/batch", body)), "answered");
    });
    #[expect(clippy::cast_precision_loss, reason = "a small constant")]
    let each = BATCH as f64;
    (batch.nanoseconds, batch.allocations) = (batch.nanoseconds / each, batch.allocations / each);
    let routes = inside.bundle.routes();
    Ok(vec![
        alike,
        parse_and_write,
        stage("token, shown before", &shown, verify),
        stage_once("token, first sight (RS256)", &new, verify),
        stage("route", &asked, |asked| {
            let path = CanonicalPath::parse(&asked.path);
            assert!(
                path.is_ok_and(|path| routes.find(&asked.method, Some(&asked.host), path, false).is_ok()),
                "a route"
            );
        }),
        stage("principal", &asked, |asked| {
            assert!(inside.directory.snapshot().user(&asked.subject).is_some(), "a person");
        }),
        row,
        answer,
        batch,
    ])
}

/// 25 policies that read who asks: what the cache and the engine cost.
fn twenty_five(world: &World) -> Result<Vec<Stage>, Failure> {
    let folder = tempfile::tempdir()?;
    ledgers::copy(world, folder.path())?;
    let policies = folder.path().join("policies");
    folders::twenty_five(&policies, world)?;
    let inside = Inside::open(folder.path(), &policies, &TokenConfig::default())?;
    let mut draws = Draws::new(25);
    let mut ask = |count: usize, nonce: bool, people: u64| -> Result<Vec<OwnQuestion>, Failure> {
        let one = |at: usize| {
            let nonce = nonce.then_some(at as u64);
            OwnQuestion::read(&folders::question_of_twenty_five(world, at as u64 % people, nonce, &mut draws))
        };
        (0..count).map(one).collect()
    };
    let (kept, new) = (ask(QUESTIONS / 2, false, 100)?, ask(MISSES, true, 100)?);
    let decide = |asked: &OwnQuestion| {
        black_box(inside.permits(asked));
    };
    let roles = world.roles_of(7);
    let accounts: Vec<String> = world.accounts_of(7).into_iter().map(World::account_id).collect();
    let groups: Vec<String> = world.groups_of(7).into_iter().map(seed::group_id).collect();
    let principal = PrincipalFacts {
        id: "0190a000-0000-7000-8000-000000000007",
        username: "user0000007",
        organization: workload::ORGANIZATION,
        level: AdministrationLevel::BasicUser,
        methods: AccessMethods { dashboard: true, api: true },
        roles,
        groups: groups.iter().map(String::as_str).collect(),
        accounts: accounts.iter().map(String::as_str).collect(),
        has_assigned_role: true,
        password_changed_at: None,
    };
    let account = accounts.first().ok_or("no account")?;
    let facts = Facts {
        principal: Asker::Person(Box::new(principal)),
        resource: ResourceFacts::Account(AccountFacts {
            id: account,
            organization: workload::ORGANIZATION,
            products: Vec::new(),
        }),
        account: None,
        channel: "api",
        now: SystemClock.now(),
    };
    let actions = inside.bundle.actions();
    Ok(vec![
        stage("decision by the cache (25 policies)", &kept, decide),
        stage_once("decision by the engine (25 policies, nothing kept)", &new, decide),
        stage("engine alone, by its index", actions, |action| {
            assert!(inside.bundle.evaluate(action, &facts, &[]).is_ok(), "evaluated");
        }),
        stage("plain Cedar, all policies", actions, |action| {
            assert!(inside.bundle.evaluate_plainly(action, &facts, &[]).is_ok(), "evaluated");
        }),
    ])
}

/// The settings that believe the issuer.
fn believed(keys: &Path) -> TokenConfig {
    let issuer = IssuerConfig {
        issuer: tokens::ISSUER.to_owned(),
        audiences: vec![tokens::AUDIENCE.to_owned()],
        algorithms: vec!["RS256".to_owned()],
        keys: KeyPlace::File(keys.to_owned()),
        claim: "sub".to_owned(),
        person: NamedBy::Username,
        types: vec!["JWT".to_owned(), "at+jwt".to_owned()],
        longest_life: Duration::from_secs(24 * 3600),
    };
    TokenConfig { issuers: vec![issuer], principals: Vec::new() }
}
