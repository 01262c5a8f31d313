//! What the server tells of the time that decisions take: to whoever scrapes, and to a gateway that may ask.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::{Client, Reply, TestServer};

const STAGES: [&str; 8] = ["parse", "wait", "token", "route", "principal", "cache", "engine", "write"];
const MISSES: [&str; 7] = ["first", "no-row", "context", "too-long", "unkeyed", "momentary", "error"];

struct Scene {
    server: TestServer,
    _folder: tempfile::TempDir,
}

impl Scene {
    /// One person, `jdoe`, on account 100.
    fn new(environment: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let server = TestServer::start_with(&folder.path().join("data"), environment);
        let mut operator = server.doors().operator();
        operator.organization("acme");
        operator.account("acme", "100", &[]);
        let mut scim = server.doors().provisioner(&operator.connection("acme", "generic"));
        let extension = "urn:ietf:params:scim:schemas:extension:cedargate:2.0:User";
        let user = json!({"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User", extension], "userName": "jdoe",
            "externalId": "00u1", "active": true, extension: {"accessMethods": ["api", "dashboard"], "accounts": ["100"]}});
        scim.call("POST", "Users", &user).expect(&[201]);
        Self { server, _folder: folder }
    }

    fn asks(&self, value: &str) -> Client {
        self.server.doors().anonymous("gate").header("Cedargate-Timing", value)
    }

    /// What `/metrics` says of these series, by label.
    fn figures(&self, family: &str, label: &str) -> BTreeMap<String, u64> {
        let text = self.server.doors().anonymous("ops").json("GET", "/metrics", &Value::Null).expect(&[200]).text();
        let start = format!("{family}{{{label}=\"");
        let lines = text.lines().filter_map(|line| line.strip_prefix(&start)?.split_once("\"} "));
        lines.map(|(name, value)| (name.to_owned(), value.parse().unwrap())).collect()
    }

    fn stages(&self) -> BTreeMap<String, u64> {
        self.figures("cedargate_decision_stage_seconds_count", "stage")
    }
}

fn orders() -> Value {
    json!({"subject": {"user": "jdoe"}, "request": {"method": "GET", "path": "/api/accounts/100/orders"}})
}

fn ask(client: &mut Client, question: &Value) -> Reply {
    client.json("POST", "/v1/authorize", question).expect(&[200])
}

/// The metrics of a `Server-Timing` value (W3C Server Timing, section 3): name, description, and that it has a duration.
fn timing(reply: &Reply) -> Vec<(String, Option<String>)> {
    let value = reply.header("server-timing").unwrap_or_else(|| panic!("no times in {:?}", reply.headers));
    let metric = |metric: &str| {
        let mut parts = metric.trim().split(';');
        let name = parts.next().unwrap().to_owned();
        let parameters: BTreeMap<&str, &str> = parts.map(|part| part.split_once('=').unwrap()).collect();
        let milliseconds: f64 = parameters["dur"].parse().unwrap();
        assert!(milliseconds > 0.0 && milliseconds < 60_000.0, "{value}");
        (name, parameters.get("desc").map(|words| (*words).to_owned()))
    };
    value.split(',').map(metric).collect()
}

fn named(stages: &[(&str, Option<&str>)]) -> Vec<(String, Option<String>)> {
    stages.iter().map(|(name, found)| ((*name).to_owned(), found.map(str::to_owned))).collect()
}

#[test]
fn a_gateway_that_may_explain_learns_the_times_of_its_answer() {
    let scene = Scene::new(&[("CEDARGATE_GATE__EXPLAIN", "true")]);
    let mut client = scene.asks("1");
    let first = timing(&ask(&mut client, &orders()));
    let way = |found| {
        named(&[("parse", None), ("route", None), ("principal", None), ("cache", Some(found)), ("write", None)])
    };
    let mut missed = way("miss");
    missed.insert(4, ("engine".to_owned(), None));
    assert_eq!(first, missed);
    // The answer is kept from the second time on.
    assert_eq!(timing(&ask(&mut client, &orders())), way("row"));
    assert_eq!(timing(&ask(&mut client, &orders())), named(&[("cache", Some("answer")), ("write", None)]));
    // Another text, so no answer is kept, and the same row.
    let mut other = orders();
    other["channel"] = json!("api");
    assert_eq!(timing(&ask(&mut client, &other)), way("row"));
    // A path that nothing answers: neither the person nor a policy was looked at.
    other["request"]["path"] = json!("/nowhere");
    let nowhere = named(&[("parse", None), ("route", None), ("cache", Some("none")), ("write", None)]);
    assert_eq!(timing(&ask(&mut client, &other)), nowhere);
    let by_token = json!({"subject": {"authorization": "Bearer a.b.c"}, "request": orders()["request"]});
    let names: Vec<String> = timing(&ask(&mut client, &by_token)).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["parse", "token", "route", "principal", "cache", "write"]);
    // What is not asked for is not sent, and only this word asks.
    for mut other in [scene.server.doors().anonymous("gate"), scene.asks("0"), scene.asks("")] {
        assert_eq!(ask(&mut other, &orders()).header("server-timing"), None);
    }
}

