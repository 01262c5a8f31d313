//! From the body of a POST or PUT to a [`Resource`].

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::attribute::Attribute;
use super::limits::{check_limits, check_size};
use super::resource::Resource;
use super::tolerance::Tolerance;
use super::value::{Reader, elements, kind_of, member_ids};
use super::{Definition, Path, Schema, Target, starts_with};
use crate::scim::error::{ScimError, quote};
use crate::token::Password;

/// Members that an answer adds to a document of the client's: `id`, `meta`, `groups` and our extension.
const ADDED: usize = 4;

/// A body in the course of being read.
struct Body<'a> {
    definition: &'a Definition,
    reader: Reader<'a>,
    map: Map<String, Value>,
    mentioned: BTreeSet<String>,
    password: Option<Password>,
}

impl Definition {
    /// Reads a whole resource. Names match without case and are written canonically; null, `[]` and, where
    /// forgiven, `""` are absent; read-only attributes and the password are left out; values are kept as sent.
    ///
    /// Errors: 400 `invalidSyntax` (not an object, nested too deep, an attribute given twice, or, when strict, a
    /// `schemas` without the core URN), 400 `invalidValue` (a type that does not fit), 413.
    pub fn parse(&self, body: &Value, tolerance: &Tolerance) -> Result<Resource, ScimError> {
        let members = body.as_object();
        let members = members.ok_or_else(|| ScimError::invalid_syntax("the body must be a JSON object"))?;
        check_limits(body)?;
        let mut read = Body {
            definition: self,
            reader: Reader::new(tolerance),
            map: Map::with_capacity(members.len() + ADDED),
            mentioned: BTreeSet::new(),
            password: None,
        };
        if !tolerance.missing_schemas {
            self.check_schemas(members)?;
        }
        for (name, value) in members {
            read.member(name, value)?;
        }
        check_size(&read.map)?;
        let map = self.with_schemas(read.map);
        let (mentioned, ignored) = (read.mentioned, read.reader.ignored);
        Ok(Resource { map, mentioned, password: read.password, ignored })
    }

    /// Errors with 400 `invalidValue` where a required attribute is missing, also within an extension or an
    /// element that is there.
    pub fn check_required(&self, resource: &Resource) -> Result<(), ScimError> {
        let missing = |path: &dyn std::fmt::Display| {
            ScimError::invalid_value(format!("{path} is required; add it and send the request again"))
        };
        for extension in &self.extensions {
            if extension.required && !resource.map.contains_key(&extension.urn) {
                return Err(missing(&extension.urn));
            }
        }
        for path in self.attributes().filter(|path| !path.is_read_only() && !path.is_secret()) {
            let requires = |attribute: &Attribute| attribute.required && !attribute.is_read_only();
            if !path.attribute.required && !path.attribute.sub_attributes.iter().any(requires) {
                continue;
            }
            let holder = match path.extension {
                Some(extension) => resource.map.get(&extension.urn).and_then(Value::as_object),
                None => Some(&resource.map),
            };
            let Some(holder) = holder else { continue };
            let Some(value) = holder.get(&path.attribute.name) else {
                if path.attribute.required {
                    return Err(missing(&path));
                }
                continue;
            };
            for sub in path.attribute.sub_attributes.iter().filter(|sub| requires(sub)) {
                if elements(value).iter().any(|element| element.get(&sub.name).is_none()) {
                    return Err(missing(&path.with_sub(Some(sub))));
                }
            }
        }
        Ok(())
    }

    /// The `schemas` that follow from what a resource holds, written at its head; empty extensions are gone.
    pub(in crate::scim) fn with_schemas(&self, mut map: Map<String, Value>) -> Map<String, Value> {
        let held = |extension: &&Schema| {
            map.get(&extension.urn).and_then(Value::as_object).is_some_and(|object| !object.is_empty())
        };
        let extensions = self.extensions.iter().filter(held).map(|extension| extension.urn.as_str());
        let schemas: Vec<Value> = std::iter::once(self.core.urn.as_str()).chain(extensions).map(Value::from).collect();
        map.retain(|_, value| !value.as_object().is_some_and(Map::is_empty));
        map.shift_insert(0, "schemas".to_owned(), Value::Array(schemas));
        map
    }

