//! What a decision costs that no cache knows: at 10 to 10,000 policies and links of templates, by the index and by plain
//! Cedar over all policies, side by side; what loading them costs, and the index alone. What an explanation costs at 100
//! policies and more; who-can and the difference of two folders over 100,000 people.
//!
//! Each folder has 20 actions and a policy for each group (`principal in Group::"gN"`) on one of them, every eighth a
//! forbid; or as many links of one template to one person and one account each. The person asked about holds 12 of the
//! groups, whatever the number of policies. An explanation is of a deny: the person is in none of the groups, and all
//! policies are on one action, or spread over the 20. `--quick` takes a tenth of the rounds and 10,000 people, `--json`
//! prints an object.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a program that measures, and fails by panic"
)]

#[path = "support/people.rs"]
mod people;
#[allow(dead_code, reason = "each benchmark uses a part of it")]
#[path = "support/workload.rs"]
mod workload;

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cedargate::authz::{Authz, AuthzConfig, Page, diff};
use cedargate::clock::Sources;
use cedargate::directory::Directory;
use cedargate::domain::{
    AccessMethods, AdministrationLevel, Asked, Channel, EntityName, Question, Subject, Timestamp, Verdict,
};
use cedargate::policy::{AccountFacts, Asker, Bundle, Facts, Live, PrincipalFacts, ResourceFacts, Source};
use cedargate::telemetry::Metrics;
use cedargate::token::Verifier;
use workload::World;

const ACTIONS: usize = 20;
const GROUPS: usize = 12;

fn folder(policies: usize, links: bool, used: usize) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    std::fs::create_dir(folder.path().join("routes")).unwrap();
    write(
        "schema.cedarschema",
        "entity Organization; entity Group; entity Account in [Organization];
         entity User in [Group] { username: String, administrationLevel: String };
         type Request = { channel: String };",
    );
    let mut routes = String::from("area = \"bench\"\n");
    for action in 0..ACTIONS {
        let _ = write!(routes, "[[action]]\nname = \"a{action}\"\nresource = \"Account\"\n");
    }
    write("routes/all.toml", &routes);
    if links {
        write(
            "rules.cedar",
            "@id(\"share\") permit (principal == ?principal, action == Action::\"a0\", resource == ?resource)
             when { context.channel == \"api\" };",
        );
        let link = |number: usize| {
            format!(
                "{{\"templateId\": \"share\", \"newId\": \"l{number}\", \"values\": {{\"?principal\": {{\"type\": \"User\", \"id\": \"u{number}\"}}, \"?resource\": {{\"type\": \"Account\", \"id\": \"{number}\"}}}}}}"
            )
        };
        write("links.json", &format!("[{}]", (0..policies).map(link).collect::<Vec<_>>().join(",\n")));
    } else {
        let mut rules = String::new();
        for number in 0..policies {
            let effect = if number % 8 == 7 { "forbid" } else { "permit" };
            let _ = writeln!(
                rules,
                "@id(\"p{number}\") {effect} (principal in Group::\"g{number}\", action == Action::\"a{}\", resource is Account) when {{ context.channel == \"api\" }};",
                number % used
            );
        }
        write("rules.cedar", &rules);
    }
    folder
}

/// Nanoseconds for one evaluation: the median of rounds.
fn measure(rounds: usize, mut ask: impl FnMut()) -> f64 {
    let mut times: Vec<f64> = Vec::new();
    let (begin, mut asked) = (Instant::now(), 0_u32);
    while begin.elapsed() < Duration::from_millis(20) {
        ask();
        asked += 1;
    }
    let each = (asked / 4).max(1);
    for _ in 0..rounds {
        let begin = Instant::now();
        for _ in 0..each {
            ask();
        }
        times.push(begin.elapsed().as_secs_f64() * 1e9 / f64::from(each));
    }
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or_default()
}

struct Row {
    kind: &'static str,
    policies: usize,
    load_ms: f64,
    build_ms: f64,
    index_ns: f64,
    plain_ns: f64,
}

