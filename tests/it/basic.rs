//! HTTP Basic for API users, end to end: who gets in, what ends it, and that a password shows nowhere.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::{Answer, Operator, Provisioner, TestServer};

const USER: &str = "urn:ietf:params:scim:schemas:core:2.0:User";
const USER_EXTENSION: &str = "urn:ietf:params:scim:schemas:extension:cedargate:2.0:User";
const PATCH: &str = "urn:ietf:params:scim:api:messages:2.0:PatchOp";

const WRONG: &str = "username and password do not hold; after several wrong ones wait a minute and try again";
const NOT_UNDERSTOOD: &str = "the Authorization header holds no bearer token";

/// A server with a connection that synchronises passwords, unless it is told not to, and one API user, `jdoe`.
struct Scene {
    server: TestServer,
    operator: Operator,
    scim: Provisioner,
    jdoe: String,
    folder: tempfile::TempDir,
}

fn user(name: &str, methods: &[&str]) -> Value {
    json!({"schemas": [USER, USER_EXTENSION], "userName": name, "externalId": format!("00u-{name}"), "active": true,
        USER_EXTENSION: {"accessMethods": methods, "accounts": ["100"]}})
}

impl Scene {
    fn new(password_sync: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let server = TestServer::start_with(&folder.path().join("data"), &[("CEDARGATE_LOG__FILTER", "trace")]);
        let mut operator = server.doors().operator();
        operator.organization("acme");
        operator.account("acme", "100", &[]);
        let connection = json!({"name": "acme", "organization": "acme", "profile": "generic",
            "settings": {"password_sync": password_sync}});
        let made = operator.call("POST", "connections", &connection).expect(&[201]).json();
        let mut scim = server.doors().provisioner(made["token"].as_str().unwrap());
        let made = scim.call("POST", "Users", &user("jdoe", &["api"])).expect(&[201]).json();
        let jdoe = made["id"].as_str().unwrap().to_owned();
        Self { server, operator, scim, jdoe, folder }
    }

    fn ask(&self, username: &str, password: &str) -> Answer {
        self.server.doors().asker().ask(&question(username, password))
    }

    /// Whether it opens, or the reason why not.
    #[track_caller]
    fn reason(&self, username: &str, password: &str) -> String {
        let answer = self.ask(username, password);
        if answer.permit { "permit".to_owned() } else { answer.reason }
    }

    fn put(&mut self, who: &str, password: &str) {
        let reply = self.operator.call("PUT", &format!("users/{who}/password"), &json!({"password": password}));
        let reply = reply.expect(&[204]);
        assert!(reply.body.is_empty() && reply.header("cedargate-revision").is_some());
    }

    fn patch(&mut self, operations: &Value) -> Value {
        let body = json!({"schemas": [PATCH], "Operations": operations});
        self.scim.call("PATCH", &format!("Users/{}", self.jdoe), &body).expect(&[200]).json()
    }
}

fn header(username: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{username}:{password}")))
}

fn question(username: &str, password: &str) -> Value {
    json!({"subject": {"authorization": header(username, password)},
        "request": {"method": "GET", "path": "/api/accounts/100/orders"}})
}

#[test]
fn until_somebody_has_a_password_basic_is_not_understood() {
    let mut scene = Scene::new(false);
    let refused = |scene: &Scene| {
        let answer = scene.ask("jdoe", "correct horse");
        assert_eq!(
            (answer.permit, answer.reason.as_str(), answer.message.as_str()),
            (false, "unauthenticated", NOT_UNDERSTOOD)
        );
    };
    refused(&scene);
    // Without `password_sync` a password is taken without effect, as ever.
    scene.patch(&json!([{"op": "replace", "path": "password", "value": "correct horse"}]));
    refused(&scene);
    scene.put("jdoe", "correct horse");
    assert_eq!(scene.reason("jdoe", "correct horse"), "permit");
}

#[test]
fn whoever_does_not_hold_hears_the_same_sentence() {
    let mut scene = Scene::new(true);
    scene.scim.call("POST", "Users", &user("dash", &["dashboard"])).expect(&[201]);
    scene.scim.call("POST", "Users", &user("bare", &["api"])).expect(&[201]);
    scene.put(&scene.jdoe.clone(), "right");
    scene.put("dash", "right");
    assert_eq!((scene.reason("jdoe", "right"), scene.reason("JDoe", "right")), ("permit".into(), "permit".into()));
    for (username, password) in
        [("jdoe", "wrong"), ("nobody", "right"), ("dash", "right"), ("bare", "right"), (&*scene.jdoe, "right")]
    {
        let answer = scene.ask(username, password);
        let told = (answer.permit, answer.reason.as_str(), answer.message.as_str());
        assert_eq!(told, (false, "unauthenticated", WRONG), "{username}");
    }
    let unreadable = json!({"subject": {"authorization": "Basic %%%"}, "request": {"method": "GET", "path": "/api/accounts/100/orders"}});
    assert!(scene.server.doors().asker().ask(&unreadable).message.contains("no readable username"));
    // A batch gets it through the same door.
    let answers = scene.server.doors().asker().batch(&[question("jdoe", "right"), question("jdoe", "wrong")]);
    assert_eq!(answers.iter().map(|answer| answer.permit).collect::<Vec<_>>(), [true, false]);
}

