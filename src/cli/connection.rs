//! `connection`: identity providers and their tokens.

use serde_json::{Map, Value, json};

use super::arguments::{AddConnection, Connection, list};
use super::exit::Exit;
use super::remote::encoded;
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
                row
            };
            let header = ["ID", "ORGANIZATION", "NAME", "PROFILE", "LIVE TOKENS"];
            session.list(CONNECTIONS, &[("organization", organization.as_deref())], &header, row).await
        }
        Connection::Show { id } => session.show(&format!("{CONNECTIONS}/{}", encoded(&id)), facts).await,
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

fn facts(value: &Value) -> Vec<(&'static str, String)> {
    let mut facts = members(value, &["id", "name", "organization", "profile", "settings"]);
    for token in tokens(value) {
        let mut words = vec![text(token, "id"), if is_live(token) { "live".to_owned() } else { "ended".to_owned() }];
        for name in ["created", "expires", "revoked"] {
            let at = text(token, name);
            if !at.is_empty() {
                words.push(format!("{name} {at}"));
            }
        }
        facts.push(("token", words.join(", ")));
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
