//! SCIM: creates beside bare commits, look-ups and pages by the number of people, members of groups of any size.
//!
//! See README.md. `--json` prints one JSON object on stdout, `--quick` takes shorter rounds and 100,000 people at
//! most, `--creates` measures creates alone, `--peers` also measures two other servers, installed from npm and PyPI.

#![allow(clippy::indexing_slicing, reason = "an index into JSON that is not there reads as null")]

#[allow(dead_code, reason = "shared with the other benchmarks")]
#[path = "support/client.rs"]
mod client;
#[path = "support/commits.rs"]
mod commits;
#[allow(dead_code, reason = "shared with the other benchmarks")]
#[path = "support/http.rs"]
mod http;
#[path = "support/ledgers.rs"]
mod ledgers;
#[allow(dead_code, reason = "shared with the other benchmarks")]
#[path = "support/multiplexed.rs"]
mod multiplexed;
#[path = "support/peers.rs"]
mod peers;
#[allow(dead_code, reason = "shared with the other benchmarks")]
#[path = "support/process.rs"]
mod process;
#[path = "support/program.rs"]
mod program;
#[allow(dead_code, reason = "shared with the other benchmarks")]
#[path = "support/seed.rs"]
mod seed;
#[path = "support/statistics.rs"]
mod statistics;
#[allow(dead_code, reason = "shared with the other benchmarks")]
#[path = "support/workload.rs"]
mod workload;

use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use cedargate::domain::Number;
use cedargate::store::{Kind, Step, Store};
use serde_json::{Value, json};

use client::Requests;
use commits::Commits;
use http::Connection;
use process::Server;
use program::say;
use statistics::{Stopwatch, median, quantile, rounded, table};
use workload::{Failure, ORGANIZATION, World, mix};

const MEDIA_TYPE: &str = "application/scim+json";
/// Clients that create side by side.
const CLIENTS: usize = 32;
/// More than can be created in a millisecond.
const MOST_CREATES: u64 = 50;
/// People on a page.
const PAGE: u64 = 50;
/// The page that a walk by cursor goes to, where there are so many.
const FAR: u64 = 2_000;
/// Members of the groups that change.
const GROUPS: [u64; 3] = [10, 10_000, 100_000];

fn main() -> ExitCode {
    program::end(run())
}

/// How long and how often.
#[derive(Clone, Copy)]
struct Plan {
    rounds: usize,
    window: Duration,
    /// Single requests whose median counts.
    samples: usize,
    worlds: &'static [u64],
}

fn run() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |name: &str| arguments.iter().any(|argument| argument == name);
    if let Some(other) =
        arguments.iter().find(|one| !["--json", "--quick", "--creates", "--peers", "--bench"].contains(&one.as_str()))
    {
        return Err(format!("unknown argument {other}; there are --json, --quick, --creates and --peers").into());
    }
    let plan = if has("--quick") {
        Plan { rounds: 3, window: Duration::from_millis(700), samples: 200, worlds: &[1_000, 100_000] }
    } else {
        Plan { rounds: 7, window: Duration::from_secs(2), samples: 1_000, worlds: &[1_000, 100_000, 1_000_000] }
    };
    say("creates, in turn with bare commits");
    let creates = creates(plan)?;
    let mut worlds = serde_json::Map::new();
    let sizes = if has("--creates") { &[] } else { plan.worlds };
    for users in sizes {
        say(&format!("{users} people"));
        worlds.insert(users.to_string(), people(*users, plan)?);
    }
    let ratios = ratios(&creates, &worlds, sizes);
    let mut result = json!({"ratios": ratios, "creates": creates, "people": worlds});
    if has("--peers") {
        say("the peers");
        result["peers"] = peers::measure(has("--quick"))?;
    }
    result["optimised"] = json!(!cfg!(debug_assertions));
    let mut out = std::io::stdout();
    if has("--json") {
        writeln!(out, "{result}")?;
    } else {
        let mut rows = Vec::new();
        flatten("", &result, &mut rows);
        writeln!(out, "{}", table(&rows))?;
    }
    Ok(())
}