fn row(policies: usize, links: bool, rounds: usize) -> Row {
    let folder = folder(policies, links, ACTIONS);
    let begin = Instant::now();
    let bundle = Bundle::load(&Source::Folder(Path::new(folder.path()).into())).unwrap();
    let load_ms = begin.elapsed().as_secs_f64() * 1e3;
    let groups: Vec<String> =
        (0..GROUPS).map(|number| format!("g{}", number * policies.max(GROUPS) / GROUPS)).collect();
    let principal = PrincipalFacts {
        id: "u7",
        username: "jdoe",
        organization: "acme",
        level: AdministrationLevel::BasicUser,
        methods: AccessMethods { dashboard: false, api: true },
        roles: Vec::new(),
        groups: groups.iter().map(String::as_str).collect(),
        accounts: vec!["7"],
        has_assigned_role: false,
        password_changed_at: None,
    };
    let facts = Facts {
        principal: Asker::Person(Box::new(principal)),
        resource: ResourceFacts::Account(AccountFacts { id: "7", organization: "acme", products: Vec::new() }),
        account: None,
        channel: "api",
        now: Timestamp(0),
    };
    let action = bundle.action(bundle.action_named("a0").unwrap()).unwrap();
    let index = bundle.evaluate(action, &facts, &[]).unwrap();
    assert_eq!(index, bundle.evaluate_plainly(action, &facts, &[]).unwrap());
    let index_ns = measure(rounds, || drop(bundle.evaluate(action, &facts, &[]).unwrap()));
    let plain_ns = measure(rounds, || drop(bundle.evaluate_plainly(action, &facts, &[]).unwrap()));
    let build_ms = measure(rounds, || assert_eq!(bundle.index_anew(), policies)) / 1e6;
    Row { kind: if links { "links" } else { "policies" }, policies, load_ms, build_ms, index_ns, plain_ns }
}

fn authz(bundle: &Arc<Bundle>, directory: Directory) -> Authz {
    let config = AuthzConfig { self_check_every: 0, ..AuthzConfig::default() };
    let live = Arc::new(Live::new(Arc::clone(bundle)));
    let (verifier, metrics) = (Arc::new(Verifier::default()), Arc::new(Metrics::new(&[])));
    Authz::new(&config, Arc::new(directory), live, verifier, &Sources::system(), metrics)
}

/// Milliseconds for the explanation of a deny, with all policies on `used` actions.
fn explain_ms(policies: usize, used: usize, rounds: usize) -> f64 {
    let folder = folder(policies, false, used);
    let bundle = Arc::new(Bundle::load(&Source::Folder(folder.path().into())).unwrap());
    let world = World::new(1_000).unwrap();
    let authz = authz(&bundle, people::directory(&world));
    let own = world.accounts_of(7).first().copied().unwrap();
    let (name, account) = (World::username(7), World::account_id(own));
    let resource = Some(EntityName::new("Account", &account));
    let asked = Asked::Action { action: "a0", properties: &[], resource };
    let subject = Subject::User(&name);
    let question = Question { subject, asked, channel: Channel::Api, context: &[], least_revision: None };
    let explained = authz.view().explain(&question).unwrap();
    assert_eq!(explained.decision.verdict(), Verdict::Deny);
    assert!(!explained.explanation.unwrap().grants.is_empty());
    measure(rounds, || drop(authz.view().explain(&question).unwrap())) / 1e6
}

