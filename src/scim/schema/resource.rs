//! A resource as the schema allows it.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::token::Password;

/// What a client may write of a resource, in canonical spelling and of the right types: the part that is stored.
/// Holds no read-only attribute, no password, no null, no empty array.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Resource {
    pub(in crate::scim) map: Map<String, Value>,
    pub(in crate::scim) mentioned: BTreeSet<String>,
    /// The password that the client sent: no part of the document.
    pub password: Option<Password>,
    /// Names that no schema knows, as sent; at most 100.
    pub ignored: Vec<String>,
}

impl Resource {
    /// From a document that this room made and the store kept.
    pub fn from_stored(map: Map<String, Value>) -> Self {
        Self { map, ..Self::default() }
    }

    /// The value at a canonical path: `userName`, `name.givenName`, `urn:…:User:accounts`. A path into a
    /// multi-valued attribute gives nothing.
    pub fn get(&self, path: &str) -> Option<&Value> {
        if let Some(value) = self.map.get(path) {
            return Some(value);
        }
        let extension = self.map.iter().find_map(|(urn, object)| {
            let rest = path.strip_prefix(urn.as_str())?.strip_prefix(':')?;
            Some((object.as_object()?, rest))
        });
        let (map, path) = extension.unwrap_or((&self.map, path));
        match path.split_once('.') {
            Some((name, sub)) => map.get(name)?.get(sub),
            None => map.get(path),
        }
    }

    /// Text at a canonical path.
    pub fn text(&self, path: &str) -> Option<&str> {
        self.get(path).and_then(Value::as_str)
    }

    /// Whether the body named this extension or anything in it, be it with null.
    pub fn mentions_extension(&self, urn: &str) -> bool {
        let within =
            |path: &String| path.strip_prefix(urn).is_some_and(|rest| rest.is_empty() || rest.starts_with(':'));
        self.mentioned.iter().any(within)
    }

    /// Whether the body named this attribute at all, be it with null or an empty array. The path is canonical.
    /// Tells "leave it" from "empty it" where that matters (members, `active`).
    pub fn mentions(&self, path: &str) -> bool {
        self.mentioned.contains(path)
    }

    /// The whole document.
    pub fn as_map(&self) -> &Map<String, Value> {
        &self.map
    }

    /// The whole document.
    pub fn into_map(self) -> Map<String, Value> {
        self.map
    }

    /// Takes the members out of a group, which live in a table of their own: their ids, each once, in the order
    /// sent. `None` when the body did not mention members.
    pub fn take_members(&mut self) -> Option<Vec<String>> {
        let members = self.map.shift_remove("members");
        if members.is_none() && !self.mentions("members") {
            return None;
        }
        let mut seen = BTreeSet::new();
        let elements = members.as_ref().and_then(Value::as_array).into_iter().flatten();
        let ids = elements.filter_map(|element| element.get("value").and_then(Value::as_str));
        Some(ids.filter(|id| seen.insert(*id)).map(str::to_owned).collect())
    }
}
