//! `export`: the people and groups of an organization as `import` reads them; and `policy people`: what decisions read
//! of everybody, as `policy diff` and `policy check` read it.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use serde_json::{Map, Value, json};

use super::arguments::Export;
use super::exit::Exit;
use super::remote::{Fault, encoded};
use super::session::{Session, Verdict, text};
use crate::http::Method;

const USER_EXTENSION: &str = "urn:ietf:params:scim:schemas:extension:cedargate:2.0:User";
const GROUP: &str = "urn:ietf:params:scim:schemas:core:2.0:Group";
const GROUP_EXTENSION: &str = "urn:ietf:params:scim:schemas:extension:cedargate:2.0:Group";

/// What an operator sees beside a person's document, and what a new installation makes itself.
const NOT_OF_THE_DOCUMENT: [&str; 8] =
    ["id", "meta", "groups", "organization", "deleted", "externalIds", "effective", "withheld"];

/// People asked for at a time.
const PAGE: usize = 1_000;

/// `export`: 0 all of them, 6 where something could not be said in an import.
pub async fn export(session: &mut Session<'_>, flags: &Export) -> Verdict {
    let known = session.remote.get("/manage/v1/roles").await?;
    let roles = list(&known, "roles").iter().map(|role| text(role, "name")).collect();
    let mut exported = Exported { roles, ..Exported::default() };
    exported.people(session, &flags.organization).await?;
    exported.groups(&everybody(session).await?, &flags.organization)?;
    write(session, flags.file.as_deref(), &exported.lines)?;
    session.out.say(&format!("{} people, {} groups", exported.names.len(), exported.groups));
    for left in &exported.left {
        session.out.say(left);
    }
    Ok(if exported.left.is_empty() { Exit::Success } else { Exit::Partial })
}

/// `policy people`: the lines to a file, or to stdout.
pub async fn people(session: &mut Session<'_>, file: Option<&Path>) -> Verdict {
    let lines = everybody(session).await?;
    write(session, file, &lines)?;
    Ok(Exit::Success)
}

/// Everything that decisions read of the running server, as JSON lines.
pub async fn everybody(session: &mut Session<'_>) -> Result<String, Fault> {
    let mut lines = String::new();
    let mut after = Value::Null;
    loop {
        let body = json!({"after": after});
        let (answer, _) = session.remote.call(Method::POST, "/v1/directory", Some(body)).await?;
        for item in list(&answer, "items") {
            lines.push_str(&item.to_string());
            lines.push('\n');
        }
        match answer.get("next") {
            Some(next @ Value::String(_)) => after = next.clone(),
            Some(_) | None => return Ok(lines),
        }
    }
}

fn write(session: &mut Session<'_>, file: Option<&Path>, lines: &str) -> Result<(), Fault> {
    let Some(path) = file else {
        session.out.raw(lines.as_bytes());
        return Ok(());
    };
    std::fs::write(path, lines)
        .map_err(|cause| Fault::failure(format!("`{}` cannot be written: {cause}", path.display())))?;
    session.out.say(&format!("{} lines in {}", lines.lines().count(), path.display()));
    Ok(())
}

fn list<'a>(of: &'a Value, name: &str) -> &'a [Value] {
    of.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

#[derive(Default)]
struct Exported {
    lines: String,
    /// The names that an import accepts.
    roles: HashSet<String>,
    /// Ids of the people to their names.
    names: HashMap<String, String>,
    groups: usize,
    /// What the lines do not say.
    left: Vec<String>,
}

impl Exported {
    async fn people(&mut self, session: &mut Session<'_>, organization: &str) -> Result<(), Fault> {
        let (mut cursor, mut deleted, mut withheld, mut renamed) = (String::new(), 0, 0, 0);
        loop {
            let path = format!("/manage/v1/users?organization={}&count={PAGE}{cursor}", encoded(organization));
            let page = session.remote.get(&path).await?;
            for user in list(&page, "items") {
                if user.get("deleted") == Some(&Value::Bool(true)) {
                    deleted += 1;
                    continue;
                }
                let extension = user.get(USER_EXTENSION).unwrap_or(&Value::Null);
                renamed += usize::from(text(extension, "username") != text(user, "userName"));
                self.names.insert(text(user, "id"), text(user, "userName"));
                let (line, whole) = person(user, &self.roles);
                withheld += usize::from(!whole);
                self.line(&line);
            }
            match page.get("next").and_then(Value::as_str) {
                Some(next) => cursor = format!("&cursor={}", encoded(next)),
                None => break,
            }
        }
        for (count, what) in [
            (deleted, "deleted people are left out"),
            (
                withheld,
                "people claim rights that nobody gave, or roles that nobody knows; an import would refuse these, so they are left out",
            ),
            (renamed, "people had another username first, which a new installation will not know"),
        ] {
            if count > 0 {
                self.left.push(format!("{count} {what}"));
            }
        }
        Ok(())
    }