/// Figures over many people, by name, in milliseconds.
fn over_people(users: u64, rounds: usize) -> Vec<(String, f64)> {
    let mut figures = Vec::new();
    let shipped = Arc::new(Bundle::load(&Source::Shipped).unwrap());
    let world = World::new(users).unwrap();
    let authz = authz(&shipped, people::directory(&world));
    let account = World::account_id(3);
    for (name, action, kind, id) in [
        ("who-can createOrder on one account", "createOrder", "Account", account.as_str()),
        ("who-can createUser in the organization", "createUser", "Organization", workload::ORGANIZATION),
    ] {
        let asked = Asked::Action { action, properties: &[], resource: Some(EntityName::new(kind, id)) };
        let ask = || authz.view().subjects("User", &asked, Channel::Api, &[], Page::ALL).unwrap();
        assert!(!ask().ids.is_empty(), "{name}: nobody");
        figures.push((name.to_owned(), measure(rounds.div_ceil(5), || drop(ask())) / 1e6));
    }
    let name = World::username(7);
    let asked = Asked::Request { method: "POST", host: None, path: "/api/v1/users" };
    let subject = Subject::User(&name);
    let question = Question { subject, asked, channel: Channel::Api, context: &[], least_revision: None };
    let explain = || drop(authz.view().explain(&question).unwrap());
    figures.push(("explain createUser, shipped policies".into(), measure(rounds.div_ceil(5), explain) / 1e6));

    let changed = tempfile::tempdir().unwrap();
    let shipped_folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies");
    people::copy(&shipped_folder, changed.path());
    let more = "@id(\"more\") @reason(\"role\") permit (principal in Role::\"Messaging Insights\", action == Action::\"createOrder\", resource is Account);";
    std::fs::write(changed.path().join("more.cedar"), more).unwrap();
    let new = Arc::new(Bundle::load(&Source::Folder(changed.path().into())).unwrap());
    let directory = Arc::new(people::directory(&world));
    let compare = || diff::compare(&shipped, &new, &directory, &Sources::system()).unwrap();
    assert!(compare().changes.iter().any(|change| change.gains && change.people.count > 1));
    figures.push(("diff, one permit more".into(), measure(rounds.div_ceil(10), || drop(compare())) / 1e6));
    let closed = "@id(\"closed\") forbid (principal, action, resource) when { context.channel == \"dashboard\" };";
    std::fs::write(changed.path().join("more.cedar"), closed).unwrap();
    let new = Arc::new(Bundle::load(&Source::Folder(changed.path().into())).unwrap());
    let begin = Instant::now();
    let every = diff::compare(&shipped, &new, &directory, &Sources::system()).unwrap();
    assert!(!every.changes.is_empty());
    figures.push(("diff, every endpoint changes (once)".into(), begin.elapsed().as_secs_f64() * 1e3));
    figures
}

fn main() {
    let has = |flag: &str| std::env::args().any(|argument| argument == flag);
    let (rounds, users) = if has("--quick") { (5, 10_000) } else { (50, 100_000) };
    let sizes = [10, 100, 1_000, 10_000];
    let rows: Vec<Row> =
        [false, true].into_iter().flat_map(|links| sizes.map(|policies| row(policies, links, rounds))).collect();
    let explained: Vec<(usize, usize, f64)> = [(100, ACTIONS), (100, 1), (1_000, ACTIONS)]
        .into_iter()
        .map(|(policies, used)| (policies, used, explain_ms(policies, used, rounds)))
        .collect();
    let people = over_people(users, rounds);
    if has("--json") {
        let rows = rows.iter().map(|row| {
            serde_json::json!({"kind": row.kind, "policies": row.policies, "load_ms": row.load_ms,
                "build_ms": row.build_ms, "index_ns": row.index_ns, "plain_ns": row.plain_ns})
        });
        let explained = explained.iter().map(
            |(policies, actions, ms)| serde_json::json!({"policies": policies, "actions": actions, "explain_ms": ms}),
        );
        let people: serde_json::Map<String, serde_json::Value> =
            people.into_iter().map(|(name, ms)| (name, ms.into())).collect();
        println!(
            "{}",
            serde_json::json!({"decide": rows.collect::<Vec<_>>(), "explain": explained.collect::<Vec<_>>(),
                "users": users, "people_ms": people})
        );
        return;
    }
    println!(
        "{:<10} {:>8} {:>12} {:>12} {:>14} {:>14} {:>8}",
        "", "number", "load ms", "build ms", "index ns", "plain ns", "times"
    );
    for row in rows {
        println!(
            "{:<10} {:>8} {:>12.1} {:>12.3} {:>14.0} {:>14.0} {:>8.1}",
            row.kind,
            row.policies,
            row.load_ms,
            row.build_ms,
            row.index_ns,
            row.plain_ns,
            row.plain_ns / row.index_ns
        );
    }
    println!("\n{:<10} {:>8} {:>12}", "explain", "actions", "ms");
    for (policies, actions, ms) in explained {
        println!("{policies:<10} {actions:>8} {ms:>12.2}");
    }
    println!("\n{users} people {:>41}", "ms");
    for (name, ms) in people {
        println!("{name:<44} {ms:>12.1}");
    }
}
