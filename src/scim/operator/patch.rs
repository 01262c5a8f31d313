//! What an operator may change of a person: status, lock, password age and rights.

use serde_json::{Map, Value, json};

use super::super::Scim;
use super::super::content::{Draft, Person};
use super::super::error::{ScimError, quote};
use super::super::image::{USER_EXTENSION, role_name};
use super::super::query::Precondition;
use super::super::state::{UserState, write_text};
use super::super::users::Facts;
use crate::domain::{AdministrationLevel, Revision, Timestamp};
use crate::store::Record;

/// A body of `PATCH users/{id}`, read: what is `None` stays as it is.
#[derive(Clone, Debug, Default, PartialEq)]
struct Patch {
    active: Option<bool>,
    facts: Facts,
    /// `Some(None)`: back to the default.
    level: Option<Option<AdministrationLevel>>,
    roles: Option<Vec<String>>,
    accounts: Option<Vec<String>>,
    methods: Option<Vec<String>>,
}

impl Scim {
    /// Changes a person, found by id, username or login: any of `active`, `locked` (booleans), `passwordChangedAt`
    /// (RFC 3339, or null), `administrationLevel` (or null), `roles`, `accounts`, `accessMethods` (whole lists of
    /// text). Limits of connections do not hold here. Answers the person as [`Scim::user_view`] does.
    ///
    /// # Errors
    /// 400 for anything else, unknown roles (`roles` are those that may be given), accounts outside the
    /// organization; 404 for nobody and for deleted people; 503 and 500 from the store.
    pub async fn patch_user(&self, name: &str, body: &Value, roles: &[String]) -> Result<(Value, Revision), ScimError> {
        let patch = Patch::read(body, roles)?;
        let record = self.person(name).await?;
        let wall = self.wall_of(&record).await?;
        if let Some(ids) = &patch.accounts {
            let known = self.accounts(&wall, ids.clone()).await?;
            if let Some(unknown) = ids.iter().find(|id| !known.contains_key(*id)) {
                let detail = format!("the organization has no account {}; make it first", quote(unknown));
                return Err(ScimError::invalid_value(detail));
            }
        }
        let writer = Self::operator(&wall, roles, false);
        let change = |draft: &mut Draft<UserState>| {
            patch.apply(draft);
            Ok(())
        };
        let written = self.change_user(&wall, &writer, &record.id, &Precondition::default(), &change).await?;
        let Person { version, created, modified, draft, .. } = written.resource;
        let (document, state) = (write_text(&draft.document)?, write_text(&draft.state)?);
        let record = Record { version, created, modified, document, state, ..record };
        Ok((self.operator_view(&record).await?, written.revision))
    }
}

impl Patch {
    fn read(body: &Value, known_roles: &[String]) -> Result<Self, ScimError> {
        let members = body.as_object().ok_or_else(|| ScimError::invalid_syntax("the body must be an object"))?;
        let mut patch = Self::default();
        for (name, value) in members {
            match name.as_str() {
                "active" => patch.active = Some(boolean(name, value)?),
                "locked" => patch.facts.locked = Some(boolean(name, value)?),
                "passwordChangedAt" => {
                    let time = if value.is_null() { None } else { Some(parse_time(value)?) };
                    patch.facts.password_changed_at = Some(time);
                }
                "administrationLevel" => patch.level = Some(level(value)?),
                "roles" => patch.roles = Some(known(name, value, known_roles.iter().map(String::as_str))?),
                "accounts" => patch.accounts = Some(texts(name, value)?),
                "accessMethods" => patch.methods = Some(known(name, value, ["dashboard", "api"].into_iter())?),
                _ => {
                    return Err(ScimError::invalid_value(format!(
                        "{} cannot be changed here; use active, locked, passwordChangedAt, administrationLevel, roles, \
                         accounts or accessMethods",
                        quote(name)
                    )));
                }
            }
        }
        Ok(patch)
    }

