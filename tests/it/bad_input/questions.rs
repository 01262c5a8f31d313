//! Bad questions: 400 where they cannot be read, a deny where the path could be read in two ways.

use serde_json::{Value, json};

use super::{Scene, nested};
use crate::support::Client;

fn gate(scene: &Scene) -> Client {
    scene.server.doors().anonymous("gate")
}

fn post(scene: &Scene, path: &str, body: &[u8]) -> (u16, Value) {
    let reply = gate(scene).send("POST", path, "application/json", body).unwrap();
    (reply.status, reply.json())
}

#[track_caller]
fn is_bad_request((status, body): &(u16, Value), what: &str) {
    assert_eq!(*status, 400, "{what}: {body}");
    assert!(body["error"]["code"].as_str().is_some_and(|code| !code.is_empty()), "{what}: {body}");
    assert!(body["error"]["message"].as_str().is_some_and(|message| message.len() > 10), "{what}: {body}");
}

#[test]
fn questions_that_cannot_be_read() {
    let mut scene = Scene::new();
    let request = json!({"method": "GET", "path": "/api/accounts/100/orders"});
    let subject = json!({"user": "ada"});
    let unreadable: Vec<Value> = vec![
        json!([]),
        json!("question"),
        json!(null),
        json!({}),
        json!({"subject": subject}),
        json!({"request": request}),
        json!({"subject": subject, "request": request, "action": "listOrders"}),
        json!({"subject": {}, "request": request}),
        json!({"subject": {"user": "ada", "id": "1"}, "request": request}),
        json!({"subject": {"user": 7}, "request": request}),
        json!({"subject": {"name": "ada"}, "request": request}),
        json!({"subject": "ada", "request": request}),
        json!({"subject": subject, "request": {"method": "GET"}}),
        json!({"subject": subject, "request": {"method": "GET", "path": 7}}),
        json!({"subject": subject, "request": {"method": "GET", "path": "/", "body": ""}}),
        json!({"subject": subject, "request": request, "chanel": "api"}),
        json!({"subject": subject, "request": request, "channel": "telephone"}),
        json!({"subject": subject, "request": request, "channel": 1}),
        json!({"subject": subject, "request": request, "context": []}),
        json!({"subject": subject, "request": {"method": "PATCH", "path": "/api/v1/users/ada"},
            "context": {"attributes": "name"}}),
        json!({"subject": subject, "request": request, "minRevision": "soon"}),
        json!({"subject": subject, "action": "listOrders", "resource": {"type": "Account"}}),
    ];
    scene.unchanged("questions", |scene| {
        for body in &unreadable {
            is_bad_request(&post(scene, "/v1/authorize", body.to_string().as_bytes()), &body.to_string());
        }
        for text in ["", "{", "{\"subject\":", "nonsense", "{\"subject\": {\"user\": \"ada\\ud800\"}}", "{}{}"] {
            is_bad_request(&post(scene, "/v1/authorize", text.as_bytes()), text);
        }
        is_bad_request(&post(scene, "/v1/authorize", b"{\"subject\": \"\xff\xfe\"}"), "no UTF-8");
        let twice = br#"{"subject": {"user": "ada"}, "subject": {"user": "root"}, "action": "signIn"}"#;
        is_bad_request(&post(scene, "/v1/authorize", twice), "a member twice");
    });
}

/// Left aside, it would not be compared with the accounts that are granted.
#[test]
fn an_account_that_the_context_names_in_another_type_is_refused() {
    let mut scene = Scene::new();
    scene.unchanged("named accounts", |scene| {
        for account in [json!(100), json!(200), json!(true), json!(["200"]), json!({"id": "200"})] {
            for path in ["/api/accounts/100/orders", "/api/v2/accounts"] {
                let request = json!({"method": "GET", "path": path});
                let body = json!({"subject": {"user": "ada"}, "request": request, "context": {"account": account}});
                for _cold_and_warm in 0..2 {
                    is_bad_request(&post(scene, "/v1/authorize", body.to_string().as_bytes()), &body.to_string());
                }
            }
        }
    });
}