    fn check_schemas(&self, members: &Map<String, Value>) -> Result<(), ScimError> {
        let schemas = members.get("schemas").and_then(Value::as_array);
        let named = schemas.is_some_and(|urns| urns.iter().any(|urn| urn.as_str() == Some(&self.core.urn)));
        if named {
            return Ok(());
        }
        Err(ScimError::invalid_syntax(format!("`schemas` must be an array that holds {}", self.core.urn)))
    }
}

impl Body<'_> {
    fn member(&mut self, name: &str, value: &Value) -> Result<(), ScimError> {
        match self.definition.target_for(name, self.reader.tolerance) {
            // A key with a dot or a URN is a path; names of attributes hold neither.
            Some(Target::Attribute(_)) if is_path(name) && !self.reader.tolerance.path_keys => self.unknown(name),
            Some(Target::Attribute(path)) => self.attribute(path, value),
            Some(Target::Extension(extension)) => self.extension(extension, value),
            None => self.unknown(name),
        }
    }

    fn unknown(&mut self, name: &str) -> Result<(), ScimError> {
        if !self.reader.tolerance.unknown_attributes {
            return Err(ScimError::invalid_syntax(format!("the attribute {} is in no schema", quote(name))));
        }
        self.reader.ignore(name);
        Ok(())
    }

    fn extension(&mut self, extension: &Schema, value: &Value) -> Result<(), ScimError> {
        self.mentioned.insert(extension.urn.clone());
        let members = match value {
            Value::Null => return Ok(()),
            Value::Object(members) => members,
            Value::String(text) if text.is_empty() && self.reader.tolerance.empty_string_clears => return Ok(()),
            Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                let detail = format!("{} must be an object, not {}", extension.urn, kind_of(value));
                return Err(ScimError::invalid_value(detail));
            }
        };
        let extension = self.definition.extensions.iter().find(|own| own.urn == extension.urn);
        for (name, value) in members {
            let found = extension.and_then(|extension| Some((extension, extension.find(name)?)));
            match found {
                Some((extension, (attribute, sub))) if self.reader.tolerance.path_keys || !is_path(name) => {
                    self.attribute(Path { extension: Some(extension), attribute, sub }, value)?;
                }
                Some(_) | None => self.unknown(name)?,
            }
        }
        Ok(())
    }

    fn attribute(&mut self, path: Path<'_>, value: &Value) -> Result<(), ScimError> {
        if path.is_read_only() {
            return Ok(());
        }
        self.mentioned.insert(path.with_sub(None).text());
        let read = if self.definition.is_membership(&path) && path.sub.is_none() {
            let ids = member_ids(value)?;
            let elements = ids.into_iter().map(|id| serde_json::json!({"value": id})).collect::<Vec<_>>();
            (!elements.is_empty()).then_some(Value::Array(elements))
        } else if path.sub.is_some() && path.attribute.multi_valued {
            return self.unknown(&path.to_string());
        } else {
            self.reader.attribute(&path, path.leaf(), value)?
        };
        let Some(read) = read else { return Ok(()) };
        if is_password(&path) {
            self.password = read.as_str().map(|text| Password::new(text.to_owned()));
            return Ok(());
        }
        let holder = match path.extension {
            None => Some(&mut self.map),
            Some(extension) => object(&mut self.map, &extension.urn),
        };
        let holder = match path.sub {
            None => holder,
            Some(_) => holder.and_then(|holder| object(holder, &path.attribute.name)),
        };
        let Some(holder) = holder else { return Ok(()) };
        if path.sub.is_none()
            && let (Some(Value::Object(present)), Value::Object(more)) = (holder.get_mut(&path.attribute.name), &read)
        {
            // `name.givenName` came first, `name` comes now.
            return merge(present, more, &path);
        }
        if holder.insert(path.leaf().name.clone(), read).is_some() {
            return Err(twice(&path));
        }
        Ok(())
    }
}

/// Whether a key is more than a plain name.
pub(in crate::scim) fn is_path(name: &str) -> bool {
    name.contains('.') || starts_with(name, "urn:")
}

