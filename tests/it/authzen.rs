//! AuthZEN 1.0 over HTTP: the certification scenario as case files, and what it does not ask.

mod dashboard;
mod pages;

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::support::{Client, Doors, Reply, TestServer, report};

const BUNDLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cases/bundles/authzen-certification");

/// A file of requests with what must come back.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    to: Option<String>,
    method: Option<String>,
    #[serde(rename = "case")]
    cases: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    /// What it shows; the number is the scenario's section.
    name: String,
    to: Option<String>,
    method: Option<String>,
    content_type: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    body: String,
    /// How often the same must come back; once where it is left out.
    #[serde(default)]
    times: usize,
    /// 200 where it is left out.
    status: Option<u16>,
    /// Words of an error's text.
    message: Option<String>,
    /// Values by JSON pointer.
    #[serde(default)]
    answer: BTreeMap<String, Value>,
    #[serde(default)]
    answer_headers: BTreeMap<String, String>,
    /// Lengths of arrays by JSON pointer.
    #[serde(default)]
    length: BTreeMap<String, usize>,
    /// What must not stand there.
    #[serde(default)]
    absent: Vec<String>,
    /// What must be among the results.
    #[serde(default)]
    results: Vec<Value>,
    #[serde(default)]
    not_results: Vec<Value>,
}

/// A server with the scenario's bundle, and where its clients are told to find it.
struct Scenario {
    server: TestServer,
    _folder: tempfile::TempDir,
}

impl Scenario {
    fn start(environment: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut all = vec![("CEDARGATE_POLICIES__FOLDER", BUNDLE)];
        all.extend(environment);
        let server = TestServer::start_with(&folder.path().join("data"), &all);
        Self { server, _folder: folder }
    }

    const fn doors(&self) -> &Doors {
        self.server.doors()
    }

    fn client(&self) -> Client {
        self.doors().anonymous("gate")
    }
}

fn post(client: &mut Client, to: &str, body: &Value) -> Reply {
    client.send("POST", to, "application/json", body.to_string().as_bytes()).unwrap()
}

