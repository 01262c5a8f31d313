//! Explanations and searches over HTTP: for operators alone, and what they say.

use serde_json::{Value, json};

use crate::support::{Client, TestServer};

const PATHS: [&str; 5] =
    ["/v1/explain", "/v1/search/subjects", "/v1/search/resources", "/v1/search/actions", "/v1/directory"];

fn question(user: &str, path: &str) -> Value {
    json!({"subject": {"user": user}, "request": {"method": "POST", "path": path}})
}

#[test]
fn nobody_without_the_operator_token_learns_why_or_who() {
    let server = TestServer::start();
    let refused = |mut client: Client, path: &str| {
        let reply = client.json("POST", path, &question("mia", "/api/accounts/100/orders"));
        assert_eq!(reply.status, 401, "{path}: {}", reply.text());
    };
    for path in PATHS {
        refused(server.doors().anonymous("ops"), path);
        refused(server.doors().anonymous("ops").bearer("made-up-token-of-some-length"), path);
    }
    refused(server.doors().anonymous("gate"), PATHS[0]);
    for path in &PATHS[1..] {
        let reply = server.doors().anonymous("gate").json("POST", path, &json!({}));
        assert_eq!(reply.status, 404, "{path} does not stand on the gate");
    }
}

#[test]
fn an_explanation_names_the_nearest_grant_and_a_search_finds_who_has_it() {
    let server = TestServer::start();
    let mut operator = server.doors().operator();
    operator.organization("acme");
    operator.account("acme", "100", &[]);
    let token = operator.connection("acme", "generic");
    let mut provisioner = server.doors().provisioner(&token);
    for (name, roles) in [("mia", json!([{"value": "Ordering"}])), ("tom", json!([]))] {
        let extension = "urn:ietf:params:scim:schemas:extension:cedargate:2.0:User";
        let user = json!({"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User", extension], "userName": name,
            "roles": roles, extension: {"accessMethods": ["api"], "accounts": ["100"]}});
        provisioner.call("POST", "Users", &user).expect(&[201]);
    }
    let operator_token = std::fs::read_to_string(server.data().join("operator.token")).unwrap();
    let ask = |listener: &str, path: &str, body: &Value| {
        let mut client = server.doors().anonymous(listener).bearer(operator_token.trim());
        client.json("POST", path, body)
    };
    for listener in ["gate", "ops"] {
        let orders = "/api/accounts/100/orders";
        let denied = ask(listener, "/v1/explain", &question("tom", orders)).expect(&[200]).json();
        assert_eq!((&denied["decision"], &denied["reason"]["code"]), (&json!("deny"), &json!("role-missing")));
        assert_eq!(denied["nearest"][0]["policy"], "ordering");
        assert_eq!(denied["nearest"][0]["missing"][0]["what"], "assign the role Ordering");
        assert_eq!(denied["considered"][0]["conditions"][0]["holds"], "false");
        let permitted = ask(listener, "/v1/explain", &question("mia", orders)).expect(&[200]).json();
        assert_eq!((&permitted["decision"], &permitted["permits"]), (&json!("permit"), &json!(["ordering"])));
        assert_eq!(permitted["undoneBy"][0]["what"], "take the role Ordering away");
        let walled = ask(listener, "/v1/explain", &question("mia", "/api/accounts/7/orders")).expect(&[200]).json();
        assert_eq!((&walled["decision"], &walled["nearest"]), (&json!("deny"), &json!([])), "nothing helps there");
    }
    ask("gate", "/v1/explain", &json!({"subject": {}})).expect(&[400]);
    let who = json!({"request": {"method": "POST", "path": "/api/accounts/100/orders"}});
    assert_eq!(ask("ops", PATHS[1], &who).expect(&[200]).json()["items"], json!(["mia"]));
    let on = json!({"user": "mia", "action": "createOrder"});
    assert_eq!(ask("ops", PATHS[2], &on).expect(&[200]).json()["items"], json!(["100"]));
    let what = json!({"user": "mia", "resource": {"type": "Account", "id": "100"}});
    let actions = ask("ops", PATHS[3], &what).expect(&[200]).json();
    assert!(actions["items"].as_array().unwrap().contains(&json!("createOrder")));
    ask("ops", PATHS[3], &json!({"user": "nobody"})).expect(&[404]);
    let first = ask("ops", PATHS[4], &json!({})).expect(&[200]).json();
    assert!(first["items"].as_array().unwrap().len() >= 4 && first["next"].is_null());
}

#[test]
fn a_gateway_explains_where_its_settings_let_it() {
    let question = serde_json::json!({"subject": {"user": "nobody"}, "request": {"method": "GET", "path": "/x"}});
    for (may, status) in [("true", 200), ("false", 401)] {
        let folder = tempfile::tempdir().unwrap();
        let server = TestServer::start_with(&folder.path().join("data"), &[("CEDARGATE_GATE__EXPLAIN", may)]);
        let mut client = Client::new(&server.doors().gate);
        let body = question.to_string();
        let reply = client.send("POST", "/v1/explain", "application/json", body.as_bytes()).unwrap();
        assert_eq!(reply.status, status, "gate.explain = {may}: {}", reply.text());
    }
}
