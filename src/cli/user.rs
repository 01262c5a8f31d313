//! `user`: people, as operators see and change them.

use serde_json::{Map, Value, json};

use super::arguments::{SetUser, User, list};
use super::exit::Exit;
use super::remote::encoded;
use super::session::{Session, Verdict, members, plain, text};
use crate::http::Method;

const USERS: &str = "/manage/v1/users";

/// The extension of the SCIM User in which level, methods, accounts, lock and password age stand.
const EXTENSION: &str = "urn:ietf:params:scim:schemas:extension:cedargate:2.0:User";

/// `user …`
pub async fn user(session: &mut Session<'_>, verb: User) -> Verdict {
    match verb {
        User::List { filter } => {
            let header = ["USERNAME", "ID", "ACTIVE", "LEVEL", "ROLES"];
            session.list(USERS, &[("filter", filter.as_deref())], &header, row).await
        }
        User::Show { user } => session.show(&format!("{USERS}/{}", encoded(&user)), facts).await,
        User::Set(flags) => set(session, flags).await,
        User::Deactivate { user } => patch(session, &user, json!({"active": false})).await,
        User::Activate { user } => patch(session, &user, json!({"active": true})).await,
        User::Lock { user } => patch(session, &user, json!({"locked": true})).await,
        User::Unlock { user } => patch(session, &user, json!({"locked": false})).await,
    }
}

async fn set(session: &mut Session<'_>, SetUser { user, changes: flags }: SetUser) -> Verdict {
    let mut changes = Map::new();
    for (name, value) in [("administrationLevel", flags.level), ("passwordChangedAt", flags.password_changed_at)] {
        if let Some(value) = value {
            changes.insert(name.to_owned(), json!(value));
        }
    }
    for (name, values) in
        [("roles", flags.roles), ("accounts", flags.accounts), ("accessMethods", flags.access_methods)]
    {
        if let Some(values) = values {
            changes.insert(name.to_owned(), json!(list(&values)));
        }
    }
    patch(session, &user, Value::Object(changes)).await
}

async fn patch(session: &mut Session<'_>, user: &str, changes: Value) -> Verdict {
    session.write(Method::PATCH, &format!("{USERS}/{}", encoded(user)), Some(changes), facts).await?;
    Ok(Exit::Success)
}

fn row(user: &Value) -> Vec<String> {
    let extension = user.get(EXTENSION).unwrap_or(&Value::Null);
    let mut row = ["userName", "id", "active"].map(|name| text(user, name)).to_vec();
    row.push(text(extension, "administrationLevel"));
    row.push(values(user.get("roles")).join(", "));
    row
}

fn facts(user: &Value) -> Vec<(&'static str, String)> {
    let mut facts = members(user, &["userName", "id", "externalId", "displayName", "active"]);
    facts.push(("emails", values(user.get("emails")).join(", ")));
    if let Some(extension) = user.get(EXTENSION) {
        let names = ["username", "administrationLevel", "accessMethods", "locked", "passwordChangedAt"];
        facts.extend(members(extension, &names));
        facts.push(("accounts", values(extension.get("accounts")).join(", ")));
    }
    facts.push(("roles", values(user.get("roles")).join(", ")));
    facts.push(("groups", values(user.get("groups")).join(", ")));
    facts
}

/// What a multi-valued attribute says, whether its elements are plain or complex.
fn values(attribute: Option<&Value>) -> Vec<String> {
    let elements = attribute.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    elements
        .iter()
        .map(|element| match element.get("display").or_else(|| element.get("value")) {
            Some(value) => plain(value),
            None => plain(element),
        })
        .collect()
}
