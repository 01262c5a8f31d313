//! What AuthZEN requests hold: subject, action, resource and context, with the defaults of a batch. Pure.

use crate::domain::ContextValue;
use crate::gate::json::{Members, object, text, values};
use crate::http::Refusal;

/// The four keys of a question as they stand in a body or in one item of a batch; each may be left out.
#[derive(Clone, Copy, Default)]
pub(super) struct Keys<'v> {
    subject: Option<&'v Members>,
    action: Option<&'v Members>,
    resource: Option<&'v Members>,
    context: Option<&'v Members>,
}

/// A subject or a resource.
#[derive(Debug)]
pub(super) struct Entity<'v> {
    /// The type, as sent.
    pub(super) kind: &'v str,
    /// The id, as sent; empty where a search ignores it.
    pub(super) id: &'v str,
    /// What the request says of it.
    pub(super) properties: Vec<(String, ContextValue)>,
}

/// An action.
#[derive(Debug)]
pub(super) struct Action<'v> {
    /// The name, as sent.
    pub(super) name: &'v str,
    /// What the request says of it.
    pub(super) properties: Vec<(String, ContextValue)>,
}

/// Which key holds an entity.
#[derive(Clone, Copy)]
pub(super) enum Place {
    /// `subject`.
    Subject,
    /// `resource`.
    Resource,
}

impl Place {
    const fn name(self) -> &'static str {
        match self {
            Self::Subject => "subject",
            Self::Resource => "resource",
        }
    }
}

impl<'v> Keys<'v> {
    /// Reads the keys of an object; members that we do not know are ignored (AuthZEN 1.0, section 4).
    ///
    /// # Errors
    /// 400 where one of the four is no object.
    pub(super) fn read(of: &'v Members) -> Result<Self, Refusal> {
        Ok(Self {
            subject: object(of, "subject", "subject")?,
            action: object(of, "action", "action")?,
            resource: object(of, "resource", "resource")?,
            context: object(of, "context", "context")?,
        })
    }

    /// The subject or resource. What the item says replaces the default whole, except that a `type` or `id` that it
    /// leaves out comes from the default (certification scenario 3.2.7); properties never do.
    ///
    /// # Errors
    /// 400 where it, its type or its id is missing or of another type than text.
    pub(super) fn entity(&self, place: Place, defaults: &Self) -> Result<Entity<'v>, Refusal> {
        let entity = self.of_type(place, defaults)?;
        let (own, default) = (self.at(place), defaults.at(place));
        let id = required(own, default, place.name(), "id")?;
        Ok(Entity { id, ..entity })
    }

    /// An entity that is searched for: its type and properties. An id is ignored, whatever it holds.
    ///
    /// # Errors
    /// 400 where it or its type is missing.
    pub(super) fn of_type(&self, place: Place, defaults: &Self) -> Result<Entity<'v>, Refusal> {
        let (own, default) = (self.at(place), defaults.at(place));
        let kind = required(own, default, place.name(), "type")?;
        Ok(Entity { kind, id: "", properties: properties(own.or(default), place.name())? })
    }

    /// The action.
    ///
    /// # Errors
    /// 400 where it or its name is missing or of another type than text.
    pub(super) fn action(&self, defaults: &Self) -> Result<Action<'v>, Refusal> {
        let name = required(self.action, defaults.action, "action", "name")?;
        Ok(Action { name, properties: properties(self.action.or(defaults.action), "action")? })
    }

    /// The context, the item's own or the default's.
    pub(super) fn context(&self, defaults: &Self) -> Vec<(String, ContextValue)> {
        self.context.or(defaults.context).map(values).unwrap_or_default()
    }

    /// The keys themselves, in a fixed order, for what must be compared as a whole.
    pub(super) const fn parts(&self) -> [Option<&'v Members>; 4] {
        [self.subject, self.action, self.resource, self.context]
    }

    const fn at(&self, place: Place) -> Option<&'v Members> {
        match place {
            Place::Subject => self.subject,
            Place::Resource => self.resource,
        }
    }
}

fn required<'v>(
    own: Option<&'v Members>,
    default: Option<&'v Members>,
    key: &str,
    name: &str,
) -> Result<&'v str, Refusal> {
    let path = format!("{key}.{name}");
    if own.is_none() && default.is_none() {
        return Err(Refusal::bad_request(format!("`{key}` is missing")));
    }
    for of in [own, default].into_iter().flatten() {
        if let Some(found) = text(of, name, &path)? {
            return Ok(found);
        }
    }
    Err(Refusal::bad_request(format!("`{path}` is missing")))
}

fn properties(of: Option<&Members>, key: &str) -> Result<Vec<(String, ContextValue)>, Refusal> {
    let Some(of) = of else { return Ok(Vec::new()) };
    Ok(object(of, "properties", &format!("{key}.properties"))?.map(values).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn keys(of: &Value) -> Keys<'_> {
        Keys::read(of.as_object().unwrap()).unwrap()
    }

    #[test]
    fn an_item_replaces_a_default_whole_but_for_type_and_id() {
        let default = json!({"resource": {"type": "record", "id": "r1", "properties": {"status": "archived"}}});
        let item = json!({"resource": {"id": "r2"}});
        let entity = keys(&item).entity(Place::Resource, &keys(&default)).unwrap();
        assert_eq!((entity.kind, entity.id), ("record", "r2"));
        assert_eq!(entity.properties, [], "properties are not merged");
        let entity = keys(&json!({})).entity(Place::Resource, &keys(&default)).unwrap().properties;
        assert_eq!(entity, [("status".to_owned(), ContextValue::Text("archived".into()))]);
    }

    #[test]
    fn what_is_missing_is_named() {
        let none = json!({});
        let cases = [
            (json!({}), "`subject` is missing"),
            (json!({"subject": null}), "`subject` is missing"),
            (json!({"subject": {"type": "user"}}), "`subject.id` is missing"),
            (json!({"subject": {"id": "alice"}}), "`subject.type` is missing"),
            (json!({"subject": {"type": "user", "id": 7}}), "`subject.id` must be text"),
            (
                json!({"subject": {"type": "user", "id": "a", "properties": []}}),
                "`subject.properties` must be an object",
            ),
        ];
        for (body, wanted) in cases {
            let refusal = keys(&body).entity(Place::Subject, &keys(&none)).unwrap_err();
            assert_eq!(refusal.message, wanted, "{body}");
        }
        let text = json!({"subject": "alice"});
        assert!(Keys::read(text.as_object().unwrap()).is_err());
    }
}