/// What the aims speak of: creates against commits, and the largest world or group against the smallest.
fn ratios(creates: &Value, worlds: &serde_json::Map<String, Value>, order: &[u64]) -> Value {
    let mut ratios = serde_json::Map::new();
    for name in ["single", "clients"] {
        ratios.insert(format!("create_{name}"), creates["ratios"][name].clone());
    }
    let at = |users: Option<&u64>, name: &str| users.and_then(|users| worlds.get(&users.to_string())?[name].as_f64());
    for name in ["user_name_eq_us", "first_page_us", "far_page_us"] {
        if let (Some(small), Some(large)) = (at(order.first(), name), at(order.last(), name)) {
            ratios.insert(format!("{name}_growth").replace("_us_", "_"), json!(rounded(large / small)));
        }
    }
    for answer in ["no_content", "without_members"] {
        let patch =
            |members: u64| worlds.get("100000").map(|world| &world["patch_member_us"][members.to_string()][answer]);
        let (first, last) = (patch(GROUPS[0]).and_then(Value::as_f64), patch(GROUPS[2]).and_then(Value::as_f64));
        if let (Some(first), Some(last)) = (first, last) {
            ratios.insert(format!("patch_member_{answer}_growth"), json!(rounded(last / first)));
        }
    }
    Value::Object(ratios)
}

/// A server with the organization of the world and a connection to it.
struct Provider {
    server: Server,
    front: SocketAddr,
    tokens: [String; 2],
}

impl Provider {
    fn start(data: &Path) -> Result<Self, Failure> {
        let mut server = Server::start(data, None)?;
        server.process.settle()?;
        let operator = std::fs::read_to_string(data.join("operator.token"))?;
        let mut manage = Connection::new(server.address("ops")?, operator.trim(), "application/json");
        manage
            .send("PUT", &format!("/manage/v1/organizations/{ORGANIZATION}"), r#"{"name": "Bench"}"#)?
            .expect(200..300)?;
        let mut connect = |profile: &str| -> Result<String, Failure> {
            // Nobody is to be slowed down here.
            let settings = json!({"requests_per_second": 0});
            let body = json!({"name": profile, "organization": ORGANIZATION, "profile": profile, "settings": settings});
            let made = manage.json("POST", "/manage/v1/connections", &body)?;
            Ok(made["token"].as_str().ok_or("a connection without a token")?.to_owned())
        };
        // The second one answers a PATCH of a group with 204.
        let tokens = [connect("generic")?, connect("entra")?];
        let front = server.address("front")?;
        Ok(Self { server, front, tokens })
    }

    fn connection(&self, which: usize) -> Connection {
        Connection::new(self.front, self.token(which), MEDIA_TYPE)
    }

    fn token(&self, which: usize) -> &str {
        self.tokens.get(which).map_or("", String::as_str)
    }
}

/// A person as an identity provider creates one.
fn new_person(number: u64) -> String {
    json!({
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"],
        "userName": format!("new{number:08}@example.com"),
        "externalId": format!("00u{number:08}"),
        "name": {"givenName": "New", "familyName": format!("Person {number}")},
        "emails": [{"value": format!("new{number:08}@example.com"), "type": "work", "primary": true}],
        "active": true,
    })
    .to_string()
}

/// Creates a second, alone and from many clients, in turn with bare commits of rows as large.
fn creates(plan: Plan) -> Result<Value, Failure> {
    let folder = tempfile::tempdir()?;
    let provider = Provider::start(folder.path())?;
    provider.connection(0).send("POST", "/scim/v2/Users", &new_person(0))?.expect(201..202)?;
    let mut newcomers = Newcomers { provider: &provider, next: 1 };
    let bytes = Commits::bytes_of_a_create(folder.path())?;
    let mut bare = Commits::open(folder.path(), bytes)?;
    let mut rates: [Vec<f64>; 3] = Default::default();
    let mut processor_us = Vec::new();
    for _ in 0..plan.rounds {
        let [bare_rates, single_rates, client_rates] = &mut rates;
        bare_rates.push(bare.run(plan.window)?);
        let (before, first) = (provider.server.process.processor_time()?, newcomers.next);
        single_rates.push(newcomers.create(plan.window, 1)?);
        let spent = provider.server.process.processor_time()?.saturating_sub(before).as_secs_f64();
        processor_us.push(spent * 1e6 / f64::from(u32::try_from(newcomers.next - first)?));
        client_rates.push(newcomers.create(plan.window, CLIENTS)?);
    }
    let [bare_rates, single_rates, client_rates] = &rates;
    let ratio =
        |of: &[f64]| rounded(median(&of.iter().zip(bare_rates).map(|(one, bare)| one / bare).collect::<Vec<_>>()));
    Ok(json!({
        "bare_commits_per_s": rounded(median(bare_rates)),
        "single_per_s": rounded(median(single_rates)),
        "single_processor_us": rounded(median(&processor_us)),
        "clients_per_s": rounded(median(client_rates)),
        "ratios": {"single": ratio(single_rates), "clients": ratio(client_rates)},
        "row_bytes": bytes,
        "body_bytes": new_person(0).len(),
    }))
}

/// People who are yet to be created.
struct Newcomers<'a> {
    provider: &'a Provider,
    next: u64,
}