#[test]
fn the_certification_scenario_holds() {
    let scenario = Scenario::start(&[("CEDARGATE_GATE__PUBLIC_URL", "https://pdp.example.com")]);
    let mut paths: Vec<_> =
        std::fs::read_dir("tests/cases/authzen").unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let (mut faults, mut requests) = (Vec::new(), 0);
    for path in &paths {
        let file: File = toml::from_str(&std::fs::read_to_string(path).unwrap())
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        report(&format!("{}: {} requests", path.display(), file.cases.len()));
        requests += file.cases.len();
        for case in &file.cases {
            for _ in 0..case.times.max(1) {
                let found = replay(&scenario, &file, case);
                faults.extend(found.iter().map(|fault| format!("{}: {}: {fault}", path.display(), case.name)));
            }
        }
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
    assert!(requests >= 120, "{requests}");
}

fn replay(scenario: &Scenario, file: &File, case: &Case) -> Vec<String> {
    let to = case.to.as_ref().or(file.to.as_ref()).expect("a path");
    let method = case.method.as_ref().or(file.method.as_ref()).map_or("POST", String::as_str);
    let content_type = case.content_type.as_deref().unwrap_or("application/json");
    let mut client = case.headers.iter().fold(scenario.client(), |client, (name, value)| client.header(name, value));
    let reply = client.send(method, to, content_type, case.body.as_bytes()).unwrap();
    let mut faults = Vec::new();
    let mut check = |holds: bool, what: &str| {
        if !holds {
            faults.push(format!("{what} ({} {})", reply.status, reply.text()));
        }
    };
    let status = case.status.unwrap_or(200);
    check(reply.status == status, &format!("the status must be {status}"));
    for (name, value) in &case.answer_headers {
        check(reply.header(name) == Some(value), &format!("{name} must be {value}, is {:?}", reply.header(name)));
    }
    if let Some(words) = &case.message {
        check(reply.text().contains(words.as_str()), &format!("the message must hold {words:?}"));
    }
    if status != 200 {
        // An error's whole body is its sentence: there is no decision in it to take for one.
        let is_text = reply.header("content-type").is_some_and(|kind| kind.starts_with("text/plain"));
        check(is_text && !reply.text().contains("\"decision\""), "an error is a sentence");
        return faults;
    }
    check(reply.header("content-type") == Some("application/json"), "the media type must be JSON");
    let Ok(body) = serde_json::from_slice::<Value>(&reply.body) else {
        return vec![format!("no JSON: {}", reply.text())];
    };
    for (pointer, wanted) in &case.answer {
        check(body.pointer(pointer) == Some(wanted), &format!("{pointer} must be {wanted}"));
    }
    for (pointer, wanted) in &case.length {
        let length = body.pointer(pointer).and_then(Value::as_array).map(Vec::len);
        check(length == Some(*wanted), &format!("{pointer} must hold {wanted}"));
    }
    for pointer in &case.absent {
        check(body.pointer(pointer).is_none(), &format!("{pointer} must not be there"));
    }
    if to.contains("/search/") {
        let results = body["results"].as_array();
        check(results.is_some(), "results must be there");
        let results = results.cloned().unwrap_or_default();
        check(case.results.iter().all(|wanted| results.contains(wanted)), &format!("must hold {:?}", case.results));
        check(case.not_results.iter().all(|other| !results.contains(other)), &format!("no {:?}", case.not_results));
        let names: &[&str] = if to.ends_with("/action") { &["name"] } else { &["type", "id"] };
        let shaped = |result: &Value| result.as_object().is_some_and(|members| members.keys().eq(names));
        check(results.iter().all(shaped), &format!("each result is of {names:?} alone"));
        check(body.pointer("/page/next_token").is_some_and(Value::is_string), "page.next_token must be text");
    }
    let decisions = body.get("evaluations").and_then(Value::as_array).cloned().unwrap_or_default();
    check(decisions.iter().all(|item| item["decision"].is_boolean()), "each decision must be true or false");
    faults
}

#[test]
fn metadata_stands_where_the_public_url_says() {
    let scenario = Scenario::start(&[("CEDARGATE_GATE__PUBLIC_URL", "https://pdp.example.com/authz/t1/")]);
    let get = |path: &str| scenario.client().send("GET", path, "", b"").unwrap();
    let metadata = get("/.well-known/authzen-configuration/authz/t1").expect(&[200]).json();
    assert_eq!(metadata["policy_decision_point"], "https://pdp.example.com/authz/t1");
    assert_eq!(metadata["access_evaluation_endpoint"], "https://pdp.example.com/authz/t1/access/v1/evaluation");
    for other in ["", "/", "/authz", "/authz/t1/", "/authz/t1/x", "/authz/T1"] {
        get(&format!("/.well-known/authzen-configuration{other}")).expect(&[404]);
    }
}

#[test]
fn without_a_public_url_there_is_no_metadata() {
    let scenario = Scenario::start(&[]);
    let mut client = scenario.client().header("X-Request-ID", "none");
    let reply = client.send("GET", "/.well-known/authzen-configuration", "", b"").unwrap().expect(&[404]);
    assert!(reply.text().contains("gate.public_url"), "{}", reply.text());
    assert_eq!(reply.header("x-request-id"), Some("none"));
    let question = json!({"subject": {"type": "user", "id": "alice"}, "action": {"name": "read"},
        "resource": {"type": "record", "id": "record-1"}});
    assert_eq!(post(&mut client, "/access/v1/evaluation", &question).expect(&[200]).json()["decision"], true);
}

#[test]
fn a_gateway_without_the_token_is_told_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let tokens = folder.path().join("tokens");
    let token = "0123456789abcdef0123456789abcdef";
    std::fs::write(&tokens, format!("{token}\n")).unwrap();
    let scenario = Scenario::start(&[("CEDARGATE_GATE__CREDENTIAL_FILE", tokens.to_str().unwrap())]);
    let question = json!({"subject": {"type": "user", "id": "alice"}, "action": {"name": "read"},
        "resource": {"type": "record", "id": "record-1"}});
    let endpoints = ["evaluation", "evaluations", "search/subject", "search/resource", "search/action"];
    for path in endpoints.map(|name| format!("/access/v1/{name}")) {
        for client in [scenario.client(), scenario.client().bearer("0123456789abcdef0123456789abcdeF")] {
            let mut client = client.header("X-Request-ID", "who");
            let reply = post(&mut client, &path, &question).expect(&[401]);
            assert!(reply.header("www-authenticate").is_some(), "{path}");
            assert_eq!(reply.header("x-request-id"), Some("who"));
            assert!(reply.header("content-type").is_some_and(|kind| kind.starts_with("text/plain")), "{path}");
            assert!(!reply.text().contains('{'), "{path}: {}", reply.text());
        }
        post(&mut scenario.client().bearer(token), &path, &question).expect(&[200]);
    }
}

#[test]
fn a_batch_holds_a_thousand_and_no_more() {
    let scenario = Scenario::start(&[]);
    let item = json!({"resource": {"type": "record", "id": "record-1"}});
    let batch = |size: usize| json!({"subject": {"type": "user", "id": "alice"}, "action": {"name": "read"}, "evaluations": vec![&item; size]});
    let mut client = scenario.client();
    let answer = post(&mut client, "/access/v1/evaluations", &batch(1000)).expect(&[200]).json();
    let decisions = answer["evaluations"].as_array().unwrap();
    assert_eq!(decisions.len(), 1000);
    assert!(decisions.iter().all(|item| item["decision"] == true), "{answer}");
    let one_revision = |item: &Value| item["context"]["revision"] == decisions[0]["context"]["revision"];
    assert!(decisions.iter().all(one_revision), "one state of the world");
    let refused = post(&mut client, "/access/v1/evaluations", &batch(1001)).expect(&[400]);
    assert!(refused.text().contains("1000"), "{}", refused.text());
}

#[test]
fn huge_bodies_are_refused_with_the_request_id() {
    let scenario = Scenario::start(&[]);
    let body = format!("{{\"foo\":\"{}\"}}", "x".repeat(10 << 20));
    let mut client = scenario.client().header("X-Request-ID", "huge");
    // The server may stop reading and close; what it must not do is take it.
    if let Ok(reply) = client.send("POST", "/access/v1/evaluation", "application/json", body.as_bytes()) {
        assert_eq!(reply.status, 413, "{}", reply.text());
        assert_eq!(reply.header("x-request-id"), Some("huge"));
    }
}