    /// Groups after the people, each with everybody in it, through other groups too: a line names people only.
    fn groups(&mut self, everybody: &str, organization: &str) -> Result<(), Fault> {
        let mut directory = Directory::default();
        for line in everybody.lines() {
            let change: Value = serde_json::from_str(line)
                .map_err(|error| Fault::failure(format!("the server's people cannot be read: {error}")))?;
            directory.see(change, organization);
        }
        let mut flattened = 0;
        for (number, group) in &directory.groups {
            let (people, through) = directory.people_in(*number);
            flattened += usize::from(through);
            let members = people.iter().filter_map(|id| self.names.get(*id)).map(|name| json!({"value": name}));
            let accounts: Vec<&String> =
                list(group, "accounts").iter().filter_map(|number| directory.accounts.get(&number.as_u64()?)).collect();
            let roles = list(group, "roles").iter().filter_map(Value::as_str).filter(|name| self.roles.contains(*name));
            let roles: Vec<&str> = roles.collect();
            let line = json!({
                "schemas": [GROUP, GROUP_EXTENSION],
                "displayName": text(group, "name"),
                "members": members.collect::<Vec<_>>(),
                GROUP_EXTENSION: {"roles": roles, "accounts": accounts},
            });
            self.line(&line);
            self.groups += 1;
        }
        if flattened > 0 {
            self.left.push(format!("{flattened} groups hold other groups: their people are listed instead"));
        }
        Ok(())
    }

    fn line(&mut self, value: &Value) {
        self.lines.push_str(&value.to_string());
        self.lines.push('\n');
    }
}

/// A person's document without what the server adds, and without what an import refuses: what nobody was allowed to
/// give, and roles beyond the known ones. Whether all of it is there.
fn person(user: &Value, roles: &HashSet<String>) -> (Value, bool) {
    let is_withheld = |list: &str, name: &str| {
        let names = user.pointer(&format!("/withheld/{list}")).and_then(Value::as_array);
        names.into_iter().flatten().any(|withheld| withheld.as_str() == Some(name))
    };
    let mut document: Map<String, Value> = user.as_object().cloned().unwrap_or_default();
    NOT_OF_THE_DOCUMENT.iter().for_each(|name| drop(document.remove(*name)));
    let mut whole = true;
    let mut keep = |list: Option<&mut Value>, keeps: &dyn Fn(&str) -> bool| {
        if let Some(items) = list.and_then(Value::as_array_mut) {
            let before = items.len();
            items.retain(|item| item.get("value").unwrap_or(item).as_str().is_none_or(keeps));
            whole &= items.len() == before;
        }
    };
    keep(document.get_mut("roles"), &|name| roles.contains(name) && !is_withheld("roles", name));
    let extension = document.get_mut(USER_EXTENSION);
    if let Some(extension) = extension {
        keep(extension.get_mut("accounts"), &|id| !is_withheld("accounts", id));
        if let Some(members) = extension.as_object_mut() {
            members.remove("username");
            if user.pointer("/withheld/administrationLevel").is_some() {
                members.remove("administrationLevel");
                whole = false;
            }
        }
    }
    (Value::Object(document), whole)
}

/// Groups, accounts and memberships, as `/v1/directory` tells them.
#[derive(Default)]
struct Directory {
    organization: Option<u64>,
    accounts: HashMap<u64, String>,
    people: HashMap<u64, String>,
    groups: Vec<(u64, Value)>,
    members: HashMap<u64, Vec<u64>>,
}

impl Directory {
    fn see(&mut self, change: Value, organization: &str) {
        let Some(number) = change.get("number").and_then(Value::as_u64) else { return };
        let image = change.get("image").cloned().unwrap_or(Value::Null);
        let own = || image.get("organization").and_then(Value::as_u64);
        match image.get("kind").and_then(Value::as_str) {
            Some("organization") if text(&image, "id") == organization => self.organization = Some(number),
            Some("account") => drop(self.accounts.insert(number, text(&image, "id"))),
            Some("user") => drop(self.people.insert(number, text(&image, "id"))),
            // An organization is older than its groups, so it has been seen.
            Some("group") if own().is_some() && own() == self.organization => self.groups.push((number, image)),
            Some("members") => {
                let joined = list(&image, "added").iter().filter_map(Value::as_u64);
                self.members.entry(number).or_default().extend(joined);
            }
            Some(_) | None => {}
        }
    }

    /// The ids of everybody in a group, and whether some are in it through another one.
    fn people_in(&self, group: u64) -> (Vec<&String>, bool) {
        let (mut waiting, mut seen) = (vec![group], vec![group]);
        let mut people: Vec<&String> = Vec::new();
        while let Some(next) = waiting.pop() {
            for member in self.members.get(&next).into_iter().flatten() {
                match self.people.get(member) {
                    Some(id) => people.push(id),
                    None if !seen.contains(member) => {
                        seen.push(*member);
                        waiting.push(*member);
                    }
                    None => {}
                }
            }
        }
        people.sort();
        people.dedup();
        (people, seen.len() > 1)
    }
}
