//! What may be written once.

use serde_json::Value;

use super::attribute::Mutability;
use super::{Definition, Resource};
use crate::scim::error::ScimError;

impl Definition {
    /// Errors with 400 `mutability` where an immutable attribute that has a value would get another or lose it
    /// (RFC 7644 section 3.5.1). Elements of multi-valued attributes may come and go as a whole.
    pub fn check_immutable(&self, before: &Resource, after: &Resource) -> Result<(), ScimError> {
        for path in self.attributes() {
            let subs = path.attribute.sub_attributes.iter().filter(|_| !path.attribute.multi_valued);
            for path in std::iter::once(path).chain(subs.map(|sub| path.with_sub(Some(sub)))) {
                let immutable = path.leaf().mutability == Mutability::Immutable;
                let value = |resource: &Resource| resource.get(&path.to_string()).cloned();
                if immutable && differs(value(before), value(after)) {
                    return Err(ScimError::mutability(format!(
                        "{path} is immutable: leave it out or send the value it has"
                    )));
                }
            }
        }
        Ok(())
    }
}

fn differs(before: Option<Value>, after: Option<Value>) -> bool {
    before.is_some_and(|before| Some(before) != after)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::{Attribute, ResourceKind, Schemas};
    use super::*;

    #[test]
    fn an_immutable_attribute_keeps_its_value() {
        let schemas = Schemas::builtin().unwrap();
        let mut definition = schemas.definition(ResourceKind::User).clone();
        let attribute = json!({"name": "birthName", "mutability": "immutable"});
        definition.core.attributes.push(serde_json::from_value::<Attribute>(attribute).unwrap());
        let resource = |value| Resource::from_stored(json!({"birthName": value}).as_object().unwrap().clone());
        let absent = Resource::default();
        definition.check_immutable(&absent, &resource("a")).unwrap();
        definition.check_immutable(&resource("a"), &resource("a")).unwrap();
        for after in [resource("b"), absent] {
            assert_eq!(definition.check_immutable(&resource("a"), &after).unwrap_err().scim_type, Some("mutability"));
        }
    }
}