#[test]
fn a_gateway_that_asks_in_opas_way_may_pass_it_on_and_learns_what_to_ask_for() {
    let mut scene = Scene::new(false);
    let ask = |server: &TestServer, authorization: &str| {
        let http =
            json!({"method": "GET", "path": "/api/accounts/100/orders", "headers": {"authorization": authorization}});
        let body = json!({"input": {"request": {"http": http}}});
        let path = "/v1/data/cedargate/authz";
        server.doors().anonymous("gate").try_json("POST", path, &body).unwrap().expect(&[200]).json()["result"].clone()
    };
    let challenge = |result: &Value| result["headers"]["www-authenticate"].as_str().unwrap_or_default().to_owned();
    // As long as nobody has a password, none is asked for.
    let nobody = ask(&scene.server, "Bearer x");
    assert_eq!((&nobody["allow"], challenge(&nobody).as_str()), (&json!(false), "Bearer"));
    scene.put("jdoe", "right");
    let right = ask(&scene.server, &header("jdoe", "right"));
    assert_eq!((&right["allow"], &right["headers"]["cedargate-user"]), (&json!(true), &json!("jdoe")), "{right}");
    let wrong = ask(&scene.server, &header("jdoe", "wrong"));
    let asked_for = "Basic realm=\"api\", charset=\"UTF-8\"";
    assert_eq!(
        (&wrong["allow"], &wrong["status"], challenge(&wrong).as_str()),
        (&json!(false), &json!(401), asked_for)
    );
    // A new process finds by itself that there are passwords, before anybody shows one.
    scene.server.kill();
    let server = TestServer::start_on(&scene.folder.path().join("data"));
    while challenge(&ask(&server, "Bearer x")) != asked_for {}
}

#[test]
fn a_changed_password_and_a_changed_person_count_at_once() {
    let mut scene = Scene::new(false);
    scene.put("jdoe", "first");
    // Twice, so that it is remembered.
    assert_eq!((scene.reason("jdoe", "first"), scene.reason("jdoe", "first")), ("permit".into(), "permit".into()));
    scene.put("jdoe", "second");
    assert_eq!(
        (scene.reason("jdoe", "first"), scene.reason("jdoe", "second")),
        ("unauthenticated".into(), "permit".into())
    );
    // The same one again changes nothing.
    let revision = scene.ask("jdoe", "second").revision;
    scene.put("jdoe", "second");
    assert_eq!(scene.ask("jdoe", "second").revision, revision);

    scene.patch(&json!([{"op": "replace", "path": "active", "value": false}]));
    assert_eq!(scene.reason("jdoe", "second"), "deactivated");
    scene.patch(&json!([{"op": "replace", "path": "active", "value": true}]));
    assert_eq!(scene.reason("jdoe", "second"), "permit");
    scene.patch(&json!([{"op": "replace", "path": format!("{USER_EXTENSION}:accessMethods"), "value": ["dashboard"]}]));
    assert_eq!(scene.reason("jdoe", "second"), "unauthenticated");
    scene.patch(&json!([{"op": "replace", "path": format!("{USER_EXTENSION}:accessMethods"), "value": ["api"]}]));
    assert_eq!(scene.reason("jdoe", "second"), "permit");

    // It outlives the process, and ends when an operator says so.
    scene.server.kill();
    scene.server = TestServer::start_with(&scene.folder.path().join("data"), &[]);
    scene.operator = scene.server.doors().operator();
    assert_eq!(scene.reason("jdoe", "second"), "permit");
    for _ in 0..2 {
        scene.operator.call("DELETE", "users/jdoe/password", &Value::Null).expect(&[204]);
        assert_eq!(scene.reason("jdoe", "second"), "unauthenticated");
    }
}

