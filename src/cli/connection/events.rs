//! `connection events`: the provisioning log as a table or JSON lines, once or as it grows.

use std::time::Duration;

use serde_json::Value;

use super::super::arguments::Events;
use super::super::exit::Exit;
use super::super::output::OutputFormat;
use super::super::remote::{Fault, encoded};
use super::super::session::{Session, Verdict, plain, text};
use super::CONNECTIONS;

/// How often a followed log is looked at.
const GLANCE: Duration = Duration::from_secs(1);
/// Entries that a followed log takes at a time.
const CATCH: u64 = 1_000;

const HEADER: [&str; 6] = ["TIME", "STATUS", "WHAT", "RESOURCE", "CHANGE", "EVENT"];

/// `connection events ID`
pub(super) async fn events(session: &mut Session<'_>, flags: &Events) -> Verdict {
    let path = format!("{CONNECTIONS}/{}/events", encoded(&flags.id));
    let mut query = String::new();
    let parameters = [
        ("outcome", &flags.outcome),
        ("kind", &flags.kind),
        ("resource", &flags.resource),
        ("since", &flags.since),
        ("until", &flags.until),
    ];
    for (name, value) in parameters {
        if let Some(value) = value {
            query.push_str(&format!("&{name}={}", encoded(value)));
        }
    }
    let page = session.remote.get(&format!("{path}?count={}{query}", flags.count)).await?;
    let mut items = items(&page)?;
    if !flags.follow {
        print(session, &items, true);
        if page.get("next").is_some_and(Value::is_string) {
            session.out.say("there are more; ask for them with --count, --since or --until");
        } else if items.is_empty() {
            session.out.say("nothing found");
        }
        return Ok(Exit::Success);
    }
    items.reverse();
    print(session, &items, true);
    let mut last = newest(&items).unwrap_or(0);
    while !session.out.failed() {
        tokio::time::sleep(GLANCE).await;
        let mut items = self::items(&session.remote.get(&format!("{path}?count={CATCH}&after={last}{query}")).await?)?;
        items.reverse();
        print(session, &items, false);
        last = newest(&items).unwrap_or(last);
    }
    Ok(Exit::Success)
}

fn items(page: &Value) -> Result<Vec<Value>, Fault> {
    page.get("items").and_then(Value::as_array).cloned().ok_or_else(|| Fault::failure("the answer holds no list"))
}

fn newest(items: &[Value]) -> Option<u64> {
    items.iter().filter_map(|item| item.get("number").and_then(Value::as_u64)).max()
}

/// JSON is one entry a line, so that a followed log can be piped.
fn print(session: &mut Session<'_>, items: &[Value], first: bool) {
    match session.out.format {
        OutputFormat::Json => items.iter().for_each(|item| session.out.raw(format!("{item}\n").as_bytes())),
        OutputFormat::Table if first => session.out.table(&HEADER, &items.iter().map(row).collect::<Vec<_>>()),
        OutputFormat::Table => items.iter().for_each(|item| session.out.line(&row(item).join("  "))),
    }
}

fn row(item: &Value) -> Vec<String> {
    let part = |name: &str| item.get(name).unwrap_or(&Value::Null);
    let resource = part("resource");
    let name = text(resource, "name");
    vec![
        text(item, "at"),
        text(item, "status"),
        what(item),
        if name.is_empty() { text(resource, "id") } else { name },
        summary(item),
        text(item, "id"),
    ]
}

/// `PATCH User`, or what sort of entry it is.
fn what(item: &Value) -> String {
    let kind = text(item, "kind");
    match item.get("request") {
        Some(request) => {
            let path = text(request, "path");
            let endpoint = path.split('/').nth(3).unwrap_or_default();
            format!("{} {endpoint}", text(request, "method"))
        }
        None => kind,
    }
}

/// What went wrong, else what happened to access, else which attributes changed.
fn summary(item: &Value) -> String {
    let detail = text(item, "detail");
    if !detail.is_empty() {
        return detail;
    }
    let effect = item.get("effect").and_then(Value::as_object);
    let mut words: Vec<String> = effect.into_iter().flatten().filter_map(|(name, value)| one(name, value)).collect();
    if words.is_empty() {
        let changes = item.get("changes").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        words = changes.iter().map(|change| short(&text(change, "attribute"))).collect();
    }
    let marks = item.get("marks").and_then(Value::as_array).map_or(0, Vec::len);
    if marks > 0 {
        words.push(format!("{marks} marked"));
    }
    if words.is_empty() { "no change".to_owned() } else { words.join("; ") }
}

fn one(name: &str, value: &Value) -> Option<String> {
    if let (Some(before), Some(after)) = (value.get("before"), value.get("after")) {
        // What a new person begins with is no change.
        return (!before.is_null()).then(|| format!("{name} {} > {}", plain(before), plain(after)));
    }
    let count = |side: &str| match value.get(side)? {
        Value::Array(names) if names.is_empty() => None,
        Value::Array(names) => Some(names.iter().map(title).collect::<Vec<_>>().join(", ")),
        Value::Object(members) => {
            let total = members.get("total")?;
            if total == 0 { None } else { Some(if total.is_null() { "many".to_owned() } else { total.to_string() }) }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    };
    let sides = [("+", count("gained")), ("-", count("lost"))];
    let words: Vec<String> = sides.into_iter().filter_map(|(sign, names)| Some(format!("{sign}{}", names?))).collect();
    if name == "gives" || words.is_empty() { None } else { Some(format!("{name} {}", words.join(" "))) }
}

fn title(value: &Value) -> String {
    if value.is_object() { text(value, "name") } else { plain(value) }
}

/// The last part of a URN-qualified name.
fn short(attribute: &str) -> String {
    attribute.rsplit(':').next().unwrap_or(attribute).to_owned()
}

/// One event, everything that it says.
pub(super) fn facts(item: &Value) -> Vec<(&'static str, String)> {
    let mut facts = vec![("event", text(item, "id"))];
    for (title, name) in [("at", "at"), ("connection", "connection"), ("kind", "kind"), ("status", "status")] {
        facts.push((title, text(item, name)));
    }
    if let Some(request) = item.get("request") {
        facts.push(("request", format!("{} {}", text(request, "method"), text(request, "path"))));
        facts.push(("client", text(request, "client")));
    }
    if let Some(resource) = item.get("resource") {
        let [kind, id, name] = ["type", "id", "name"].map(|part| text(resource, part));
        facts.push(("resource", format!("{kind} {name} {id}").trim().to_owned()));
    }
    for (title, name) in [("scimType", "scimType"), ("detail", "detail")] {
        facts.push((title, text(item, name)));
    }
    for change in item.get("changes").and_then(Value::as_array).into_iter().flatten() {
        let [before, after] = ["before", "after"].map(|side| change.get(side).unwrap_or(&Value::Null).to_string());
        facts.push(("change", format!("{}: {before} > {after}", text(change, "attribute"))));
    }
    for mark in item.get("marks").and_then(Value::as_array).into_iter().flatten() {
        facts.push(("mark", text(mark, "message")));
    }
    for (name, value) in item.get("effect").and_then(Value::as_object).into_iter().flatten() {
        let said = one(name, value).unwrap_or_else(|| format!("{name} {value}"));
        facts.push(("effect", said));
    }
    if item.get("undoable") == Some(&Value::Bool(true)) {
        facts.push(("undo", "can be taken back with `cedargate connection undo`".to_owned()));
    }
    facts
}