#[test]
fn batches_name_the_bad_question_in_its_place() {
    let mut scene = Scene::new();
    scene.unchanged("batches", |scene| {
        let good = json!({"request": {"method": "GET", "path": "/api/accounts/100/orders"}});
        let questions = json!([good, {"request": good["request"], "action": "signIn"}, 7, good]);
        let body = json!({"subject": {"user": "ada"}, "questions": questions});
        let (status, answers) = post(scene, "/v1/authorize/batch", body.to_string().as_bytes());
        assert_eq!(status, 200, "{answers}");
        let of = |at: usize, member: &str| answers["decisions"][at][member].clone();
        assert_eq!((of(0, "decision"), of(3, "decision")), (json!("permit"), json!("permit")), "{answers}");
        assert!(of(1, "error")["code"].is_string() && of(2, "error")["code"].is_string(), "{answers}");
        assert!(of(1, "decision").is_null() && of(2, "decision").is_null(), "{answers}");

        let many: Vec<Value> = std::iter::repeat_n(good, 1001).collect();
        for body in [
            json!({"subject": {"user": "ada"}, "questions": many}),
            json!({"subject": {"user": "ada"}}),
            json!({"subject": {"user": "ada"}, "questions": {}}),
            json!({"subject": {"user": "ada"}, "questions": [], "limit": 5}),
        ] {
            is_bad_request(&post(scene, "/v1/authorize/batch", body.to_string().as_bytes()), "batch");
        }
    });
}

#[test]
fn paths_that_could_be_read_in_two_ways_are_denied() {
    let mut scene = Scene::new();
    scene.unchanged("paths", |scene| {
        let mut asker = scene.server.doors().asker();
        for path in [
            "",
            "api/accounts/100/orders",
            "//api/accounts/100/orders",
            "/api//accounts/100/orders",
            "/api/accounts/100/orders//",
            "/api/accounts/200/../100/orders",
            "/api/accounts/100/./orders",
            "/api/accounts/100/%2e%2e/100/orders",
            "/api/accounts/100/orders/o1%2fnotes",
            "/api/accounts/100/orders/o1%2Fnotes",
            "/api/accounts/100%5Corders",
            "/api/accounts/100\\orders",
            "/api/accounts/100/orders;v=1",
            "/api/accounts/100/orders%3Bv=1",
            "/api/accounts/100/orders%00",
            "/api/accounts/100/orders\u{0}",
            "/api/accounts/100/orders\r\n",
            "/api/accounts/100/orders%",
            "/api/accounts/100/orders%zz",
            "/api/accounts/100/ord\u{202e}ers",
            "http://dashboard.bandwidth.com/api/accounts/100/orders",
        ] {
            let question = json!({"subject": {"user": "ada"}, "request": {"method": "GET", "path": path}});
            let answer = asker.ask(&question);
            assert!(!answer.permit, "{path:?}: {answer:?}");
            assert_eq!(answer.reason, "malformed-request", "{path:?}: {answer:?}");
        }
    });
}

#[test]
fn huge_and_deep_bodies_are_refused() {
    let mut scene = Scene::new();
    scene.unchanged("huge and deep", |scene| {
        let question =
            |context: &str| format!("{{\"subject\":{{\"user\":\"ada\"}},\"action\":\"signIn\",\"context\":{context}}}");
        let deep = question(&format!("{{\"product\":{}}}", nested(10_000)));
        is_bad_request(&post(scene, "/v1/authorize", deep.as_bytes()), "10,000 deep");
        is_bad_request(&post(scene, "/v1/authorize/batch", nested(10_000).as_bytes()), "10,000 deep");
        let huge = question(&format!("{{\"product\":\"{}\"}}", "x".repeat(10 << 20)));
        for (listener, path) in [("gate", "/v1/authorize"), ("gate", "/v1/authorize/batch"), ("gate", "/nowhere")] {
            let reply =
                scene.server.doors().anonymous(listener).send("POST", path, "application/json", huge.as_bytes());
            // The server may stop reading and close; what it must not do is take it.
            if let Ok(reply) = reply {
                assert!(matches!(reply.status, 404 | 413), "{path}: {} {}", reply.status, reply.text());
            }
        }
    });
}
