//! What filters find a resource by.

use serde_json::Value;

use super::value::comparable;
use super::{Attribute, Definition, Path, Resource};
use crate::store::IndexEntry;

impl Definition {
    /// One entry for each simple value of a resource: the path in lower case (`emails.value`,
    /// `urn:…:user:accounts`), the comparable form, and for multi-valued attributes which element it belongs to.
    /// Secrets, memberships and what the store knows itself (`id`, `meta`, `schemas`) are left out.
    pub fn index(&self, resource: &Resource) -> Vec<IndexEntry> {
        let mut entries = Vec::new();
        for path in self.attributes() {
            let own = path.extension.is_some() || !matches!(path.attribute.name.as_str(), "id" | "meta" | "schemas");
            if !own || path.is_secret() || self.is_membership(&path) {
                continue;
            }
            let holder = match path.extension {
                Some(extension) => resource.as_map().get(&extension.urn).and_then(Value::as_object),
                None => Some(resource.as_map()),
            };
            let Some(value) = holder.and_then(|holder| holder.get(&path.attribute.name)) else { continue };
            for (number, element) in elements(path.attribute, value).enumerate() {
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
            for value in elements(sub, value) {
                push(entries, &path.with_sub(Some(sub)), element, value);
            }
        }
    } else if let Some(value) = comparable(leaf, value) {
        entries.push(IndexEntry { path: path.key(), element, value });
    }
}

/// The elements of a multi-valued attribute, or the one value of another.
fn elements<'v>(attribute: &Attribute, value: &'v Value) -> impl Iterator<Item = &'v Value> {
    match value {
        Value::Array(elements) if attribute.multi_valued => elements.iter(),
        single => std::slice::from_ref(single).iter(),
    }
}
