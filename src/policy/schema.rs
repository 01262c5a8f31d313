//! What a schema declares, read once from its JSON form: the context of every action, and the attributes of every
//! entity type with who may say them. Knows no folder and no question.
//!
//! Two annotations are ours. `@authority("request")` on an attribute lets a question say it (and then it wins over
//! `entities.json`); on an entity type it admits ids that no file lists. `@name("…")` on an entity type is the name by
//! which questions call it, where that is no Cedar identifier.

use std::collections::{BTreeMap, HashMap};

use cedar_policy::{EntityTypeName, EntityUid};
use serde_json::Value;

use super::context::{Field, Shape, Shapes};
use super::entities::uid_of;

/// An entity type as declared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct EntityShape {
    /// Its attributes.
    pub(super) attributes: Shapes,
    /// `@authority("request")`: questions may name any id of it.
    pub(super) from_request: bool,
    /// `@name`.
    pub(super) name: Option<String>,
    /// The only ids that there are, where it is an enumeration.
    pub(super) ids: Vec<String>,
}

/// Everything that questions need to know of a schema.
#[derive(Debug, Default)]
pub(super) struct Declared {
    /// The context of each action.
    pub(super) contexts: HashMap<EntityUid, Shapes>,
    /// Entity types by their full names.
    pub(super) entities: BTreeMap<String, EntityShape>,
}

/// An action that a folder's own schema declares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OwnAction {
    /// Its id.
    pub(super) name: String,
    /// Its entity type: `Action`, below the namespace.
    pub(super) kind: String,
    /// Entity types of its principal, by their full names.
    pub(super) principals: Vec<String>,
    /// Entity types of its resource, by their full names.
    pub(super) resources: Vec<String>,
}

/// Common types may name one another; Cedar refuses cycles, this only bounds the walk.
const DEEPEST_TYPE: usize = 16;

impl Declared {
    /// Reads a whole schema in its JSON form.
    pub(super) fn read(schema: &Value) -> Self {
        let mut all = Self::default();
        for (namespace, part) in schema.as_object().into_iter().flatten() {
            let reader = Reader { schema, namespace };
            for (name, action) in part.get("actions").and_then(Value::as_object).into_iter().flatten() {
                let context = action.pointer("/appliesTo/context").unwrap_or(&Value::Null);
                if let (Shape::Record(shapes), Some(uid)) =
                    (reader.shape(context, 0), uid_of(&qualified(namespace, "Action"), name))
                {
                    all.contexts.insert(uid, shapes);
                }
            }
            for (name, entity) in part.get("entityTypes").and_then(Value::as_object).into_iter().flatten() {
                all.entities.insert(qualified(namespace, name), reader.entity(entity));
            }
        }
        all
    }
}

/// The actions that a schema in its JSON form declares; groups, which apply to nothing, are not among them.
pub(super) fn own_actions(schema: &Value) -> Vec<OwnAction> {
    let mut all = Vec::new();
    for (namespace, part) in schema.as_object().into_iter().flatten() {
        let reader = Reader { schema, namespace };
        for (name, action) in part.get("actions").and_then(Value::as_object).into_iter().flatten() {
            let kinds = |key: &str| -> Vec<String> {
                let listed = action.pointer(&format!("/appliesTo/{key}")).and_then(Value::as_array);
                listed.into_iter().flatten().filter_map(Value::as_str).map(|kind| reader.full_name(kind)).collect()
            };
            let (principals, resources) = (kinds("principalTypes"), kinds("resourceTypes"));
            if !principals.is_empty() && !resources.is_empty() {
                all.push(OwnAction { name: name.clone(), kind: qualified(namespace, "Action"), principals, resources });
            }
        }
    }
    all
}

fn qualified(namespace: &str, name: &str) -> String {
    if namespace.is_empty() { name.to_owned() } else { format!("{namespace}::{name}") }
}

fn annotation<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value.get("annotations")?.get(key)?.as_str()
}

struct Reader<'a> {
    schema: &'a Value,
    namespace: &'a str,
}

