//! How the kinds of identity providers word their requests.

use serde_json::{Map, Value, json};

use crate::model::{Group, Person};
use crate::support::Dice;

pub const USER_EXTENSION: &str = "urn:ietf:params:scim:schemas:extension:cedargate:2.0:User";
pub const GROUP_EXTENSION: &str = "urn:ietf:params:scim:schemas:extension:cedargate:2.0:Group";
const USER: &str = "urn:ietf:params:scim:schemas:core:2.0:User";
const GROUP: &str = "urn:ietf:params:scim:schemas:core:2.0:Group";
const PATCH: &str = "urn:ietf:params:scim:api:messages:2.0:PatchOp";

/// A manner of speaking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// Values without a path, filters in paths.
    Okta,
    /// Capital letters, text for booleans, lists of values to remove.
    Entra,
    /// As the RFC has it.
    Plain,
}

fn patch(operations: Value) -> Value {
    json!({"schemas": [PATCH], "Operations": operations})
}

/// Access methods as values.
pub fn methods(person: &Person) -> Vec<Value> {
    let both = [(person.dashboard, "dashboard"), (person.api, "api")];
    both.into_iter().filter(|(has, _)| *has).map(|(_, name)| json!(name)).collect()
}

/// The administration level.
pub const fn level(person: &Person) -> &'static str {
    if person.admin { "Account Admin" } else { "Basic User" }
}

/// A whole group.
pub fn group(name: &str, is: &Group, members: Vec<Value>) -> Value {
    json!({
        "schemas": [GROUP, GROUP_EXTENSION],
        "displayName": name,
        "members": members,
        GROUP_EXTENSION: {"roles": is.roles, "accounts": is.accounts},
    })
}

impl Wire {
    /// The manner of a connection's profile.
    pub fn of(profile: &str) -> Self {
        match profile {
            "okta" => Self::Okta,
            "entra" => Self::Entra,
            _ => Self::Plain,
        }
    }

    const fn name(self, plain: &'static str, entra: &'static str) -> &'static str {
        match self {
            Self::Entra => entra,
            Self::Okta | Self::Plain => plain,
        }
    }

    /// A whole user.
    pub fn user(self, who: &str, is: &Person) -> Value {
        let roles: Vec<Value> = is.roles.iter().map(|name| json!({"value": name})).collect();
        let mut body = json!({
            "schemas": [USER, USER_EXTENSION],
            "userName": who,
            "externalId": format!("external-{who}"),
            "name": {"givenName": "Given", "familyName": who},
            "active": is.active,
            "roles": roles,
            USER_EXTENSION: {
                "administrationLevel": level(is),
                "accessMethods": methods(is),
                "accounts": is.accounts,
            },
        });
        if self == Self::Okta {
            body["groups"] = json!([]);
            body["password"] = json!("aRandomPlaceholder7");
        }
        body
    }

    /// Deactivates or activates.
    pub fn active(self, dice: &mut Dice, active: bool) -> Value {
        match self {
            Self::Okta => patch(json!([{"op": "replace", "value": {"active": active}}])),
            Self::Entra => {
                let text = if active { "True" } else { "False" };
                patch(json!([{"op": "Replace", "path": "active", "value": text}]))
            }
            Self::Plain if dice.one_in(2) => patch(json!([{"op": "replace", "path": "active", "value": active}])),
            Self::Plain => patch(json!([{"op": "add", "value": {"active": active}}])),
        }
    }

    /// Adds values.
    pub fn add(self, path: &str, values: Vec<Value>) -> Value {
        patch(json!([{"op": self.name("add", "Add"), "path": path, "value": values}]))
    }

    /// Removes what the path names.
    pub fn remove(self, path: &str) -> Value {
        patch(json!([{"op": self.name("remove", "Remove"), "path": path}]))
    }

    /// Removes members: one operation for each, or one with the list of them.
    pub fn remove_members(self, ids: &[&str]) -> Value {
        if self == Self::Entra && !ids.is_empty() {
            let values: Vec<Value> = ids.iter().map(|id| json!({"$ref": null, "value": id})).collect();
            return patch(json!([{"op": "Remove", "path": "members", "value": values}]));
        }
        let one = |id: &&str| json!({"op": "remove", "path": format!("members[value eq \"{id}\"]")});
        let mut operations: Vec<Value> = ids.iter().map(one).collect();
        if operations.is_empty() {
            operations.push(json!({"op": "add", "path": "members", "value": []}));
        }
        patch(Value::Array(operations))
    }

    /// Replaces a whole attribute, of an extension where one is named.
    pub fn replace(self, dice: &mut Dice, extension: &str, attribute: &str, values: Vec<Value>) -> Value {
        let separator = if extension.is_empty() { "" } else { ":" };
        let path = format!("{extension}{separator}{attribute}");
        let pathless = match self {
            Self::Okta => true,
            Self::Entra => false,
            Self::Plain => dice.one_in(2),
        };
        if !pathless {
            return patch(json!([{"op": self.name("replace", "Replace"), "path": path, "value": values}]));
        }
        let mut value = Map::new();
        if extension.is_empty() || dice.one_in(2) {
            value.insert(path, Value::Array(values));
        } else {
            value.insert(extension.to_owned(), json!({attribute: values}));
        }
        patch(json!([{"op": "replace", "value": value}]))
    }
}