impl Newcomers<'_> {
    /// Creates for a while, over so many connections; how many a second. One client alone waits by spinning: asleep it
    /// would have the server wake it, which a bare commit has nobody to do for. Many sleep where all of them wait.
    fn create(&mut self, window: Duration, connections: usize) -> Result<f64, Failure> {
        let most = u64::try_from(window.as_millis())? * MOST_CREATES;
        let token = self.provider.token(0);
        let requests: Requests = (self.next..self.next + most).map(|number| create(token, number)).collect();
        let plan = client::Plan {
            status: 201,
            spins: connections == 1,
            ..client::Plan::closed(&requests, window, connections)
        };
        let load = client::run(self.provider.front, plan.once(0))?;
        self.next += u64::try_from(load.answers)?;
        Ok(load.answers as f64 / load.time.as_secs_f64())
    }
}

/// A person's create, ready to be sent.
fn create(token: &str, number: u64) -> Box<[u8]> {
    let body = new_person(number);
    let head = format!(
        "POST /scim/v2/Users HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {token}\r\ncontent-type: {MEDIA_TYPE}\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    );
    format!("{head}{body}").into_bytes().into()
}

/// Look-ups, pages and changes of members in a world of so many people.
fn people(users: u64, plan: Plan) -> Result<Value, Failure> {
    let folder = tempfile::tempdir()?;
    let world = World::new(users)?;
    let sizes: Vec<u64> = GROUPS.into_iter().filter(|members| *members <= users).collect();
    ledgers::copy(&world, folder.path())?;
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let store = seed::open(folder.path())?;
        for members in &sizes {
            add_group(&store, &world, *members).await?;
        }
        Ok::<(), Failure>(())
    })?;
    let provider = Provider::start(folder.path())?;
    let mut connection = provider.connection(0);
    let mut turn = 0;
    let user_name_eq = timed(plan.samples, || {
        turn += 1;
        let name = World::username(mix(turn, 21) % users);
        let found =
            connection.json("GET", &format!("/scim/v2/Users?filter=userName%20eq%20%22{name}%22"), &Value::Null)?;
        if found["totalResults"] == 1 { Ok(()) } else { Err(format!("{name} is not found once: {found}").into()) }
    })?;
    let first_page = timed(plan.samples / 4, || page(&mut connection, None).map(drop))?;
    // A small world ends before the far page: its last one stands for it.
    let far = FAR.min(users / PAGE);
    let mut cursor = None;
    for _ in 1..far {
        cursor = Some(page(&mut connection, cursor.as_deref())?.ok_or("the walk ended early")?);
    }
    let far_page = timed(plan.samples / 4, || page(&mut connection, cursor.as_deref()).map(drop))?;
    let mut patches = serde_json::Map::new();
    for members in sizes {
        let id = group_id(members);
        let mut times = serde_json::Map::new();
        for (name, which, query) in [("no_content", 1, ""), ("without_members", 0, "?excludedAttributes=members")] {
            let mut connection = provider.connection(which);
            let target = format!("/scim/v2/Groups/{id}{query}");
            let newcomer = seed::user_id(users - 1);
            let mut turn = 0_u64;
            let took = timed(plan.samples / 4, || {
                turn += 1;
                let operation = if turn % 2 == 1 {
                    json!({"op": "add", "path": "members", "value": [{"value": newcomer}]})
                } else {
                    json!({"op": "remove", "path": format!("members[value eq \"{newcomer}\"]")})
                };
                let body =
                    json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": [operation]});
                connection.send("PATCH", &target, &body.to_string())?.expect(200..205)
            })?;
            times.insert(name.to_owned(), json!(rounded(took)));
        }
        patches.insert(members.to_string(), Value::Object(times));
    }
    drop(provider.server);
    Ok(json!({
        "user_name_eq_us": rounded(user_name_eq),
        "first_page_us": rounded(first_page),
        "far_page_us": rounded(far_page),
        "far_page": far,
        "patch_member_us": patches,
    }))
}

