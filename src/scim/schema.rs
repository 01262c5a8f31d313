//! The documents of `scim-schemas/` and what follows from them: which attributes there are, what a body may
//! hold, what is indexed, what is returned.
//!
//! Adding an attribute to a document is all it takes to accept, validate, index and announce it. Pure: knows
//! neither HTTP requests nor the store's contents, only the shape of an index entry.

mod attribute;
mod body;
mod immutable;
mod index;
mod limits;
mod load;
mod projection;
mod resource;
mod tolerance;
mod unique;
mod value;

use std::fmt;

use serde_json::{Map, Value};

pub use attribute::{Attribute, AttributeType, Mutability, Returned, Uniqueness};
pub(in crate::scim) use body::{is_password, is_path, object};
pub use limits::check_limits;
pub(in crate::scim) use limits::check_size;
pub use load::{SchemaError, Schemas};
pub use resource::Resource;
pub use tolerance::Tolerance;
pub(in crate::scim) use value::{
    MOST_ELEMENTS, Reader, comparable, comparable_text, decimal_key, elements, equal_values, integer_key, is_primary,
    kind_of, member, member_ids, parse_boolean, parse_time,
};

/// The two resource types.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ResourceKind {
    /// People.
    User,
    /// Groups of people and groups.
    Group,
}

impl ResourceKind {
    /// The name of the resource type, as in `meta.resourceType`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::User => "User",
            Self::Group => "Group",
        }
    }
}

/// One schema: a core one or an extension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schema {
    urn: String,
    required: bool,
    attributes: Vec<Attribute>,
}

impl Schema {
    /// The URN in its canonical spelling; the key of an extension's object in a resource.
    pub fn urn(&self) -> &str {
        &self.urn
    }

    /// Whether every resource must carry this extension.
    pub fn is_required(&self) -> bool {
        self.required
    }

    /// The attributes, in the order of the document.
    pub fn attributes(&self) -> &[Attribute] {
        &self.attributes
    }

    /// The paths of the attributes of an extension.
    fn paths(&self) -> impl Iterator<Item = Path<'_>> {
        self.attributes.iter().map(|attribute| Path { extension: Some(self), attribute, sub: None })
    }

    /// `name` or `name.sub` within this schema, without case.
    fn find(&self, text: &str) -> Option<(&Attribute, Option<&Attribute>)> {
        find(&self.attributes, text)
    }
}

/// A path that was found in the schema. Shown in its canonical spelling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path<'a> {
    /// The extension that declares it; `None` for the core schema and the common attributes.
    pub extension: Option<&'a Schema>,
    /// The attribute.
    pub attribute: &'a Attribute,
    /// The part of it, where the path names one.
    pub sub: Option<&'a Attribute>,
}

impl<'a> Path<'a> {
    /// What the path ends at.
    pub fn leaf(&self) -> &'a Attribute {
        self.sub.unwrap_or(self.attribute)
    }

    /// The path of the index: lower case.
    pub fn key(&self) -> String {
        let mut key = self.text();
        key.make_ascii_lowercase();
        key
    }

    /// The canonical spelling.
    pub fn text(&self) -> String {
        let (name, sub) = (self.attribute.name.as_str(), self.sub.map(|sub| sub.name.as_str()));
        match (self.extension.map(Schema::urn), sub) {
            (None, None) => name.to_owned(),
            (None, Some(sub)) => [name, ".", sub].concat(),
            (Some(urn), None) => [urn, ":", name].concat(),
            (Some(urn), Some(sub)) => [urn, ":", name, ".", sub].concat(),
        }
    }

    /// The value of the attribute, without regard to its part.
    pub(in crate::scim) fn find<'d>(&self, document: &'d Map<String, Value>) -> Option<&'d Value> {
        let holder = match self.extension {
            Some(extension) => document.get(&extension.urn)?.as_object()?,
            None => document,
        };
        holder.get(&self.attribute.name)
    }

    /// Whether the server alone writes it.
    pub fn is_read_only(&self) -> bool {
        self.attribute.is_read_only() || self.leaf().is_read_only()
    }

    /// Whether it may never stand in an answer or a filter.
    pub fn is_secret(&self) -> bool {
        self.attribute.is_secret() || self.leaf().is_secret()
    }

    /// The same attribute without or with another part.
    pub fn with_sub(&self, sub: Option<&'a Attribute>) -> Self {
        Self { sub, ..*self }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text())
    }
}

