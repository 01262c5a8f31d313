//! `connection`: identity providers and their tokens.

use serde_json::{Map, Value, json};

mod events;

use super::arguments::{AddConnection, Connection, SetConnection, list};
use super::exit::Exit;
use super::remote::{Fault, encoded};
use super::session::{Session, Verdict, members, plain, text};
use crate::http::Method;

const CONNECTIONS: &str = "/manage/v1/connections";

/// `connection …`. `front` is the address to enter at the identity provider, where it is known.
pub async fn connection(session: &mut Session<'_>, verb: Connection, front: Option<&str>) -> Verdict {
    match verb {
        Connection::Add(flags) => add(session, flags, front).await,
        Connection::List { organization } => {
            let row = |item: &Value| {
                let mut row = ["id", "organization", "name", "profile"].map(|name| text(item, name)).to_vec();
                row.push(live_tokens(item).len().to_string());
                let standing = item.get("standing").unwrap_or(&Value::Null);
                row.push(text(standing, "lastSuccess"));
                row.push(state(standing));
                row
            };
            let header = ["ID", "ORGANIZATION", "NAME", "PROFILE", "LIVE TOKENS", "LAST SUCCESS", "STATE"];
            session.list(CONNECTIONS, &[("organization", organization.as_deref())], &header, row).await
        }
        Connection::Show { id } => session.show(&format!("{CONNECTIONS}/{}", encoded(&id)), facts).await,
        Connection::Set(flags) => set(session, flags).await,
        Connection::Events(flags) => events::events(session, &flags).await,
        Connection::Event { id } => session.show(&format!("/manage/v1/events/{}", encoded(&id)), events::facts).await,
        Connection::Undo { id, since, dry_run } => undo(session, &id, since.as_deref(), dry_run).await,
        Connection::Settle { id } => {
            session.write(Method::DELETE, &format!("{CONNECTIONS}/{}/alarm", encoded(&id)), None, facts).await?;
            session.out.say("the alarm is over");
            Ok(Exit::Success)
        }
        Connection::Rotate { id, expires } => {
            let path = format!("{CONNECTIONS}/{}", encoded(&id));
            let body = expires.map(|expires| json!({"expires": expires}));
            let shown = |value: &Value| members(value, &["id", "token", "created", "expires"]);
            let new = session.write(Method::POST, &format!("{path}/tokens"), body, shown).await?;
            session.out.say("The token is shown this once: enter it at the identity provider now.");
            let new = text(&new, "id");
            for old in live_tokens(&session.remote.get(&path).await?).iter().filter(|old| **old != new) {
                session.out.say(&format!("Then end the one before: cedargate connection revoke {id} {old}"));
            }
            Ok(Exit::Success)
        }
        Connection::Revoke { id, token } => {
            let path = format!("{CONNECTIONS}/{}/tokens/{}", encoded(&id), encoded(&token));
            session.write(Method::DELETE, &path, None, facts).await?;
            Ok(Exit::Success)
        }
        Connection::Delete { id, yes: _ } => {
            session.write(Method::DELETE, &format!("{CONNECTIONS}/{}", encoded(&id)), None, facts).await?;
            Ok(Exit::Success)
        }
    }
}

async fn add(session: &mut Session<'_>, flags: AddConnection, front: Option<&str>) -> Verdict {
    let mut settings = Map::new();
    if flags.may_grant_admin {
        settings.insert("may_grant_admin".to_owned(), json!(true));
    }
    for (name, names) in [("roles", &flags.roles), ("accounts", &flags.accounts)] {
        if let Some(names) = names {
            settings.insert(name.to_owned(), json!(list(names)));
        }
    }
    if let Some(change) = flags.username_change {
        settings.insert("username_change".to_owned(), json!(change));
    }
    if flags.password_sync {
        settings.insert("password_sync".to_owned(), json!(true));
    }
    let body = json!({
        "name": flags.name,
        "organization": flags.organization,
        "profile": flags.profile,
        "settings": settings,
    });
    let shown = |value: &Value| {
        let mut shown = vec![("url", front.map(|front| format!("{front}/scim/v2")).unwrap_or_default())];
        shown.extend(members(value, &["token", "id", "name", "organization", "profile", "settings"]));
        shown
    };
    session.write(Method::POST, CONNECTIONS, Some(body), shown).await?;
    session.out.say("The token is shown this once: enter it with the URL at the identity provider now.");
    Ok(Exit::Success)
}

