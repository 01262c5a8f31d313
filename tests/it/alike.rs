//! One long connection that says the same head each time is answered as new connections are, whatever it asks.

use serde_json::{Value, json};

use crate::support::{Client, Reply, TestServer};

/// All that may be compared of an answer: ids and dates are new each time.
fn said(reply: &Reply) -> (u16, Vec<(String, String)>, Value) {
    let is_new = |name: &str| ["date", "cedargate-decision-id", "content-length"].contains(&name);
    let headers = reply.headers.iter().filter(|(name, _)| !is_new(name)).cloned().collect();
    let mut body = reply.json();
    let id = body.as_object_mut().and_then(|body| body.remove("id"));
    assert_eq!(id.as_ref().and_then(Value::as_str), reply.header("cedargate-decision-id"));
    (reply.status, headers, body)
}

fn bodies() -> Vec<String> {
    let paths = ["/api/accounts/100/orders", "/api/users/jdoe", "/api/accounts/7/orders", "/nowhere", "/a//b", "*", ""];
    let subjects = [
        json!({"user": "jdoe"}),
        json!({"user": "nobody"}),
        json!({"id": "019aa8e1-0000-7000-8000-000000000003"}),
        json!({"authorization": "Bearer x.y.z"}),
        json!({"authorization": "Basic amRvZTpwdw=="}),
        json!({"authorization": "Digest x"}),
        json!({"user": "jdoe", "id": "1"}),
        json!({}),
    ];
    let mut bodies = Vec::new();
    for path in paths {
        for subject in &subjects {
            bodies.push(json!({"subject": subject, "request": {"method": "GET", "path": path}}).to_string());
        }
    }
    let jdoe = json!({"user": "jdoe"});
    for question in [
        json!({"subject": jdoe, "action": "listOrders", "channel": "dashboard"}),
        json!({"subject": jdoe, "action": "listOrders", "channel": "fax"}),
        json!({"subject": jdoe, "action": "listOrders", "context": {"now": 5, "a": [1, {"b": null}]}}),
        json!({"subject": jdoe, "action": "listOrders", "minRevision": "1-1"}),
        json!({"subject": jdoe, "action": "listOrders", "minRevision": "1-999999"}),
        json!({"subject": jdoe, "action": "listOrders", "minRevision": "x"}),
        json!({"subject": jdoe, "action": "listOrders", "more": 1}),
        json!([]),
    ] {
        bodies.push(question.to_string());
    }
    bodies.extend(["", "{", "{}x", "null", "\u{0}"].map(str::to_owned));
    bodies.push(" ".repeat(90_000));
    bodies
}

fn ask(client: &mut Client, body: &str) -> Reply {
    client.send("POST", "/v1/authorize", "application/json", body.as_bytes()).unwrap()
}

#[test]
fn a_long_connection_is_answered_as_new_ones_are() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start_with(&folder.path().join("data"), &[("CEDARGATE_GATE_CHANNEL", "dashboard")]);
    let mut operator = server.doors().operator();
    operator.organization("acme");
    operator.account("acme", "100", &[]);
    let mut scim = server.doors().provisioner(&operator.connection("acme", "generic"));
    let extension = "urn:ietf:params:scim:schemas:extension:cedargate:2.0:User";
    let mut user = json!({"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User", extension], "userName": "jdoe",
        "externalId": "00u1", "active": true, extension: {"accessMethods": ["dashboard"], "accounts": ["100"]}});
    let created = scim.call("POST", "Users", &user).expect(&[201]).json();
    let mut long = server.doors().anonymous("gate");
    let bodies = bodies();
    let mut seen = std::collections::BTreeSet::new();
    for active in [true, false, true] {
        user["active"] = json!(active);
        scim.call("PUT", &format!("Users/{}", created["id"].as_str().unwrap()), &user).expect(&[200]);
        for body in &bodies {
            let new = said(&ask(&mut server.doors().anonymous("gate"), body));
            for _ in 0..2 {
                assert_eq!(said(&ask(&mut long, body)), new, "{body}");
            }
            seen.insert(format!("{} {}", new.0, new.2["reason"]["code"].as_str().unwrap_or("")));
        }
    }
    assert!(seen.len() >= 9, "{seen:?}");
}