/// Everything about one resource type.
#[derive(Clone, Debug)]
pub struct Definition {
    kind: ResourceKind,
    endpoint: String,
    core: Schema,
    extensions: Vec<Schema>,
    common: Vec<Attribute>,
}

/// What a name at the top of a body, or a URN, stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// An extension as a whole.
    Extension(&'a Schema),
    /// An attribute or a part of one.
    Attribute(Path<'a>),
}

/// Old spellings of URNs that clients still send (OneLogin), and what they mean.
const LEGACY_URNS: [(&str, &str); 4] = [
    ("urn:scim:schemas:core:1.0", ""),
    ("urn:scim:schemas:core:2.0", ""),
    ("urn:scim:schemas:extension:enterprise:1.0", "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"),
    ("urn:scim:schemas:extension:enterprise:2.0", "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"),
];

impl Definition {
    /// Which resource type this is.
    pub fn kind(&self) -> ResourceKind {
        self.kind
    }

    /// The path of the endpoint, as `/Users`.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The core schema.
    pub fn core(&self) -> &Schema {
        &self.core
    }

    /// The extensions, in the order of the resource type's document.
    pub fn extensions(&self) -> &[Schema] {
        &self.extensions
    }

    /// Finds an attribute by its path: `userName`, `name.givenName`, `urn:…:User:manager.value`; without case.
    /// A multi-valued simple attribute has no parts, but `.value` is read as the attribute itself.
    pub fn resolve(&self, text: &str) -> Option<Path<'_>> {
        match self.target(text)? {
            Target::Attribute(path) => Some(path),
            Target::Extension(_) => None,
        }
    }

    /// Like [`Self::resolve`], but also finds an extension by its bare URN.
    pub fn target(&self, text: &str) -> Option<Target<'_>> {
        if !starts_with(text, "urn:") {
            return self.core_path(text).map(Target::Attribute);
        }
        let (extension, rest) = self.split_urn(text)?;
        match (extension, rest) {
            (Some(extension), "") => Some(Target::Extension(extension)),
            (Some(extension), rest) => extension
                .find(rest)
                .map(|(attribute, sub)| Target::Attribute(Path { extension: Some(extension), attribute, sub })),
            (None, rest) => self.core_path(rest).map(Target::Attribute),
        }
    }

    /// Like [`Self::target`], for a client that is forgiven this much.
    pub fn target_for(&self, text: &str, tolerance: &Tolerance) -> Option<Target<'_>> {
        let legacy = || LEGACY_URNS.iter().any(|(old, _)| starts_with(text, old));
        if tolerance.legacy_urns || !legacy() { self.target(text) } else { None }
    }

    /// Finds an attribute by its path without the URN of its extension, where just one extension has it.
    pub fn resolve_unqualified(&self, text: &str) -> Option<Path<'_>> {
        let mut found = self.extensions.iter().filter_map(|extension| {
            let (attribute, sub) = extension.find(text)?;
            Some(Path { extension: Some(extension), attribute, sub })
        });
        let path = found.next()?;
        found.next().is_none().then_some(path)
    }

    fn core_path(&self, text: &str) -> Option<Path<'_>> {
        let (attribute, sub) = self.core.find(text).or_else(|| find(&self.common, text))?;
        Some(Path { extension: None, attribute, sub })
    }

    /// The schema (`None`: core) that a text begins with, and what follows the separator. URNs hold dots and
    /// colons themselves, so the longest known one decides; nothing is ever split by guess.
    fn split_urn<'t>(&self, text: &'t str) -> Option<(Option<&Schema>, &'t str)> {
        let own = std::iter::once((self.core.urn.as_str(), None))
            .chain(self.extensions.iter().map(|extension| (extension.urn.as_str(), Some(extension))));
        let legacy = LEGACY_URNS.iter().filter_map(|(old, new)| match *new {
            "" => Some((*old, None)),
            new => {
                self.extensions.iter().find(|extension| extension.urn == new).map(|extension| (*old, Some(extension)))
            }
        });
        own.chain(legacy)
            .filter_map(|(urn, schema)| {
                let rest = starts_with(text, urn).then(|| text.get(urn.len()..)).flatten()?;
                let rest = match rest {
                    "" => "",
                    rest => rest.strip_prefix([':', '.']).filter(|rest| !rest.is_empty())?,
                };
                Some((urn.len(), schema, rest))
            })
            .max_by_key(|(length, _, _)| *length)
            .map(|(_, schema, rest)| (schema, rest))
    }

    /// Whether this is the attribute whose values are memberships, which live in a table of their own:
    /// `members` of groups and `groups` of people.
    pub(in crate::scim) fn is_membership(&self, path: &Path<'_>) -> bool {
        let name = match self.kind {
            ResourceKind::User => "groups",
            ResourceKind::Group => "members",
        };
        path.extension.is_none() && path.attribute.name == name
    }

    /// Every attribute that a resource can hold, common ones first.
    pub fn attributes(&self) -> impl Iterator<Item = Path<'_>> {
        let core = self.common.iter().chain(&self.core.attributes);
        let core = core.map(|attribute| Path { extension: None, attribute, sub: None });
        core.chain(self.extensions.iter().flat_map(Schema::paths))
    }

    /// The attributes that a document holds, with their values, in the order of [`Self::attributes`].
    pub(in crate::scim) fn held<'a>(
        &'a self,
        document: &'a Map<String, Value>,
    ) -> impl Iterator<Item = (Path<'a>, &'a Value)> {
        let core = self.common.iter().chain(&self.core.attributes);
        let core = core.map(|attribute| Path { extension: None, attribute, sub: None });
        let core = core.map(move |path| (path, document));
        let extensions = self.extensions.iter().filter_map(|extension| {
            let own = document.get(&extension.urn)?.as_object()?;
            Some(extension.paths().map(move |path| (path, own)))
        });
        let all = core.chain(extensions.flatten());
        // Documents have few members: to compare their names is quicker than to hash one.
        let find = |path: &Path<'_>, holder: &'a Map<String, Value>| {
            holder.iter().find(|(name, _)| **name == path.attribute.name).map(|(_, value)| value)
        };
        all.filter_map(move |(path, holder)| Some((path, find(&path, holder)?)))
    }
}

