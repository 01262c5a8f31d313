//! `user`: people, as operators see and change them.

use serde_json::{Map, Value, json};

use super::arguments::{SetUser, User, list};
use super::exit::Exit;
use super::remote::encoded;
use super::session::{Session, Verdict, members, plain, text};
use crate::http::Method;

const USERS: &str = "/manage/v1/users";

/// The URN of our user attributes in SCIM-shaped answers.
const USER_EXTENSION: &str = "urn:ietf:params:scim:schemas:extension:cedargate:2.0:User";

/// `user …`
pub async fn user(session: &mut Session<'_>, verb: User) -> Verdict {
    match verb {
        User::List { filter, organization } => {
            let header = ["USERNAME", "ID", "ORGANIZATION", "ACTIVE", "LEVEL", "ROLES", "ACCOUNTS"];
            let parameters = [("filter", filter.as_deref()), ("organization", organization.as_deref())];
            session.list(USERS, &parameters, &header, row).await
        }
        User::Show { user } => session.show(&format!("{USERS}/{}", encoded(&user)), facts).await,
        User::Set(flags) => set(session, flags).await,
        User::Deactivate { user } => patch(session, &user, json!({"active": false})).await,
        User::Reactivate { user } => patch(session, &user, json!({"active": true})).await,
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
    let effective = user.get("effective").unwrap_or(&Value::Null);
    let mut row = ["userName", "id", "organization"].map(|name| text(user, name)).to_vec();
    row.extend(["active", "administrationLevel"].map(|name| text(effective, name)));
    row.push(names(effective, "roles", "name").join(", "));
    row.push(names(effective, "accounts", "id").join(", "));
    row
}

/// What holds, not what a document says; what it says and nobody was allowed to give stands under `withheld`.
fn facts(user: &Value) -> Vec<(&'static str, String)> {
    let effective = user.get("effective").unwrap_or(&Value::Null);
    let mut facts = members(user, &["userName", "id", "organization", "displayName"]);
    facts.push(("emails", names(user, "emails", "value").join(", ")));
    facts.extend(members(effective, &["active"]));
    if user.get("deleted") == Some(&Value::Bool(true)) {
        facts.push(("deleted", "yes".to_owned()));
    }
    if let Some(extension) = user.get(USER_EXTENSION) {
        facts.extend(members(extension, &["username", "locked", "passwordChangedAt"]));
    }
    facts.extend(members(effective, &["administrationLevel", "accessMethods"]));
    for (title, list, name) in [("roles", "roles", "name"), ("accounts", "accounts", "id")] {
        facts.push((title, names(effective, list, name).join(", ")));
    }
    facts.push(("groups", names(user, "groups", "display").join(", ")));
    for (name, value) in user.get("withheld").and_then(Value::as_object).into_iter().flatten() {
        facts.push(("withheld", format!("{name}: {}", plain(value))));
    }
    facts
}

/// The elements of a list, each by one of its members, with the group that it comes from.
fn names(value: &Value, list: &str, member: &str) -> Vec<String> {
    let elements = value.get(list).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    elements
        .iter()
        .map(|element| match element.get("origin").and_then(|origin| origin.get("name")) {
            Some(group) => format!("{} (by group {})", text(element, member), plain(group)),
            None => text(element, member),
        })
        .collect()
}