/// The core attribute `password` (RFC 7643 section 4.1.1), which is no part of a document.
pub(in crate::scim) fn is_password(path: &Path<'_>) -> bool {
    path.extension.is_none() && path.attribute.name == "password"
}

/// The object of this name, made where it is missing.
pub(in crate::scim) fn object<'m>(map: &'m mut Map<String, Value>, name: &str) -> Option<&'m mut Map<String, Value>> {
    map.entry(name).or_insert_with(|| Value::Object(Map::new())).as_object_mut()
}

fn merge(present: &mut Map<String, Value>, more: &Map<String, Value>, path: &Path<'_>) -> Result<(), ScimError> {
    for (name, value) in more {
        if present.insert(name.clone(), value.clone()).is_some() {
            return Err(twice(path));
        }
    }
    Ok(())
}

fn twice(path: &Path<'_>) -> ScimError {
    ScimError::invalid_syntax(format!("{path} is given twice, in different spellings; send it once"))
}

#[cfg(test)]
mod tests {
    use super::super::{ResourceKind, Schemas};
    use super::*;
    use serde_json::json;

    const ENTERPRISE: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";
    const CEDARGATE: &str = "urn:ietf:params:scim:schemas:extension:cedargate:2.0:User";

    fn parse(kind: ResourceKind, body: &Value) -> Result<Resource, ScimError> {
        Schemas::builtin().unwrap().definition(kind).parse(body, &Tolerance::GENERIC)
    }

    fn user(body: Value) -> Resource {
        parse(ResourceKind::User, &body).unwrap()
    }

    #[test]
    fn names_become_canonical_and_nothing_else_changes() {
        let resource = user(json!({
            "USERNAME": "Á.B+c@X.org", "externalid": "00u1", "NAME": {"GIVENNAME": " G "},
            "phoneNumbers": [{"value": "tel:+1-555-0100", "TYPE": "work"}],
            "URN:ietf:params:scim:schemas:extension:Enterprise:2.0:user": {"DEPARTMENT": "D"},
        }));
        let expected = json!({
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User", ENTERPRISE],
            "userName": "Á.B+c@X.org", "externalId": "00u1", "name": {"givenName": " G "},
            "phoneNumbers": [{"value": "tel:+1-555-0100", "type": "work"}], ENTERPRISE: {"department": "D"},
        });
        assert_eq!(Value::Object(resource.as_map().clone()), expected);
        assert_eq!(resource.get("name.givenName"), Some(&json!(" G ")));
        assert_eq!(resource.text(&format!("{ENTERPRISE}:department")), Some("D"));
        assert_eq!(resource.get("phoneNumbers.value"), None);
    }

    #[test]
    fn null_empty_and_absent_are_the_same_but_mentioned() {
        let resource =
            user(json!({"userName": "a", "active": null, "emails": [], "title": "", "name": {}, ENTERPRISE: {},
            "addresses": [null, {}], "roles": [{"value": ""}]}));
        assert_eq!(resource.as_map().keys().collect::<Vec<_>>(), ["schemas", "userName"]);
        assert!(resource.mentions("active") && resource.mentions("emails") && !resource.mentions("nickName"));
    }