/// `name` or `name.sub` among attributes, without case.
fn find<'a>(attributes: &'a [Attribute], text: &str) -> Option<(&'a Attribute, Option<&'a Attribute>)> {
    let (name, sub) = text.split_once('.').map_or((text, None), |(name, sub)| (name, Some(sub)));
    let attribute = attributes.iter().find(|attribute| attribute.name.eq_ignore_ascii_case(name))?;
    match sub {
        None => Some((attribute, None)),
        Some(sub) if attribute.is_complex() => Some((attribute, Some(attribute.sub_attribute(sub)?))),
        Some(sub) => (attribute.multi_valued && sub.eq_ignore_ascii_case("value")).then_some((attribute, None)),
    }
}

/// Whether a text begins so, without case.
fn starts_with(text: &str, beginning: &str) -> bool {
    text.get(..beginning.len()).is_some_and(|head| head.eq_ignore_ascii_case(beginning))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user() -> Schemas {
        Schemas::builtin().unwrap()
    }

    #[test]
    fn paths_are_found_without_case_and_shown_canonically() {
        let schemas = user();
        let definition = schemas.definition(ResourceKind::User);
        let manager = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager.value";
        let accounts = "urn:ietf:params:scim:schemas:extension:cedargate:2.0:User:accounts";
        let cases = [
            ("USERNAME", "userName"),
            ("Name.GivenName", "name.givenName"),
            ("urn:ietf:params:scim:schemas:core:2.0:User:name.familyname", "name.familyName"),
            ("URN:ietf:params:scim:schemas:extension:ENTERPRISE:2.0:User:Manager.Value", manager),
            ("urn:scim:schemas:extension:enterprise:2.0:manager.value", manager),
            ("urn:scim:schemas:core:1.0:title", "title"),
            ("urn:ietf:params:scim:schemas:extension:cedargate:2.0:User:accounts.value", accounts),
            ("meta.lastModified", "meta.lastModified"),
            ("externalid", "externalId"),
        ];
        for (text, canonical) in cases {
            assert_eq!(definition.resolve(text).unwrap().to_string(), canonical, "{text}");
        }
    }

    #[test]
    fn nothing_else_is_found() {
        let schemas = user();
        let definition = schemas.definition(ResourceKind::User);
        for text in [
            "",
            ".",
            "name.",
            "name.givenName.x",
            "userName.value",
            "department",
            "__proto__",
            "__proto__.userName",
            "constructor.prototype",
            "urn:",
            "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User",
            "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:",
            "urn:ietf:params:scim:schemas:extension:enterprise:2.0:Userdepartment",
            "urn:ietf:params:scim:schemas:extension:unknown:2.0:User:department",
            "ürn:é",
        ] {
            assert!(definition.resolve(text).is_none(), "{text}");
        }
        let urn = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:user";
        assert!(matches!(definition.target(urn), Some(Target::Extension(_))));
    }
}
