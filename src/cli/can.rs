//! `can`: one question to the gate.

use serde_json::{Map, Value, json};

use super::arguments::Can;
use super::exit::Exit;
use super::output::{OutputFormat, Tone};
use super::remote::Fault;
use super::session::{Session, Verdict, text};
use crate::http::Method;

/// Reads `TYPE::ID`; the id may stand in double quotes, as Cedar writes it.
pub fn resource(text: &str) -> Result<(String, String), String> {
    let (kind, id) = text.split_once("::").ok_or("it must look like Account::100")?;
    let id = id.strip_prefix('"').and_then(|id| id.strip_suffix('"')).unwrap_or(id);
    if kind.is_empty() || id.is_empty() {
        return Err("it must look like Account::100".to_owned());
    }
    Ok((kind.to_owned(), id.to_owned()))
}

/// Asks, prints, and ends with 0 for permit and 5 for deny.
pub async fn can(session: &mut Session<'_>, flags: Can) -> Verdict {
    let answer = match session.remote.call(Method::POST, "/v1/authorize", Some(question(flags))).await {
        Ok((answer, _)) => answer,
        Err(fault) if fault.code.as_deref() == Some("not-fresh") => {
            return Err(Fault { exit: Exit::NotReady, ..fault });
        }
        Err(fault) => return Err(fault),
    };
    let (exit, tone) = match answer.get("decision").and_then(Value::as_str) {
        Some("permit") => (Exit::Success, Tone::Good),
        Some("deny") => (Exit::No, Tone::Bad),
        Some(_) | None => {
            return Err(Fault::failure(format!(
                "{} does not answer with a decision: is it the gate?",
                session.remote.base
            )));
        }
    };
    match session.out.format {
        OutputFormat::Json => session.out.json(&answer),
        OutputFormat::Table => {
            let reason = answer.get("reason").unwrap_or(&Value::Null);
            let verdict = session.out.tone(tone, &text(&answer, "decision"));
            session.out.raw(format!("{verdict}\n").as_bytes());
            let resource = answer.get("resource").map_or_else(String::new, |resource| {
                if resource.is_null() {
                    String::new()
                } else {
                    format!("{}::{}", text(resource, "type"), text(resource, "id"))
                }
            });
            session.out.facts(&[
                ("reason", text(reason, "code")),
                ("message", text(reason, "message")),
                ("policies", text(&answer, "policies")),
                ("action", text(&answer, "action")),
                ("resource", resource),
                ("revision", text(&answer, "revision")),
            ]);
        }
    }
    Ok(exit)
}

/// The question as the gate reads it.
pub(super) fn question(flags: Can) -> Value {
    let mut question = Map::new();
    let subject = if flags.id { json!({"id": flags.user}) } else { json!({"user": flags.user}) };
    question.insert("subject".to_owned(), subject);
    if let Some(action) = flags.action {
        question.insert("action".to_owned(), json!(action));
        if let Some((kind, id)) = flags.resource {
            question.insert("resource".to_owned(), json!({"type": kind, "id": id}));
        }
    } else {
        let mut request = json!({"method": flags.method, "path": flags.path});
        if let (Some(host), Some(request)) = (flags.host, request.as_object_mut()) {
            request.insert("host".to_owned(), json!(host));
        }
        question.insert("request".to_owned(), request);
    }
    question.insert("channel".to_owned(), json!(flags.channel.name()));
    if let Some(account) = flags.account {
        question.insert("context".to_owned(), json!({"account": account}));
    }
    Value::Object(question)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resources_are_read_with_and_without_quotes() {
        let account = || ("Account".to_owned(), "100".to_owned());
        assert_eq!(resource("Account::100"), Ok(account()));
        assert_eq!(resource("Account::\"100\""), Ok(account()));
        assert_eq!(resource("User::a::b"), Ok(("User".into(), "a::b".into())));
        for bad in ["Account", "Account::", "::100", "Account:100", "Account::\"\""] {
            assert!(resource(bad).is_err(), "{bad}");
        }
    }
}
