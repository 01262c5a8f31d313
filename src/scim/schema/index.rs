//! What filters find a resource by.

use serde_json::{Map, Value};

use super::value::{comparable, elements};
use super::{Definition, Path};
use crate::store::IndexEntry;

impl Definition {
    /// One entry for each simple value of a document: the path in lower case (`emails.value`,
    /// `urn:…:user:accounts`), the comparable form, and for multi-valued attributes which element it belongs to.
    /// Secrets, memberships and what the store knows itself (`id`, `meta`, `schemas`) are left out.
    pub fn index(&self, document: &Map<String, Value>) -> Vec<IndexEntry> {
        let mut entries = Vec::new();
        for (path, value) in self.held(document) {
            let own = path.extension.is_some() || !matches!(path.attribute.name.as_str(), "id" | "meta" | "schemas");
            if !own || path.is_secret() || self.is_membership(&path) {
                continue;
            }
            for (number, element) in elements(value).iter().enumerate() {
                let number = u32::try_from(number).unwrap_or(u32::MAX);
                push(&mut entries, &path, number, element);
            }
        }
        entries
    }
}

fn push(entries: &mut Vec<IndexEntry>, path: &Path<'_>, element: u32, value: &Value) {
    let leaf = path.leaf();
    if path.sub.is_none() && leaf.is_complex() {
        for sub in leaf.sub_attributes.iter().filter(|sub| !sub.is_secret()) {
            let Some(value) = value.get(&sub.name) else { continue };
            for value in elements(value) {
                push(entries, &path.with_sub(Some(sub)), element, value);
            }
        }
    } else if let Some(value) = comparable(leaf, value) {
        entries.push(IndexEntry { path: path.key(), element, value });
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::{ResourceKind, Schemas, Tolerance};

    #[test]
    fn every_simple_value_has_its_entry() {
        let schemas = Schemas::builtin().unwrap();
        let user = schemas.definition(ResourceKind::User);
        let urn = "urn:ietf:params:scim:schemas:extension:cedargate:2.0:User";
        let body = json!({"userName": "STRASSE", "externalId": "Ab", "active": true, "password": "secret",
            "emails": [{"value": "A@x", "type": "work"}, {"value": "b@x", "primary": true}],
            urn: {"accounts": ["1", "B"]}});
        let resource = user.parse(&body, &Tolerance::GENERIC).unwrap();
        let entries = user.index(resource.as_map());
        let entries: Vec<_> = entries.iter().map(|e| (e.path.as_str(), e.element, e.value.as_str())).collect();
        let accounts = format!("{}:accounts", urn.to_lowercase());
        assert_eq!(
            entries,
            [
                ("externalid", 0, "Ab"),
                ("username", 0, "strasse"),
                ("active", 0, "true"),
                ("emails.value", 0, "a@x"),
                ("emails.type", 0, "work"),
                ("emails.value", 1, "b@x"),
                ("emails.primary", 1, "true"),
                (accounts.as_str(), 0, "1"),
                (accounts.as_str(), 1, "B"),
            ]
        );
        let group = schemas.definition(ResourceKind::Group);
        let resource = group.parse(&json!({"displayName": "G", "members": ["1"]}), &Tolerance::GENERIC).unwrap();
        assert_eq!(group.index(resource.as_map()).len(), 1);
    }
}
