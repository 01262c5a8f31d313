//! `/v1/authorize` and its batch.

use serde_json::{Value, json};

use super::{Outcome, Posed, Session, Told, What, Who, told_by_headers};
use crate::support::Answer;

fn say(posed: &Posed) -> Result<Value, &'static str> {
    let subject = match &posed.who {
        Who::Name(name) => json!({"user": name}),
        Who::Authorization(header) => json!({"authorization": header}),
        Who::Entity(_) => return Err("it asks about people alone"),
    };
    let mut body = json!({"subject": subject});
    match &posed.what {
        What::Request { method, path, host } => {
            body["request"] = json!({"method": method, "path": path});
            if let Some(host) = host {
                body["request"]["host"] = json!(host);
            }
        }
        What::Action { name, properties, resource } => {
            let plain = |of: &Value| of.as_object().is_none_or(serde_json::Map::is_empty);
            if !plain(properties) || resource.as_ref().is_some_and(|resource| !plain(&resource["properties"])) {
                return Err("it has no place for properties");
            }
            body["action"] = json!(name);
            if let Some(resource) = resource {
                body["resource"] = json!({"type": resource["type"], "id": resource["id"]});
            }
        }
    }
    if posed.dashboard {
        body["channel"] = json!("dashboard");
    }
    if !posed.context.is_empty() {
        body["context"] = Value::Object(posed.context.clone());
    }
    Ok(body)
}

fn told(body: &Value) -> Told {
    let answer = Answer::read(body);
    Told { permit: answer.permit, reason: answer.reason, grounds: Some((answer.message, answer.policies)) }
}

pub(super) fn one_by_one(session: &mut Session, questions: &[Posed]) -> Vec<Outcome> {
    let mut ask = |posed: &Posed| {
        let body = say(posed)?;
        let reply = session.gate(false).json("POST", "/v1/authorize", &body).expect(&[200]);
        let told = told(&reply.json());
        assert_eq!(told_by_headers(&reply), (told.permit, told.reason.clone()), "headers and body");
        Ok(told)
    };
    questions.iter().map(&mut ask).collect()
}

pub(super) fn in_a_batch(session: &mut Session, questions: &[Posed]) -> Vec<Outcome> {
    let said: Vec<Result<Value, &'static str>> = questions.iter().map(say).collect();
    let bodies: Vec<&Value> = said.iter().flatten().collect();
    let body = json!({"questions": bodies});
    let reply = session.gate(false).json("POST", "/v1/authorize/batch", &body).expect(&[200]).json();
    let decisions = reply["decisions"].as_array().unwrap();
    assert_eq!(decisions.len(), bodies.len());
    let mut decisions = decisions.iter();
    said.iter().map(|said| said.as_ref().map(|_| told(decisions.next().unwrap())).map_err(|why| *why)).collect()
}
