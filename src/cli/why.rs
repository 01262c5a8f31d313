//! `why`: a question, its answer, and what the answer rests on.

use serde_json::Value;

use super::arguments::Can;
use super::can::question;
use super::exit::Exit;
use super::output::{OutputFormat, Tone};
use super::remote::Fault;
use super::session::{Session, Verdict, text};
use crate::http::Method;

/// Asks, prints, and ends with 0 for permit, 5 for deny, 1 for an unknown person or endpoint, 7 for not fresh.
pub async fn why(session: &mut Session<'_>, flags: Can) -> Verdict {
    let answer = match session.remote.call(Method::POST, "/v1/explain", Some(question(flags))).await {
        Ok((answer, _)) => answer,
        Err(fault) if fault.code.as_deref() == Some("not-fresh") => {
            return Err(Fault { exit: Exit::NotReady, ..fault });
        }
        Err(fault) => return Err(fault),
    };
    let reason = answer.get("reason").unwrap_or(&Value::Null);
    let (exit, tone) = match (answer.get("decision").and_then(Value::as_str), text(reason, "code").as_str()) {
        (Some("permit"), _) => (Exit::Success, Tone::Good),
        (Some("deny"), "unknown-user" | "no-route") => (Exit::Failure, Tone::Bad),
        (Some("deny"), _) => (Exit::No, Tone::Bad),
        (Some(_) | None, _) => {
            return Err(Fault::failure(format!("{} does not answer with a decision", session.remote.base)));
        }
    };
    match session.out.format {
        OutputFormat::Json => session.out.json(&answer),
        OutputFormat::Table => {
            let verdict = session.out.tone(tone, &text(&answer, "decision"));
            let message = format!("{}: {}", text(reason, "code"), text(reason, "message"));
            session.out.raw(format!("{verdict}  ").as_bytes());
            session.out.line(&message);
            session.out.facts(&[
                ("action", text(&answer, "action")),
                ("asked about", answer.get("about").map(entity).unwrap_or_default()),
                ("revision", text(&answer, "revision")),
            ]);
            lines(&answer).iter().for_each(|line| session.out.line(line));
        }
    }
    Ok(exit)
}

fn entity(of: &Value) -> String {
    if of.is_null() { String::new() } else { format!("{}::{:?}", text(of, "type"), text(of, "id")) }
}

fn list<'a>(of: &'a Value, name: &str) -> &'a [Value] {
    of.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The story, forbids first.
fn lines(answer: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    let permitted = text(answer, "decision") == "permit";
    let names = |member: &str| -> Vec<String> { list(answer, member).iter().map(super::session::plain).collect() };
    let considered = list(answer, "considered");
    let show = |title: &str, ids: &[String], lines: &mut Vec<String>| {
        if ids.is_empty() {
            return;
        }
        lines.push(String::new());
        lines.push(title.to_owned());
        for policy in considered.iter().filter(|policy| ids.contains(&text(policy, "policy"))) {
            show_policy(policy, "  ", lines);
        }
    };
    let erring: Vec<String> = considered
        .iter()
        .filter(|policy| text(policy, "outcome") == "errs")
        .map(|policy| text(policy, "policy"))
        .collect();
    show("Forbidden by", &names("forbids"), &mut lines);
    show("Could not be evaluated", &erring, &mut lines);
    show(if permitted { "Permitted by" } else { "Overridden permits" }, &names("permits"), &mut lines);
    let nearest = list(answer, "nearest");
    if !nearest.is_empty() {
        lines.push(String::new());
        lines.push("What would permit it, the nearest first".into());
        for (at, grant) in nearest.iter().enumerate() {
            lines.push(format!("  {}. {}  {}", at + 1, text(grant, "policy"), text(grant, "title")));
            for step in list(grant, "missing") {
                lines.push(format!("       {}  ({})", text(step, "what"), text(step, "by")));
            }
            let id = text(grant, "policy");
            for policy in considered.iter().filter(|policy| text(policy, "policy") == id) {
                show_conditions(policy, "         ", &mut lines);
            }
        }
    } else if !permitted && !considered.is_empty() {
        lines.push(String::new());
        lines.push("No change of this person's rights would permit it.".into());
    }
    let undone = list(answer, "undoneBy");
    if permitted {
        lines.push(String::new());
        lines.push("What would take it away, each by itself".into());
        for step in undone {
            lines.push(format!("  {}  ({})", text(step, "what"), text(step, "by")));
        }
        lines.push("  deactivate or lock the person".into());
    }
    lines
}

fn show_policy(policy: &Value, indent: &str, lines: &mut Vec<String>) {
    lines.push(format!("{indent}{}  {}", text(policy, "policy"), text(policy, "title")));
    let advice = text(policy, "advice");
    if !advice.is_empty() && text(policy, "effect") == "forbid" {
        lines.push(format!("{indent}  {advice}"));
    }
    show_conditions(policy, &format!("{indent}    "), lines);
}

fn show_conditions(policy: &Value, indent: &str, lines: &mut Vec<String>) {
    for condition in list(policy, "conditions") {
        let clause = match text(condition, "clause").as_str() {
            "scope" => String::new(),
            other => format!("{other} "),
        };
        let state = match text(condition, "holds").as_str() {
            "true" => "holds",
            "false" => "fails",
            other => other,
        }
        .to_owned();
        let error = text(condition, "error");
        let error = if error.is_empty() { error } else { format!(": {error}") };
        lines.push(format!("{indent}{state:<11}  {clause}{}{error}", text(condition, "condition")));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_deny_shows_the_forbid_then_the_overridden_permit_then_the_way() {
        let answer = json!({
            "decision": "deny", "forbids": ["wall"], "permits": ["ordering"],
            "nearest": [{"policy": "ordering", "title": "Orders.", "missing": [{"what": "grant account 7", "by": "an admin"}]}],
            "considered": [
                {"policy": "wall", "effect": "forbid", "title": "A wall.", "advice": "Ask.", "outcome": "speaks",
                    "conditions": [{"clause": "unless", "condition": "a", "holds": "true"}]},
                {"policy": "ordering", "effect": "permit", "title": "Orders.", "advice": null, "outcome": "speaks",
                    "conditions": [{"clause": "scope", "condition": "principal in R", "holds": "true"}]},
            ],
        });
        let shown = lines(&answer).join("\n");
        let wanted = "
Forbidden by
  wall  A wall.
    Ask.
      holds        unless a

Overridden permits
  ordering  Orders.
      holds        principal in R

What would permit it, the nearest first
  1. ordering  Orders.
       grant account 7  (an admin)
         holds        principal in R";
        assert_eq!(shown, wanted);
    }
}