#[test]
fn what_an_operator_gave_stays_given() {
    let mut scene = Scene::new(true);
    scene.operator.call("PATCH", "users/jdoe", &json!({"roles": ["Ordering"]})).expect(&[200]);
    scene.put("jdoe", "correct horse battery");
    scene.operator.call("DELETE", "users/jdoe/password", &Value::Null).expect(&[204]);
    let shown = scene.operator.call("GET", &format!("users/{}", scene.jdoe), &Value::Null).expect(&[200]).json();
    assert_eq!(shown["effective"]["roles"][0]["name"], "Ordering", "{shown}");
}

#[test]
fn deletion_and_a_new_link_void_it() {
    let mut scene = Scene::new(true);
    scene.put("jdoe", "right");
    assert_eq!(scene.reason("jdoe", "right"), "permit");
    let path = format!("Users/{}", scene.jdoe);
    scene.scim.call("DELETE", &path, &Value::Null).expect(&[204]);
    assert!(!scene.ask("jdoe", "right").permit);
    let again = scene.scim.call("POST", "Users", &user("jdoe", &["api"])).expect(&[201]).json();
    assert_eq!(again["id"], json!(scene.jdoe), "the same person");
    assert_eq!(scene.reason("jdoe", "right"), "unauthenticated");
    // A link to somebody who was only deactivated, and one that brings a password of its own.
    scene.put("jdoe", "right");
    scene.patch(&json!([{"op": "replace", "path": "active", "value": false}]));
    let mut with_password = user("jdoe", &["api"]);
    with_password["password"] = json!("brought along");
    scene.scim.call("POST", "Users", &with_password).expect(&[201]);
    assert_eq!(scene.reason("jdoe", "right"), "unauthenticated");
    assert_eq!(scene.reason("jdoe", "brought along"), "permit");
    let refused = scene.operator.call("PUT", "users/nobody/password", &json!({"password": "x"}));
    refused.expect(&[404]);
}

#[test]
fn connections_that_synchronise_passwords_set_them() {
    let mut scene = Scene::new(true);
    let path = format!("Users/{}", scene.jdoe);
    let patched = scene.patch(&json!([{"op": "replace", "path": "password", "value": "by patch"}]));
    assert!(patched.get("password").is_none());
    // When it was set is a read-only fact, told to those who ask for it.
    let asked = format!("{path}?attributes={USER_EXTENSION}:passwordChangedAt");
    let told = scene.scim.call("GET", &asked, &Value::Null).expect(&[200]).json();
    assert!(told[USER_EXTENSION]["passwordChangedAt"].is_string(), "{told}");
    assert_eq!(scene.reason("jdoe", "by patch"), "permit");
    scene.patch(&json!([{"op": "replace", "value": {"password": "without path"}}]));
    assert_eq!(
        (scene.reason("jdoe", "by patch"), scene.reason("jdoe", "without path")),
        ("unauthenticated".into(), "permit".into())
    );
    let mut replaced = user("jdoe", &["api"]);
    replaced["password"] = json!("by put");
    let answer = scene.scim.call("PUT", &path, &replaced).expect(&[200]).json();
    assert!(answer.get("password").is_none());
    assert_eq!(
        (scene.reason("jdoe", "without path"), scene.reason("jdoe", "by put")),
        ("unauthenticated".into(), "permit".into())
    );
    // A PUT without one leaves it, and the same again moves no version.
    scene.scim.call("PUT", &path, &user("jdoe", &["api"])).expect(&[200]);
    assert_eq!(scene.reason("jdoe", "by put"), "permit");
    let same = scene.scim.call("PUT", &path, &replaced).expect(&[200]).json();
    let again = scene.scim.call("PUT", &path, &replaced).expect(&[200]).json();
    assert_eq!(same["meta"]["version"], again["meta"]["version"]);
    let mut made = user("root", &["api"]);
    made["password"] = json!("by post");
    scene.scim.call("POST", "Users", &made).expect(&[201]);
    assert_eq!(scene.reason("root", "by post"), "permit");
    // Too long: refused whole, by either door, and nothing changes.
    let long = "x".repeat(1025);
    replaced["password"] = json!(long);
    scene.scim.call("PUT", &path, &replaced).expect(&[400]);
    for wrong in [
        json!({"password": long}),
        json!({"password": ""}),
        json!({"password": 7}),
        json!({}),
        json!({"password": "x", "y": 1}),
    ] {
        let refused = scene.operator.call("PUT", "users/jdoe/password", &wrong).expect(&[400]);
        assert!(!refused.text().contains("xxx"), "{}", refused.text());
    }
    assert_eq!(scene.reason("jdoe", "by put"), "permit");
}

