//! What an answer holds: `returned`, `attributes` and `excludedAttributes` (RFC 7644 section 3.9).

use serde_json::{Map, Value};

use super::attribute::{Attribute, Returned};
use super::{Definition, Path, Schema, Target};

/// The lists of a request, resolved. Names that no schema knows are passed over.
struct Lists<'a> {
    /// `None`: the defaults.
    wanted: Option<Vec<Target<'a>>>,
    unwanted: Vec<Target<'a>>,
}

impl Definition {
    /// Leaves of a full representation, in its canonical spelling, what an answer holds. An empty list is the same as
    /// none.
    pub fn project(&self, full: &mut Map<String, Value>, attributes: Option<&[String]>, excluded: Option<&[String]>) {
        let lists = self.lists(attributes, excluded);
        full.retain(|name, value| match self.target(name) {
            Some(Target::Extension(extension)) => value.as_object_mut().is_some_and(|members| {
                members.retain(|name, value| {
                    extension.find(name).is_some_and(|(attribute, _)| {
                        lists.keep(&Path { extension: Some(extension), attribute, sub: None }, value)
                    })
                });
                !members.is_empty()
            }),
            Some(Target::Attribute(path)) => path.sub.is_none() && lists.keep(&path, value),
            None => false,
        });
    }

    /// Whether an answer to these lists can hold the attribute at all, so that costly ones (`members`) need not
    /// be read for nothing.
    pub fn includes(&self, path: &str, attributes: Option<&[String]>, excluded: Option<&[String]>) -> bool {
        let lists = self.lists(attributes, excluded);
        self.resolve(path).is_some_and(|path| lists.holds(&path) || lists.names_a_part(&path))
    }

    fn lists(&self, attributes: Option<&[String]>, excluded: Option<&[String]>) -> Lists<'_> {
        let resolve = |names: &[String]| names.iter().filter_map(|name| self.target(&without_filter(name))).collect();
        let wanted = attributes.filter(|names| !names.is_empty()).map(resolve);
        Lists { wanted, unwanted: excluded.map(resolve).unwrap_or_default() }
    }
}

/// `emails[type eq "work"].value` asks for `emails.value` (Entra).
fn without_filter(name: &str) -> String {
    let name = name.trim();
    match (name.split_once('['), name.rsplit_once(']')) {
        (Some((before, _)), Some((_, after))) => format!("{before}{after}"),
        _ => name.to_owned(),
    }
}

impl Lists<'_> {
    /// Leaves of an attribute what is kept of it; whether that is anything.
    fn keep(&self, path: &Path<'_>, value: &mut Value) -> bool {
        if !self.holds(path) && !self.names_a_part(path) {
            return false;
        }
        if !path.attribute.is_complex() {
            return true;
        }
        let subs = path.attribute.sub_attributes.iter().filter(|sub| self.holds(&path.with_sub(Some(sub))));
        let kept: Vec<&str> = subs.map(name).collect();
        let Value::Array(elements) = value else { return keep_parts(&kept, value) };
        elements.retain_mut(|element| keep_parts(&kept, element));
        !elements.is_empty()
    }

    fn holds(&self, path: &Path<'_>) -> bool {
        let leaf: &Attribute = path.leaf();
        if path.is_secret() {
            return false;
        }
        if leaf.returned == Returned::Always {
            return true;
        }
        if self.unwanted.iter().any(|target| covers(target, path)) {
            return false;
        }
        let named = self.wanted.as_ref().is_some_and(|wanted| wanted.iter().any(|target| covers(target, path)));
        match leaf.returned {
            Returned::Request => named,
            Returned::Default => named || self.wanted.is_none(),
            Returned::Always => true,
            Returned::Never => false,
        }
    }

    /// `attributes` names a part of this attribute, or a part of it is always returned.
    fn names_a_part(&self, path: &Path<'_>) -> bool {
        let excluded = self.unwanted.iter().any(|target| covers(target, path));
        let wanted = self.wanted.iter().flatten();
        !path.is_secret()
            && !excluded
            && wanted.into_iter().any(|target| match target {
                Target::Attribute(other) => path.sub.is_none() && same_attribute(other, path),
                Target::Extension(_) => false,
            })
    }
}