/// The cursor after a page, none after the last.
fn page(connection: &mut Connection, cursor: Option<&str>) -> Result<Option<String>, Failure> {
    let answer = connection.json(
        "GET",
        &format!("/scim/v2/Users?count={PAGE}&attributes=userName,emails&cursor={}", cursor.unwrap_or("")),
        &Value::Null,
    )?;
    if answer["Resources"].as_array().map_or(0, Vec::len) == 0 {
        return Err(format!("an empty page: {answer}").into());
    }
    Ok(answer["nextCursor"].as_str().map(str::to_owned))
}

fn group_id(members: u64) -> String {
    format!("0190a000-0000-7000-8000-0000{members:08}")
}

/// A group of so many members, spread over everybody but the last.
async fn add_group(store: &impl Store, world: &World, members: u64) -> Result<(), Failure> {
    let content = seed::group_content(&group_id(members), &format!("Group of {members}"), &["Reporting"]);
    let steps = vec![seed::create(Kind::Group, group_id(members), content)];
    let made = store.commit(seed::transaction(format!("group-{members}"), steps)).await?;
    let group = made.outcomes.first().ok_or("no group")?.number;
    let apart = ((world.users - 1) / members).max(1);
    let numbers: Vec<Number> = (0..members.min(world.users - 1)).map(|at| world.user_number(at * apart)).collect();
    for (at, part) in numbers.chunks(5_000).enumerate() {
        let step = Step::Members { group, expected: None, add: part.to_vec(), remove: Vec::new() };
        store.commit(seed::transaction(format!("join-{members}-{at}"), vec![step])).await?;
    }
    Ok(())
}

/// The median time of one, in microseconds. A tenth of the runs comes before, to warm up.
fn timed(samples: usize, mut what: impl FnMut() -> Result<(), Failure>) -> Result<f64, Failure> {
    let mut times = Vec::with_capacity(samples);
    for turn in 0..samples + samples / 10 {
        let started = Stopwatch::start();
        what()?;
        if turn >= samples / 10 {
            times.push(started.elapsed().as_secs_f64() * 1e6);
        }
    }
    Ok(quantile(&mut times, 0.5))
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