impl Reader<'_> {
    fn entity(&self, value: &Value) -> EntityShape {
        let attributes = match self.shape(value.get("shape").unwrap_or(&Value::Null), 0) {
            Shape::Record(attributes) => attributes,
            Shape::Text
            | Shape::Integer
            | Shape::Boolean
            | Shape::Datetime
            | Shape::Decimal
            | Shape::Address
            | Shape::Entity(_)
            | Shape::Set(_)
            | Shape::Other => Shapes::new(),
        };
        let ids = value.get("enum").and_then(Value::as_array).into_iter().flatten();
        EntityShape {
            attributes,
            from_request: annotation(value, "authority") == Some("request"),
            name: annotation(value, "name").map(str::to_owned),
            ids: ids.filter_map(Value::as_str).map(str::to_owned).collect(),
        }
    }

    fn shape(&self, value: &Value, depth: usize) -> Shape {
        let name = value.get("type").and_then(Value::as_str).unwrap_or_default();
        if depth > DEEPEST_TYPE {
            return Shape::Other;
        }
        match name {
            "Set" => Shape::Set(Box::new(self.shape(value.get("element").unwrap_or(&Value::Null), depth + 1))),
            "Record" => {
                let attributes = value.get("attributes").and_then(Value::as_object).into_iter().flatten();
                let field = |of: &Value| Field {
                    shape: self.shape(of, depth + 1),
                    required: of.get("required").and_then(Value::as_bool).unwrap_or(true),
                    from_request: annotation(of, "authority") == Some("request"),
                };
                Shape::Record(attributes.map(|(key, of)| (key.clone(), field(of))).collect())
            }
            "Extension" | "Entity" | "EntityOrCommon" => {
                self.named(value.get("name").and_then(Value::as_str).unwrap_or_default(), depth)
            }
            other => self.named(other, depth),
        }
    }

    /// A common type, a primitive or an entity type by its name.
    fn named(&self, name: &str, depth: usize) -> Shape {
        if let Some((namespace, common)) = self.find(name, "commonTypes") {
            return Reader { schema: self.schema, namespace }.shape(common, depth + 1);
        }
        if self.find(name, "entityTypes").is_none() {
            match name.trim_start_matches("__cedar::") {
                "String" => return Shape::Text,
                "Long" => return Shape::Integer,
                "Bool" | "Boolean" => return Shape::Boolean,
                "datetime" => return Shape::Datetime,
                "decimal" => return Shape::Decimal,
                "ipaddr" => return Shape::Address,
                _ => return Shape::Other,
            }
        }
        self.full_name(name).parse::<EntityTypeName>().map_or(Shape::Other, Shape::Entity)
    }

    /// What a name means here: in this namespace first, then in the one it spells out (or in none).
    fn find<'s>(&'s self, name: &'s str, part: &str) -> Option<(&'s str, &'s Value)> {
        let look =
            |namespace: &'s str, base: &str| Some((namespace, self.schema.get(namespace)?.get(part)?.get(base)?));
        let (namespace, base) = name.rsplit_once("::").unwrap_or(("", name));
        look(self.namespace, name).or_else(|| look(namespace, base))
    }

    fn full_name(&self, name: &str) -> String {
        match self.find(name, "entityTypes") {
            Some((namespace, _)) => qualified(namespace, name.rsplit_once("::").map_or(name, |(_, base)| base)),
            None => name.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_authority_names_and_namespaces() {
        let text = r#"
            namespace App {
                type Props = { soft?: Bool };
                @authority("request") @name("todo-item")
                entity Todo in [List] { @authority("request") owner: String, created?: datetime };
                entity List enum ["a", "b"];
                action "all";
                action "read" in ["all"] appliesTo { principal: [Todo], resource: [List], context: { action: Props } };
            }"#;
        let (fragment, _) = cedar_policy::SchemaFragment::from_cedarschema_str(text).expect("a schema");
        let json = fragment.to_json_value().expect("json");
        let declared = Declared::read(&json);
        let todo = &declared.entities["App::Todo"];
        assert!(todo.from_request && todo.attributes["owner"].from_request && todo.attributes["owner"].required);
        assert!(!todo.attributes["created"].from_request && !todo.attributes["created"].required);
        assert_eq!(
            (todo.name.as_deref(), todo.attributes["created"].shape.clone()),
            (Some("todo-item"), Shape::Datetime)
        );
        assert_eq!(declared.entities["App::List"].ids, ["a", "b"]);
        let context = &declared.contexts[&uid_of("App::Action", "read").expect("a uid")];
        assert!(matches!(&context["action"].shape, Shape::Record(fields) if fields["soft"].shape == Shape::Boolean));
        let own = own_actions(&json);
        assert_eq!(own.len(), 1, "the group is none: {own:?}");
        assert_eq!((own[0].kind.as_str(), own[0].resources.as_slice()), ("App::Action", &["App::List".to_owned()][..]));
    }
}