    /// What the operator states is the operator's from now on; the rest stays whose it was.
    fn apply(&self, draft: &mut Draft<UserState>) {
        self.facts.state(&mut draft.state);
        if let Some(active) = self.active {
            draft.state.active = active;
            draft.says_inactive = !active;
            draft.document.insert("active".to_owned(), Value::Bool(active));
        }
        if let Some(names) = &self.roles {
            draft.state.claims.roles.clear();
            let wanted = roles(draft.document.get("roles"), names);
            set(&mut draft.document, "roles", wanted);
        }
        let own = draft.document.entry(USER_EXTENSION).or_insert_with(|| Value::Object(Map::new()));
        if let Some(own) = own.as_object_mut() {
            if let Some(level) = self.level {
                draft.state.claims.admin = None;
                set(own, "administrationLevel", level.map_or(Value::Null, |level| Value::from(level.name())));
            }
            if let Some(ids) = &self.accounts {
                draft.state.claims.accounts.clear();
                set(own, "accounts", json!(ids));
            }
            if let Some(methods) = &self.methods {
                set(own, "accessMethods", json!(methods));
            }
            if own.is_empty() {
                draft.document.shift_remove(USER_EXTENSION);
            }
        }
    }
}

/// The wanted roles: elements that are there keep what else they say, new ones have a value only.
fn roles(present: Option<&Value>, names: &[String]) -> Value {
    let present = present.and_then(Value::as_array);
    let element = |name: &String| {
        let same = |element: &&Value| role_name(element).as_ref() == Some(name);
        present.into_iter().flatten().find(same).cloned().unwrap_or_else(|| json!({ "value": name }))
    };
    Value::Array(names.iter().map(element).collect())
}

/// Null and an empty list are the same as absence.
fn set(map: &mut Map<String, Value>, name: &str, value: Value) {
    if value.is_null() || value.as_array().is_some_and(Vec::is_empty) {
        map.shift_remove(name);
    } else {
        map.insert(name.to_owned(), value);
    }
}

fn boolean(name: &str, value: &Value) -> Result<bool, ScimError> {
    value.as_bool().ok_or_else(|| ScimError::invalid_value(format!("{name} must be true or false")))
}

fn level(value: &Value) -> Result<Option<AdministrationLevel>, ScimError> {
    if value.is_null() {
        return Ok(None);
    }
    let level = value.as_str().and_then(AdministrationLevel::parse);
    let detail = "administrationLevel must be `Basic User`, `Account Admin` or null";
    level.map(Some).ok_or_else(|| ScimError::invalid_value(detail))
}

fn texts(name: &str, value: &Value) -> Result<Vec<String>, ScimError> {
    let fault = || ScimError::invalid_value(format!("{name} must be an array of text"));
    let elements = value.as_array().ok_or_else(fault)?;
    let mut texts = Vec::with_capacity(elements.len());
    for element in elements {
        let text = element.as_str().ok_or_else(fault)?.to_owned();
        if !texts.contains(&text) {
            texts.push(text);
        }
    }
    Ok(texts)
}

fn known<'a>(name: &str, value: &Value, allowed: impl Iterator<Item = &'a str>) -> Result<Vec<String>, ScimError> {
    let allowed: Vec<&str> = allowed.collect();
    let texts = texts(name, value)?;
    match texts.iter().find(|text| !allowed.contains(&text.as_str())) {
        Some(unknown) => {
            let detail = format!("{} is not one of the {name} there are: {}", quote(unknown), allowed.join(", "));
            Err(ScimError::invalid_value(detail))
        }
        None => Ok(texts),
    }
}

/// A time in the form of RFC 3339.
pub(super) fn parse_time(value: &Value) -> Result<Timestamp, ScimError> {
    let time = value.as_str().and_then(|text| text.parse::<jiff::Timestamp>().ok());
    let detail = "passwordChangedAt must be a time such as 2026-01-31T08:00:00Z";
    time.map(|time| Timestamp(time.as_millisecond())).ok_or_else(|| ScimError::invalid_value(detail))
}
