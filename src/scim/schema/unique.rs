//! Which values no two resources may share, as the documents say.

use serde_json::{Map, Value};

use super::attribute::Uniqueness;
use super::value::{comparable, elements};
use super::{Definition, Path, ResourceKind};

impl Definition {
    /// The canonical path and the comparable form of each value whose attribute is declared unique. `userName`, a group's
    /// `displayName` and what the server writes itself are left out: the life cycle keeps those.
    pub(in crate::scim) fn unique(&self, document: &Map<String, Value>) -> Vec<(String, String)> {
        let mut values = Vec::new();
        for path in self.attributes() {
            let subs = path.attribute.sub_attributes.iter().map(|sub| path.with_sub(Some(sub)));
            let mut unique = std::iter::once(path).chain(subs).filter(|path| self.is_kept_unique(path)).peekable();
            // Hardly any attribute is.
            if unique.peek().is_none() || self.is_membership(&path) {
                continue;
            }
            let Some(value) = path.find(document) else { continue };
            for path in unique {
                let of_element = |element| match path.sub {
                    Some(sub) => Value::get(element, &sub.name),
                    None => Some(element),
                };
                let found = elements(value).iter().filter_map(of_element).flat_map(elements);
                let keys = found.filter_map(|value| comparable(path.leaf(), value));
                values.extend(keys.map(|key| (path.text(), key)));
            }
        }
        values.sort();
        values.dedup();
        values
    }

    fn is_kept_unique(&self, path: &Path<'_>) -> bool {
        let kept_by_life = match self.kind {
            ResourceKind::User => "userName",
            ResourceKind::Group => "displayName",
        };
        let by_life = || path.extension.is_none() && path.attribute.name == kept_by_life;
        path.leaf().uniqueness != Uniqueness::None && !path.is_read_only() && !path.is_secret() && !by_life()
    }
}
