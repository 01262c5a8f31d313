//! AuthZEN's `/access/v1/evaluation` and `/evaluations`.

use serde_json::{Value, json};

use super::{Outcome, Posed, Session, Told, What, Who, told_by_headers};

fn say(posed: &Posed) -> Result<Value, &'static str> {
    let subject = match &posed.who {
        Who::Name(name) => json!({"type": "User", "id": name}),
        Who::Authorization(_) => return Err("it names its subject; a caller's credential has no place in it"),
        Who::Entity(entity) => entity.clone(),
    };
    let (action, resource) = match &posed.what {
        What::Request { method, path, host } => {
            let mut resource = json!({"type": "route", "id": path});
            if let Some(host) = host {
                resource["properties"] = json!({"hostname": host});
            }
            (json!({"name": method}), resource)
        }
        What::Action { name, properties, resource: Some(resource) } => {
            (json!({"name": name, "properties": properties}), resource.clone())
        }
        What::Action { name, resource: None, .. } if name == "signIn" => {
            (json!({"name": name}), json!({"type": "Dashboard", "id": "dashboard"}))
        }
        What::Action { resource: None, .. } => return Err("it asks about a resource, always"),
    };
    let mut body = json!({"subject": subject, "action": action, "resource": resource});
    if !posed.context.is_empty() {
        body["context"] = Value::Object(posed.context.clone());
    }
    Ok(body)
}

fn told(body: &Value) -> Told {
    let text = |value: &Value| value.as_str().unwrap_or_else(|| panic!("no text: {body}")).to_owned();
    let context = &body["context"];
    let policies = context["policies"].as_array().unwrap_or_else(|| panic!("no policies: {body}"));
    Told {
        permit: body["decision"].as_bool().unwrap_or_else(|| panic!("no decision: {body}")),
        reason: text(&context["reason"]["code"]),
        grounds: Some((text(&context["reason"]["message"]), policies.iter().map(text).collect())),
    }
}

pub(super) fn one_by_one(session: &mut Session, questions: &[Posed]) -> Vec<Outcome> {
    let mut ask = |posed: &Posed| {
        let body = say(posed)?;
        let reply = session.gate(posed.dashboard).json("POST", "/access/v1/evaluation", &body).expect(&[200]);
        let told = told(&reply.json());
        assert_eq!(told_by_headers(&reply), (told.permit, told.reason.clone()), "headers and body");
        Ok(told)
    };
    questions.iter().map(&mut ask).collect()
}

/// A batch for each channel.
pub(super) fn in_a_batch(session: &mut Session, questions: &[Posed]) -> Vec<Outcome> {
    let mut outcomes: Vec<Outcome> = questions.iter().map(|_| Err("not asked")).collect();
    for dashboard in [false, true] {
        let mut items = Vec::new();
        let mut places = Vec::new();
        for (at, posed) in questions.iter().enumerate().filter(|(_, posed)| posed.dashboard == dashboard) {
            match say(posed) {
                Ok(item) => {
                    items.push(item);
                    places.push(at);
                }
                Err(why) => outcomes[at] = Err(why),
            }
        }
        if items.is_empty() {
            continue;
        }
        let body = json!({"evaluations": items});
        let gate = session.gate(dashboard);
        let reply = gate.json("POST", "/access/v1/evaluations", &body).expect(&[200]).json();
        let answers = reply["evaluations"].as_array().unwrap();
        assert_eq!(answers.len(), places.len());
        for (at, answer) in places.into_iter().zip(answers) {
            outcomes[at] = Ok(told(answer));
        }
    }
    outcomes
}