/// Leaves of a complex value these parts; whether any are there.
fn keep_parts(kept: &[&str], value: &mut Value) -> bool {
    let Value::Object(parts) = value else { return false };
    parts.retain(|name, _| kept.contains(&name.as_str()));
    !parts.is_empty()
}

/// Whether a name in a list covers a path: the path itself, its whole attribute, or its whole extension.
fn covers(target: &Target<'_>, path: &Path<'_>) -> bool {
    match target {
        Target::Extension(extension) => path.extension.is_some_and(|own: &Schema| own.urn == extension.urn),
        Target::Attribute(other) => {
            same_attribute(other, path) && (other.sub.is_none() || other.sub.map(name) == path.sub.map(name))
        }
    }
}

fn same_attribute(one: &Path<'_>, other: &Path<'_>) -> bool {
    one.extension.map(Schema::urn) == other.extension.map(Schema::urn) && one.attribute.name == other.attribute.name
}

fn name(attribute: &Attribute) -> &str {
    &attribute.name
}

#[cfg(test)]
mod tests {
    use super::super::{ResourceKind, Schemas};
    use super::*;
    use serde_json::json;

    fn project(full: Value, attributes: &[&str], excluded: &[&str]) -> Value {
        let schemas = Schemas::builtin().unwrap();
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let (attributes, excluded) = (list(attributes), list(excluded));
        let mut part = full.as_object().unwrap().clone();
        schemas.definition(ResourceKind::User).project(&mut part, Some(&attributes), Some(&excluded));
        Value::Object(part)
    }

    fn full() -> Value {
        json!({
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "id": "1", "userName": "a", "password": "secret",
            "name": {"givenName": "G", "familyName": "F"}, "emails": [{"value": "a@b", "type": "work"}],
            "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User": {"department": "D", "division": "V"},
            "meta": {"resourceType": "User"}
        })
    }

    #[test]
    fn never_is_never_even_when_asked_for() {
        assert_eq!(project(full(), &[], &[]).get("password"), None);
        assert_eq!(project(full(), &["password"], &[]).get("password"), None);
    }

    #[test]
    fn attributes_pick_parts_and_what_is_always_returned_stays() {
        let urn = "urn:ietf:params:scim:schemas:core:2.0:User";
        let cases = [
            (vec!["userName"], json!({"schemas": [urn], "id": "1", "userName": "a"})),
            (vec!["NAME.givenname"], json!({"schemas": [urn], "id": "1", "name": {"givenName": "G"}})),
            (
                vec!["emails[type eq \"work\"].value"],
                json!({"schemas": [urn], "id": "1", "emails": [{"value": "a@b"}]}),
            ),
            (vec!["emails[type eq \"work\"]"], json!({"schemas": [urn], "id": "1", "emails": full()["emails"]})),
            (vec!["unknown"], json!({"schemas": [urn], "id": "1"})),
        ];
        for (attributes, expected) in cases {
            assert_eq!(project(full(), &attributes, &[]), expected, "{attributes:?}");
        }
        let enterprise = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";
        assert_eq!(project(full(), &[enterprise], &[])[enterprise], full()[enterprise]);
        let one = format!("{enterprise}:department");
        assert_eq!(project(full(), &[&one], &[])[enterprise], json!({"department": "D"}));
    }

    #[test]
    fn excluded_attributes_go_but_not_those_always_returned() {
        let part = project(full(), &[], &["id", "name.givenName", "emails"]);
        assert_eq!(part["id"], "1");
        assert_eq!(part["name"], json!({"familyName": "F"}));
        assert_eq!(part.get("emails"), None);
        assert_eq!(part["meta"], full()["meta"]);
    }

    #[test]
    fn costly_attributes_are_known_beforehand() {
        let schemas = Schemas::builtin().unwrap();
        let group = schemas.definition(ResourceKind::Group);
        let list = |name: &str| vec![name.to_owned()];
        assert!(group.includes("members", None, None));
        assert!(!group.includes("members", None, Some(&list("members"))));
        assert!(!group.includes("members", Some(&list("displayName")), None));
        assert!(group.includes("members", Some(&list("members.value")), None));
    }
}
