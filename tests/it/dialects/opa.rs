//! OPA's data API, asked and read as the plug-ins of Kong and APISIX do.

use serde_json::{Value, json};

use super::{Outcome, Posed, Seen, Session, Told, told_by_headers};

/// Headers as the plug-ins give them.
fn headers(seen: &Seen<'_>) -> Value {
    let mut headers = json!({"accept": "*/*"});
    if let Some(shown) = seen.authorization {
        headers["authorization"] = json!(shown);
    }
    headers
}

/// Both plug-ins tell path and query apart.
fn split(path: &str) -> (&str, Value) {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    (path, json!({"query": query}))
}

fn ask(session: &mut Session, posed: &Posed, input: &Value, read: fn(&Value) -> bool) -> Outcome {
    let gate = session.gate(posed.dashboard);
    let reply = gate.json("POST", "/v1/data/cedargate/authz", &json!({"input": input})).expect(&[200]);
    let (permit, reason) = told_by_headers(&reply);
    assert_eq!(read(&reply.json()["result"]), permit, "headers and body");
    Ok(Told { permit, reason, grounds: None })
}

pub(super) fn kong(session: &mut Session, questions: &[Posed]) -> Vec<Outcome> {
    let mut one = |posed: &Posed| {
        let seen = posed.seen()?;
        let (path, query) = split(seen.path);
        let mut input = json!({
            "request": {"http": {"host": seen.host.unwrap_or("localhost"), "port": "8000", "tls": {}, "method": seen.method,
                "scheme": "http", "path": path, "querystring": query, "headers": headers(&seen)}},
            "client_ip": "127.0.0.1",
        });
        if let Some(name) = seen.user {
            input["consumer"] = json!({"id": "e6fd8b19-89e5-44e6-8a2a-79e8bf3c31a5", "username": name});
        }
        ask(session, posed, &input, |result| {
            let allows = result["allow"] == true;
            assert!(allows || result["status"].is_u64() && result["message"].is_string(), "{result}");
            allows
        })
    };
    questions.iter().map(&mut one).collect()
}

pub(super) fn apisix(session: &mut Session, questions: &[Posed]) -> Vec<Outcome> {
    let mut one = |posed: &Posed| {
        let seen = posed.seen()?;
        let (path, query) = split(seen.path);
        if !path.bytes().all(|byte| byte.is_ascii() && !b"%#".contains(&byte)) {
            return Err("it hands over paths decoded");
        }
        let mut input = json!({
            "type": "http",
            "request": {"scheme": "http", "path": path, "headers": headers(&seen), "query": query, "port": 9080,
                "method": seen.method, "host": seen.host.unwrap_or("localhost")},
            "var": {"timestamp": 1_701_234_567, "server_addr": "127.0.0.1", "server_port": "9080",
                "remote_addr": "127.0.0.1", "remote_port": "50000"},
        });
        if let Some(name) = seen.user {
            input["consumer"] = json!({"consumer_name": name, "username": name, "plugins": {"key-auth": {}}});
        }
        ask(session, posed, &input, |result| {
            let allows = result["allow"] == true;
            assert!(allows || result["status_code"].is_u64() && result["reason"].is_string(), "{result}");
            allows
        })
    };
    questions.iter().map(&mut one).collect()
}