async fn set(session: &mut Session<'_>, flags: SetConnection) -> Verdict {
    let mut alarm = Map::new();
    let counts =
        [("count", flags.alarm_count), ("share_percent", flags.alarm_share), ("window_minutes", flags.alarm_window)];
    alarm.extend(counts.into_iter().filter_map(|(name, value)| Some((name.to_owned(), json!(value?)))));
    alarm.extend(flags.alarm_hold.map(|hold| ("hold".to_owned(), json!(hold))));
    let mut settings = Map::new();
    if !alarm.is_empty() {
        settings.insert("deactivation_alarm".to_owned(), Value::Object(alarm));
    }
    settings.extend(flags.may_grant_admin.map(|may| ("may_grant_admin".to_owned(), json!(may))));
    settings.extend(flags.requests_per_second.map(|rate| ("requests_per_second".to_owned(), json!(rate))));
    let mut body = Map::new();
    body.extend(flags.name.map(|name| ("name".to_owned(), json!(name))));
    body.extend(flags.profile.map(|profile| ("profile".to_owned(), json!(profile))));
    if !settings.is_empty() {
        body.insert("settings".to_owned(), Value::Object(settings));
    }
    if body.is_empty() {
        return Err(Fault::usage("say what to change; `cedargate connection set --help` lists it"));
    }
    let path = format!("{CONNECTIONS}/{}", encoded(&flags.id));
    session.write(Method::PATCH, &path, Some(Value::Object(body)), facts).await?;
    Ok(Exit::Success)
}

/// 0 where everybody has access back, 6 where somebody could not get it.
async fn undo(session: &mut Session<'_>, id: &str, since: Option<&str>, dry_run: bool) -> Verdict {
    let mut body = json!({"dryRun": dry_run});
    if let (Some(since), Some(members)) = (since, body.as_object_mut()) {
        members.insert("since".to_owned(), json!(since));
    }
    let shown = |value: &Value| {
        let mut facts = members(value, &["restored", "unchanged", "kept", "failed"]);
        for person in value.get("keptPeople").and_then(Value::as_array).into_iter().flatten() {
            facts.push(("kept", format!("{}: somebody else deactivated this person, too", plain(person))));
        }
        for failure in value.get("failures").and_then(Value::as_array).into_iter().flatten() {
            facts.push(("failure", format!("{}: {}", text(failure, "user"), text(failure, "error"))));
        }
        facts
    };
    let path = format!("{CONNECTIONS}/{}/undo", encoded(id));
    let undone = session.write(Method::POST, &path, Some(body), shown).await?;
    if dry_run {
        session.out.say("nothing was changed: this was a dry run");
    }
    Ok(if undone.get("failed") == Some(&json!(0)) { Exit::Success } else { Exit::Partial })
}

/// The alarm first, then how near a quarantine is.
fn state(standing: &Value) -> String {
    let quarantine = standing.get("quarantine").unwrap_or(&Value::Null);
    let share = quarantine.get("failureRatio").and_then(Value::as_f64).unwrap_or(0.0) * 100.0;
    let mut state = text(quarantine, "state");
    if quarantine.get("failures").and_then(Value::as_u64).unwrap_or(0) > 0 {
        state = format!("{state}, {share:.1} % failing");
    }
    match standing.get("alarm").filter(|alarm| !alarm.is_null()) {
        Some(alarm) => format!("ALARM: {} deactivated; {state}", text(alarm, "deactivated")),
        None => state,
    }
}

fn facts(value: &Value) -> Vec<(&'static str, String)> {
    let mut facts = members(value, &["id", "name", "organization", "profile", "settings"]);
    for token in tokens(value) {
        let mut words = vec![text(token, "id"), if is_live(token) { "live".to_owned() } else { "ended".to_owned() }];
        for (name, said) in
            [("created", "created"), ("lastUsed", "last used"), ("expires", "expires"), ("revoked", "revoked")]
        {
            let at = text(token, name);
            if !at.is_empty() {
                words.push(format!("{said} {at}"));
            }
        }
        facts.push(("token", words.join(", ")));
    }
    let Some(standing) = value.get("standing") else { return facts };
    facts.push(("state", state(standing)));
    for (title, name) in [("last request", "lastRequest"), ("last success", "lastSuccess"), ("client", "client")] {
        facts.push((title, text(standing, name)));
    }
    if let Some(quarantine) = standing.get("quarantine") {
        let [failures, requests, minutes] =
            ["failures", "requests", "windowMinutes"].map(|name| text(quarantine, name));
        facts.push(("failures", format!("{failures} of {requests} requests within {minutes} minutes")));
    }
    if let Some(alarm) = standing.get("alarm").filter(|alarm| !alarm.is_null()) {
        let [at, since, deactivated] = ["at", "since", "deactivated"].map(|name| text(alarm, name));
        facts.push(("alarm", format!("raised {at}: {deactivated} people deactivated since event {since}")));
    }
    facts
}

fn tokens(connection: &Value) -> &[Value] {
    connection.get("tokens").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn is_live(token: &Value) -> bool {
    token.get("live") == Some(&Value::Bool(true))
}

fn live_tokens(connection: &Value) -> Vec<String> {
    tokens(connection).iter().filter(|token| is_live(token)).filter_map(|token| token.get("id")).map(plain).collect()
}