#[test]
fn from_anybody_else_the_request_for_times_is_ignored() {
    let scene = Scene::new(&[]);
    let (mut asks, mut plain) = (scene.asks("1"), scene.server.doors().anonymous("gate"));
    for question in [orders(), orders(), json!({"subject": {"user": "x"}, "action": "nothing"})] {
        let (one, other) = (ask(&mut asks, &question), ask(&mut plain, &question));
        assert_eq!(one.header("server-timing"), None);
        let names = |reply: &Reply| reply.headers.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&one), names(&other));
    }
}

#[test]
fn stages_are_measured_once_somebody_scrapes() {
    let scene = Scene::new(&[]);
    let mut client = scene.server.doors().anonymous("gate");
    let ask_all = |client: &mut Client, first: u32| {
        for number in first..first + 200 {
            // Different texts, so that no answer is kept.
            let path = format!("/api/accounts/100/orders?{number}");
            let question = json!({"subject": {"user": "jdoe"}, "request": {"method": "GET", "path": path}});
            assert_eq!(ask(client, &question).json()["decision"], "permit");
        }
    };
    ask_all(&mut client, 0);
    let before = scene.stages();
    assert_eq!(before, STAGES.map(|stage| (stage.to_owned(), 0)).into(), "nobody had looked");
    ask_all(&mut client, 200);
    let after = scene.stages();
    for (stage, count) in after {
        // The only evaluation was before anybody looked; nobody waits for a revision or brings a token.
        let expected = if ["engine", "wait", "token"].contains(&&*stage) { 0..=0 } else { 3..=4 };
        assert!(expected.contains(&count), "{stage}: {count}");
    }
    // A question asked again is told by where it was found.
    (0..200).for_each(|_| drop(ask(&mut client, &orders())));
    let answered = scene.figures("cedargate_decision_stage_seconds_count", "stage");
    assert!(answered["cache"] >= 6 && answered["write"] >= 6 && answered["parse"] <= 5, "{answered:?}");
}

#[test]
fn every_miss_has_its_reason() {
    let scene = Scene::new(&[]);
    let mut client = scene.server.doors().anonymous("gate");
    assert_eq!(
        scene.figures("cedargate_cache_misses_total", "reason"),
        MISSES.map(|reason| (reason.to_owned(), 0)).into()
    );
    let mut misses = |path: &str| {
        let before = scene.figures("cedargate_cache_misses_total", "reason");
        ask(&mut client, &json!({"subject": {"user": "jdoe"}, "request": {"method": "GET", "path": path}}));
        let after = scene.figures("cedargate_cache_misses_total", "reason");
        let more: Vec<String> =
            after.into_iter().filter(|(reason, count)| before[reason] < *count).map(|(r, _)| r).collect();
        more.join(" ")
    };
    assert_eq!(misses("/api/accounts/100/orders"), "first");
    assert_eq!(misses("/api/accounts/100/orders?again"), "", "the row");
    assert_eq!(misses("/api/users/jdoe"), "no-row", "reads who asks");
    assert_eq!(misses("/api/users/jdoe?again"), "", "the cache");
    assert_eq!(misses("/api/accounts/7/orders"), "unkeyed", "no such account");
    assert_eq!(misses("/api/accounts/7/orders?again"), "unkeyed");
    assert_eq!(misses("/nowhere"), "", "no policy was asked");
    let missed: u64 = scene.figures("cedargate_cache_misses_total", "reason").values().sum();
    let text = scene.server.doors().anonymous("ops").json("GET", "/metrics", &Value::Null).text();
    let told =
        text.lines().filter(|line| line.starts_with("cedargate_decisions_total{") && line.contains("cache=\"miss\""));
    assert_eq!(told.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum::<u64>(), missed);
}