#[test]
fn after_ten_wrong_ones_the_username_waits() {
    let mut scene = Scene::new(false);
    scene.scim.call("POST", "Users", &user("root", &["api"])).expect(&[201]);
    scene.put("jdoe", "right");
    scene.put("root", "right");
    assert_eq!(scene.reason("root", "right"), "permit");
    for at in 0..10 {
        assert_eq!(scene.reason("jdoe", &format!("wrong-{at}")), "unauthenticated");
        assert_eq!(scene.reason("root", &format!("wrong-{at}")), "unauthenticated");
    }
    // Too late, and told in the same words as a wrong one; what was remembered before holds on.
    assert_eq!(scene.ask("jdoe", "right").message, WRONG);
    assert_eq!(scene.reason("root", "right"), "permit");
}

#[test]
fn every_gateway_gets_it_through_the_same_door() {
    let mut scene = Scene::new(false);
    scene.put("jdoe", "right");
    let asked = |password: &str| {
        let shown = header("jdoe", password);
        let ask = |path: &str, more: &[(&str, &str)]| {
            let client = scene.server.doors().anonymous("gate").header("Authorization", &shown);
            let mut client = more.iter().fold(client, |client, (name, value)| client.header(name, value));
            client.json("GET", path, &Value::Null).status
        };
        let uri = "/api/accounts/100/orders";
        [
            ask("/forward-auth", &[("X-Forwarded-Method", "GET"), ("X-Forwarded-Uri", uri), ("X-Forwarded-Host", "a")]),
            ask("/auth-request", &[("X-Original-Method", "GET"), ("X-Original-URI", uri), ("X-Original-Host", "a")]),
            ask(&format!("/envoy{uri}"), &[]),
        ]
    };
    assert_eq!(asked("right"), [200, 200, 200]);
    for status in asked("wrong") {
        assert!(status == 401 || status == 403, "{status}");
    }
}

#[test]
fn a_password_shows_nowhere() {
    let mut scene = Scene::new(true);
    const SECRETS: [&str; 3] = ["Tr0ub4dor-and-3", "Zx9-wr0ng-guess", "Kq7-by-operator"];
    let [synchronised, wrong, operators] = SECRETS;
    let mut shown = Vec::new();
    shown.push(scene.patch(&json!([{"op": "replace", "path": "password", "value": synchronised}])).to_string());
    shown.push(format!("{:?}", scene.ask("jdoe", synchronised)));
    shown.push(format!("{:?}", scene.ask("jdoe", wrong)));
    let misplaced = json!({"password": {"password": operators}, operators: operators});
    shown.push(scene.operator.call("PUT", "users/jdoe/password", &misplaced).expect(&[400]).text());
    scene.put("jdoe", operators);
    shown.push(format!("{:?}", scene.ask("jdoe", operators)));
    let connections = scene.operator.call("GET", "connections", &Value::Null).expect(&[200]).json();
    let connection = connections["items"][0]["id"].as_str().unwrap().to_owned();
    let events =
        scene.operator.call("GET", &format!("connections/{connection}/events"), &Value::Null).expect(&[200]).json();
    for event in events["items"].as_array().unwrap() {
        let id = event["id"].as_str().unwrap();
        shown.push(scene.operator.call("GET", &format!("events/{id}"), &Value::Null).expect(&[200]).text());
    }
    assert!(shown.len() > 6, "the log has events: {events}");
    shown.push(events.to_string());
    shown.push(scene.operator.call("GET", "users/jdoe", &Value::Null).expect(&[200]).text());
    shown.push(scene.scim.call("GET", &format!("Users/{}", scene.jdoe), &Value::Null).expect(&[200]).text());
    shown.push(scene.operator.get("/metrics").expect(&[200]).text());
    scene.server.kill();
    let log = std::fs::read_to_string(scene.folder.path().join("data.log")).unwrap();
    assert!(log.contains("SCIM request"), "the log is written: {log}");
    shown.push(log);
    for secret in SECRETS {
        let encoded = STANDARD.encode(format!("jdoe:{secret}"));
        for text in &shown {
            let found = text.contains(secret) || text.contains(&encoded) || text.contains("$argon2id$");
            assert!(!found, "{secret} in {text}");
        }
        // Nor in the ledger's files.
        for entry in walk(&scene.folder.path().join("data")) {
            let bytes = std::fs::read(&entry).unwrap();
            let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found, "{secret} in {}", entry.display());
        }
    }
}

fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    entries
        .flat_map(|entry| match entry.file_type().unwrap() {
            kind if kind.is_dir() => walk(&entry.path()),
            kind if kind.is_file() => vec![entry.path()],
            _ => Vec::new(),
        })
        .collect()
}
