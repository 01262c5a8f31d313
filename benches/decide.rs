//! What a decision costs that no cache knows: at 10 to 10,000 policies and links of templates, by the index and by plain
//! Cedar over all policies, side by side; and what loading them costs.
//!
//! Each folder has 20 actions and a policy for each group (`principal in Group::"gN"`) on one of them, every eighth a
//! forbid; or as many links of one template to one person and one account each. The person asked about holds 12 of the
//! groups, whatever the number of policies. `--quick` takes a tenth of the rounds, `--json` prints an object.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a program that measures, and fails by panic"
)]

use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use cedargate::domain::{AccessMethods, AdministrationLevel, Timestamp};
use cedargate::policy::{AccountFacts, Asker, Bundle, Facts, PrincipalFacts, ResourceFacts, Source};

const ACTIONS: usize = 20;
const GROUPS: usize = 12;

fn folder(policies: usize, links: bool) -> tempfile::TempDir {
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
                number % ACTIONS
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
    index_ns: f64,
    plain_ns: f64,
}

fn row(policies: usize, links: bool, rounds: usize) -> Row {
    let folder = folder(policies, links);
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
    Row { kind: if links { "links" } else { "policies" }, policies, load_ms, index_ns, plain_ns }
}

fn main() {
    let has = |flag: &str| std::env::args().any(|argument| argument == flag);
    let rounds = if has("--quick") { 5 } else { 50 };
    let sizes = [10, 100, 1_000, 10_000];
    let rows: Vec<Row> =
        [false, true].into_iter().flat_map(|links| sizes.map(|policies| row(policies, links, rounds))).collect();
    if has("--json") {
        let rows = rows.iter().map(|row| {
            serde_json::json!({"kind": row.kind, "policies": row.policies, "load_ms": row.load_ms,
                "index_ns": row.index_ns, "plain_ns": row.plain_ns})
        });
        println!("{}", serde_json::json!({"decide": rows.collect::<Vec<_>>()}));
        return;
    }
    println!("{:<10} {:>8} {:>12} {:>14} {:>14} {:>8}", "", "number", "load ms", "index ns", "plain ns", "times");
    for row in rows {
        println!(
            "{:<10} {:>8} {:>12.1} {:>14.0} {:>14.0} {:>8.1}",
            row.kind,
            row.policies,
            row.load_ms,
            row.index_ns,
            row.plain_ns,
            row.plain_ns / row.index_ns
        );
    }
}
