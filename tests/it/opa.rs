//! What the opa plug-ins of Kong and APISIX make of our answers: whatever is wrong, no request passes.

use serde_json::{Value, json};

use crate::support::{Client, Reply, TestServer};

const PATH: &str = "/v1/data/cedargate/authz";

/// Kong's reading: anything but 200 with a result that it knows is 500.
fn kong(reply: &Reply) -> Result<Value, u64> {
    let body: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
    match &body["result"] {
        Value::Bool(true) if reply.status == 200 => Ok(Value::Null),
        Value::Object(result) if reply.status == 200 => match result.get("allow") {
            Some(Value::Bool(true)) => Ok(body["result"]["headers"].clone()),
            Some(Value::Bool(false)) => Err(body["result"]["status"].as_u64().unwrap_or(403)),
            _ => Err(500),
        },
        _ => Err(500),
    }
}

/// APISIX's reading: the status of the answer says nothing; every `allow` but false and null allows.
fn apisix(reply: &Reply) -> Result<Value, u64> {
    let Ok(body) = serde_json::from_slice::<Value>(&reply.body) else { return Err(503) };
    let result = &body["result"];
    match &result["allow"] {
        Value::Null | Value::Bool(false) => match result {
            Value::Null => Err(503),
            _ => Err(result["status_code"].as_u64().unwrap_or(403)),
        },
        _ => Ok(result["headers"].clone()),
    }
}

fn ask(client: &mut Client, body: &Value) -> Reply {
    client.send("POST", PATH, "application/json", body.to_string().as_bytes()).unwrap()
}

/// A request that anybody may send, as each gateway tells it.
fn public() -> [Value; 2] {
    let (method, path) = ("POST", "/api/v1/oauth2/token");
    [
        json!({"input": {"request": {"http": {"method": method, "path": path, "headers": {}}}}}),
        json!({"input": {"type": "http", "request": {"method": method, "path": path, "headers": {}}}}),
    ]
}

#[test]
fn each_gateway_finds_its_answer_where_it_looks() {
    let server = TestServer::start();
    let mut client = server.doors().anonymous("gate");
    let [to_kong, to_apisix] = public();
    assert!(kong(&ask(&mut client, &to_kong)).unwrap()["cedargate-decision-id"].is_string());
    assert!(apisix(&ask(&mut client, &to_apisix)).unwrap()["cedargate-decision-id"].is_string());

    let denied = |mut body: Value, pointer: &str, path: &str| {
        *body.pointer_mut(pointer).unwrap() = json!(path);
        body
    };
    let orders = "/api/accounts/100/orders";
    for (path, status) in [(orders, 401), ("/nowhere", 403), ("/api//accounts", 400)] {
        let reply = ask(&mut client, &denied(to_kong.clone(), "/input/request/http/path", path)).expect(&[200]);
        assert_eq!(kong(&reply), Err(status), "{path}: {}", reply.text());
        let result = &reply.json()["result"];
        let words = result["message"].as_str().unwrap();
        let reply = ask(&mut client, &denied(to_apisix.clone(), "/input/request/path", path)).expect(&[200]);
        assert_eq!(apisix(&reply), Err(status), "{path}: {}", reply.text());
        assert_eq!(reply.json()["result"]["reason"], words);
        // What a client reads says nothing of roles, policies or reasons; the gateway finds them in the headers.
        let reason = reply.header("cedargate-reason").unwrap();
        assert!(!reply.text().contains(reason), "{}", reply.text());
        assert_eq!(reply.header("cedargate-decision"), Some("deny"));
    }
    let unproved = ask(&mut client, &denied(to_kong, "/input/request/http/path", orders)).json();
    assert_eq!(unproved["result"]["headers"]["www-authenticate"], "Bearer");
}

#[test]
fn whatever_is_wrong_allows_nothing() {
    let server = TestServer::start();
    let mut client = server.doors().anonymous("gate");
    let request = json!({"method": "POST", "path": "/api/v1/oauth2/token", "headers": {}});
    let with = |name: &str, value: Value| {
        let mut changed = request.clone();
        changed[name] = value;
        json!({"input": {"request": {"http": changed}}})
    };
    let twice = json!({"authorization": ["Bearer a", "Bearer b"]});
    let wrong: Vec<String> = [
        json!([]),
        json!({}),
        json!({"input": null}),
        json!({"input": {}}),
        json!({"input": {"request": {}}}),
        json!({"input": {"request": {"http": {}}}}),
        json!({"input": {"request": {"http": "GET /"}}}),
        with("path", json!(null)),
        with("path", json!(7)),
        with("path", json!("/api/v1/oauth2/token?x=1")),
        with("method", json!(["POST"])),
        with("host", json!({"name": "localhost"})),
        with("headers", json!([])),
        with("headers", twice),
        with("headers", json!({"authorization": {"a": 1}})),
    ]
    .iter()
    .map(Value::to_string)
    .chain(["".to_owned(), "{".to_owned(), "result".to_owned(), "{\"input\":1,\"input\":2}".to_owned()])
    .collect();
    for body in wrong {
        let reply = client.send("POST", PATH, "application/json", body.as_bytes()).unwrap();
        assert_eq!(reply.status, 400, "{body}: {}", reply.text());
        assert_eq!((kong(&reply), apisix(&reply)), (Err(500), Err(503)), "{body}: {}", reply.text());
        assert_eq!(reply.header("cedargate-decision"), Some("deny"), "{body}");
    }
    let [good, _] = public();
    for (method, path) in [("GET", PATH), ("PUT", PATH), ("POST", "/v1/data/cedargate"), ("POST", "/v1/data/x/authz")] {
        let reply = client.send(method, path, "application/json", good.to_string().as_bytes()).unwrap();
        assert!(kong(&reply).is_err() && apisix(&reply).is_err(), "{method} {path}: {}", reply.text());
    }
}

#[test]
fn a_gateway_that_may_not_ask_passes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let tokens = folder.path().join("tokens");
    std::fs::write(&tokens, "0123456789abcdef0123456789abcdef\n").unwrap();
    let data = folder.path().join("data");
    let server = TestServer::start_with(&data, &[("CEDARGATE_GATE__CREDENTIAL_FILE", tokens.to_str().unwrap())]);
    for body in public() {
        let reply = ask(&mut server.doors().anonymous("gate"), &body).expect(&[401]);
        assert_eq!((kong(&reply), apisix(&reply)), (Err(500), Err(503)), "{}", reply.text());
        let token = "0123456789abcdef0123456789abcdef";
        let reply = ask(&mut server.doors().anonymous("gate").bearer(token), &body).expect(&[200]);
        assert!(apisix(&reply).is_ok(), "{}", reply.text());
    }
}
