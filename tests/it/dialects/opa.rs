//! OPA's data API, asked and read as the plug-ins of Kong and APISIX do.

use serde_json::{Value, json};

use super::{Outcome, Posed, Session, Told, What, Who, told_by_headers};

/// The request, the caller and the consumer, as a gateway has them before its plug-in asks.
struct Seen<'a> {
    method: &'a str,
    path: &'a str,
    query: Value,
    host: Option<&'a str>,
    headers: Value,
    consumer: Option<&'a str>,
}

fn see(posed: &Posed) -> Result<Seen<'_>, &'static str> {
    let What::Request { method, path, host } = &posed.what else { return Err("it asks about requests alone") };
    if !posed.context.is_empty() {
        return Err("it has no place for a context");
    }
    let (headers, consumer) = match &posed.who {
        Who::Name(name) => (json!({"accept": "*/*"}), Some(name.as_str())),
        Who::Authorization(header) => (json!({"accept": "*/*", "authorization": header}), None),
        Who::Entity(_) => return Err("it asks about people alone"),
    };
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    Ok(Seen { method, path, query: json!({"query": query}), host: host.as_deref(), headers, consumer })
}

fn ask(session: &mut Session, posed: &Posed, input: &Value, read: fn(&Value) -> bool) -> Outcome {
    let gate = session.gate(posed.dashboard)?;
    let reply = gate.json("POST", "/v1/data/cedargate/authz", &json!({"input": input})).expect(&[200]);
    let (permit, reason) = told_by_headers(&reply);
    assert_eq!(read(&reply.json()["result"]), permit, "headers and body");
    Ok(Told { permit, reason, grounds: None })
}

pub(super) fn kong(session: &mut Session, questions: &[Posed]) -> Vec<Outcome> {
    let mut one = |posed: &Posed| {
        let seen = see(posed)?;
        let mut input = json!({
            "request": {"http": {"host": seen.host.unwrap_or("localhost"), "port": "8000", "tls": {}, "method": seen.method,
                "scheme": "http", "path": seen.path, "querystring": seen.query, "headers": seen.headers}},
            "client_ip": "127.0.0.1",
        });
        if let Some(name) = seen.consumer {
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
        let seen = see(posed)?;
        if !seen.path.bytes().all(|byte| byte.is_ascii() && !b"%#".contains(&byte)) {
            return Err("it hands over paths decoded");
        }
        let mut input = json!({
            "type": "http",
            "request": {"scheme": "http", "path": seen.path, "headers": seen.headers, "query": seen.query, "port": 9080,
                "method": seen.method, "host": seen.host.unwrap_or("localhost")},
            "var": {"timestamp": 1_701_234_567, "server_addr": "127.0.0.1", "server_port": "9080",
                "remote_addr": "127.0.0.1", "remote_port": "50000"},
        });
        if let Some(name) = seen.consumer {
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