    #[test]
    fn what_clients_may_not_write_is_left_out() {
        let resource = user(json!({"userName": "a", "id": "7", "meta": {"version": "x"}, "groups": [{"value": "g"}],
            "password": "secret", "unknown": {"deep": 1}, "__proto__": {"x": 1},
            ENTERPRISE: {"manager": {"value": "m", "displayName": "M"}, "other": 1},
            CEDARGATE: {"locked": true, "username": "root", "passwordChangedAt": "2026-01-01T00:00:00Z"}}));
        let expected = json!({"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User", ENTERPRISE],
            "userName": "a", ENTERPRISE: {"manager": {"value": "m"}}});
        assert_eq!(Value::Object(resource.as_map().clone()), expected);
        assert_eq!(resource.ignored, ["unknown", "__proto__", "other"]);
        assert!(resource.password.is_some());
        assert!(user(json!({"userName": "a", "password": ""})).password.is_none());
    }

    #[test]
    fn forgiven_shapes() {
        let resource = user(json!({
            "schemas": ["urn:scim:schemas:core:1.0"], "userName": "a", "active": "True", "emails": {"value": "a@x"},
            "roles": ["Ordering", {"value": "Porting"}], "name.familyName": "F", "name": {"givenName": "G"},
            "urn:scim:schemas:extension:enterprise:2.0": {"employeeNumber": 7, "manager": "m"},
            format!("{CEDARGATE}:accounts"): [{"value": "1"}, "2", "1"],
        }));
        assert_eq!(resource.get("active"), Some(&json!(true)));
        assert_eq!(resource.get("emails"), Some(&json!([{"value": "a@x"}])));
        assert_eq!(resource.get("roles"), Some(&json!([{"value": "Ordering"}, {"value": "Porting"}])));
        assert_eq!(resource.get("name"), Some(&json!({"familyName": "F", "givenName": "G"})));
        assert_eq!(resource.get(ENTERPRISE), Some(&json!({"employeeNumber": "7", "manager": {"value": "m"}})));
        assert_eq!(resource.get(&format!("{CEDARGATE}:accounts")), Some(&json!(["1", "2"])));
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let cases = [
            (json!([]), "invalidSyntax"),
            (json!({"userName": "a", "USERNAME": "b"}), "invalidSyntax"),
            (json!({"name": {"givenName": "a"}, "name.givenName": "b"}), "invalidSyntax"),
            (json!({"name.givenName": "a", "name": {"givenName": "b"}}), "invalidSyntax"),
            (json!({"userName": {"x": 1}}), "invalidValue"),
            (json!({"userName": ["a", "b"]}), "invalidValue"),
            (json!({"active": 1}), "invalidValue"),
            (json!({"name": "G"}), "invalidValue"),
            (json!({"emails": [{"value": "a", "primary": true}, {"value": "b", "primary": "true"}]}), "invalidValue"),
            (json!({ENTERPRISE: "x"}), "invalidValue"),
            (json!({"title": "a\u{0}"}), "invalidValue"),
            (json!({CEDARGATE: {"accounts": vec!["x"; 6000]}}), "invalidValue"),
        ];
        for (body, word) in cases {
            let error = parse(ResourceKind::User, &body).expect_err(&body.to_string());
            assert_eq!(error.scim_type, Some(word), "{body}");
        }
        let huge = json!({"emails": (0..40).map(|n| json!({"value": format!("{n}{}", "x".repeat(60_000))})).collect::<Vec<_>>()});
        assert_eq!(parse(ResourceKind::User, &huge).unwrap_err().status.as_u16(), 413);
        let schemas = Schemas::builtin().unwrap();
        let strict = schemas.definition(ResourceKind::User).parse(&json!({"userName": "a"}), &Tolerance::STRICT);
        assert_eq!(strict.unwrap_err().scim_type, Some("invalidSyntax"));
    }

    #[test]
    fn required_and_immutable_attributes() {
        let schemas = Schemas::builtin().unwrap();
        let definition = schemas.definition(ResourceKind::User);
        definition.check_required(&user(json!({"userName": "a"}))).unwrap();
        let error = definition.check_required(&user(json!({"title": "a"}))).unwrap_err();
        assert!(error.detail.starts_with("userName is required"), "{error}");
        let group = schemas.definition(ResourceKind::Group);
        assert!(group.check_required(&parse(ResourceKind::Group, &json!({})).unwrap()).is_err());
    }

    #[test]
    fn members_are_ids_and_absence_is_not_emptiness() {
        let group = |body| parse(ResourceKind::Group, &body);
        let members =
            json!({"displayName": "g", "members": [{"value": "1", "$ref": null, "display": "x"}, "2", {"value": "1"}]});
        assert_eq!(group(members).unwrap().take_members().unwrap(), ["1", "2"]);
        assert_eq!(group(json!({"members": []})).unwrap().take_members().unwrap(), Vec::<String>::new());
        assert_eq!(group(json!({"displayName": "g"})).unwrap().take_members(), None);
        assert_eq!(group(json!({"members": [{"display": "x"}]})).unwrap_err().scim_type, Some("invalidValue"));
        let many: Vec<Value> = (0..100_000).map(|n| json!({"value": n.to_string(), "display": "d"})).collect();
        assert_eq!(group(json!({"members": many})).unwrap().take_members().unwrap().len(), 100_000);
    }
}
