//! How the nouns become Cedar entities: the Rust half of `schema.cedarschema`.

use std::collections::HashSet;
use std::sync::LazyLock;

use cedar_policy::{Entity, EntityId, EntityTypeName, EntityUid, RestrictedExpression};
use cedar_policy_core::ast::{self, Eid, EntityType, EntityUID, Literal, PartialValue, RestrictedExpr, Value};
use cedar_policy_core::evaluator::RestrictedEvaluator;
use cedar_policy_core::extensions::Extensions;

use super::context::{ContextFault, datetime_text};
use super::nouns::Nouns;
use crate::domain::{AccessMethods, AdministrationLevel, EntityName, Timestamp};

/// The entity types that the directory provides, in a bundle that declares actions in `routes/`.
pub(super) const DIRECTORY_KINDS: [&str; 5] = ["User", "Anonymous", "Account", "Organization", "Dashboard"];

/// Why the facts do not make entities.
#[derive(Debug)]
pub(super) enum FactsFault {
    /// A property of the question has another type than the schema declares.
    Property(ContextFault),
    /// A fault of ours.
    Ours(String),
}

impl From<ContextFault> for FactsFault {
    fn from(fault: ContextFault) -> Self {
        Self::Property(fault)
    }
}

impl From<String> for FactsFault {
    fn from(cause: String) -> Self {
        Self::Ours(cause)
    }
}

/// What policies may read of a person.
#[derive(Clone, Debug)]
pub struct PrincipalFacts<'a> {
    /// The SCIM id; the entity's id.
    pub id: &'a str,
    /// The dashboard username.
    pub username: &'a str,
    /// The organization's id.
    pub organization: &'a str,
    /// The level.
    pub level: AdministrationLevel,
    /// The access methods.
    pub methods: AccessMethods,
    /// Effective role names, each once.
    pub roles: Vec<&'a str>,
    /// Ids of the groups, indirect ones too, each once.
    pub groups: Vec<&'a str>,
    /// Ids of the granted accounts, each once.
    pub accounts: Vec<&'a str>,
    /// Whether any role is assigned, known or not.
    pub has_assigned_role: bool,
    /// When the password was last set.
    pub password_changed_at: Option<Timestamp>,
}

/// What policies may read of an account.
#[derive(Clone, Debug)]
pub struct AccountFacts<'a> {
    /// The account's id.
    pub id: &'a str,
    /// The organization's id.
    pub organization: &'a str,
    /// Active products.
    pub products: Vec<&'a str>,
}

/// The resource of a question.
#[derive(Clone, Debug)]
pub enum ResourceFacts<'a> {
    /// An account.
    Account(AccountFacts<'a>),
    /// A person acted on.
    User(Box<PrincipalFacts<'a>>),
    /// An organization as a whole.
    Organization(&'a str),
    /// The dashboard itself.
    Dashboard,
    /// An entity of the bundle's own; its kind is the full name of the schema.
    Entity(EntityName<'a>),
}

/// Who asks.
#[derive(Clone, Debug)]
pub enum Asker<'a> {
    /// A caller without an identity.
    Anonymous,
    /// A person of the directory.
    Person(Box<PrincipalFacts<'a>>),
    /// An entity of the bundle's own; its kind is the full name of the schema.
    Entity(EntityName<'a>),
}

impl<'a> Asker<'a> {
    /// The person, where it is one.
    pub fn person(&self) -> Option<&PrincipalFacts<'a>> {
        match self {
            Self::Person(person) => Some(person),
            Self::Anonymous | Self::Entity(_) => None,
        }
    }
}

/// Everything that one evaluation reads.
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    /// Who asks.
    pub principal: Asker<'a>,
    /// On what.
    pub resource: ResourceFacts<'a>,
    /// The account named by `context.account`.
    pub account: Option<AccountFacts<'a>>,
    /// `context.channel`.
    pub channel: &'static str,
    /// `context.now`.
    pub now: Timestamp,
}

/// The entity types of the dashboard's schema.
struct Types {
    user: EntityTypeName,
    anonymous: EntityTypeName,
    role: EntityTypeName,
    group: EntityTypeName,
    account: EntityTypeName,
    product: EntityTypeName,
    organization: EntityTypeName,
    dashboard: EntityTypeName,
}

#[expect(clippy::expect_used, reason = "the names are constants of this file and valid identifiers")]
static TYPES: LazyLock<Types> = LazyLock::new(|| {
    let name = |text: &str| text.parse().expect("a valid entity type name");
    Types {
        user: name("User"),
        anonymous: name("Anonymous"),
        role: name("Role"),
        group: name("Group"),
        account: name("Account"),
        product: name("Product"),
        organization: name("Organization"),
        dashboard: name("Dashboard"),
    }
});

fn uid(name: &EntityTypeName, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(name.clone(), EntityId::new(id))
}

/// A uid of names that are known at load only; `None` where the type is no name.
pub(super) fn uid_of(kind: &str, id: &str) -> Option<EntityUid> {
    Some(EntityUid::from_type_name_and_id(kind.parse().ok()?, EntityId::new(id)))
}

/// The uid of an account.
pub(super) fn account_uid(id: &str) -> EntityUid {
    uid(&TYPES.account, id)
}

fn inner(name: &EntityTypeName, id: &str) -> EntityUID {
    EntityUID::from_components(AsRef::<EntityType>::as_ref(name).clone(), Eid::new(id), None)
}

/// A set of entities of one type.
fn set(name: &EntityTypeName, ids: &[&str]) -> Value {
    // Cedar sorts them; texts are compared more quickly than its values.
    let mut ids = ids.to_vec();
    ids.sort_unstable();
    Value::set_of_lits(ids.into_iter().map(|id| Literal::from(inner(name, id))), None)
}

/// A moment as policies read it. The one value here that Cedar computes from a text, and that takes its time.
pub(super) fn moment(at: Timestamp) -> Result<Value, String> {
    let text = RestrictedExpression::new_datetime(datetime_text(at.0));
    let text: &RestrictedExpr = text.as_ref();
    let evaluator = RestrictedEvaluator::new(Extensions::all_available());
    evaluator.interpret(text.as_borrowed()).map_err(|error| error.to_string())
}

/// An entity of these values. They are known to be whole, so Cedar need not evaluate them.
fn entity<const N: usize>(
    uid: EntityUID,
    values: [(&'static str, Option<Value>); N],
    parents: HashSet<EntityUID>,
) -> ast::Entity {
    let values = values.into_iter().filter_map(|(name, value)| Some((name.into(), PartialValue::Value(value?))));
    ast::Entity::new_with_attr_partial_value(uid, values, HashSet::new(), parents, [])
}

impl PrincipalFacts<'_> {
    fn uid(&self) -> EntityUid {
        uid(&TYPES.user, self.id)
    }

    pub(super) fn entity(&self) -> Result<Entity, String> {
        self.made().map(Entity::from)
    }

    /// As Cedar's core has it.
    pub(super) fn made(&self) -> Result<ast::Entity, String> {
        let roles = self.roles.iter().map(|name| inner(&TYPES.role, name));
        let groups = self.groups.iter().map(|id| inner(&TYPES.group, id));
        let values = [
            ("username", Some(self.username.into())),
            ("administrationLevel", Some(self.level.name().into())),
            ("accessMethods", Some(Value::set_of_lits(self.methods.names().map(Literal::from), None))),
            ("accounts", Some(set(&TYPES.account, &self.accounts))),
            ("hasAssignedRole", Some(self.has_assigned_role.into())),
            ("organization", Some(inner(&TYPES.organization, self.organization).into())),
            ("passwordChangedAt", self.password_changed_at.map(moment).transpose()?),
        ];
        Ok(entity(inner(&TYPES.user, self.id), values, roles.chain(groups).collect()))
    }
}

impl AccountFacts<'_> {
    pub(super) fn entity(&self) -> Entity {
        self.made().into()
    }

    /// As Cedar's core has it.
    pub(super) fn made(&self) -> ast::Entity {
        let values = [("products", Some(set(&TYPES.product, &self.products)))];
        let parents = HashSet::from([inner(&TYPES.organization, self.organization)]);
        entity(inner(&TYPES.account, self.id), values, parents)
    }
}

impl Facts<'_> {
    /// The principal's uid.
    pub(super) fn principal_uid(&self, nouns: &Nouns) -> Result<EntityUid, FactsFault> {
        match &self.principal {
            Asker::Anonymous => Ok(uid(&TYPES.anonymous, "anonymous")),
            Asker::Person(person) => Ok(person.uid()),
            Asker::Entity(name) => own_uid(nouns, name),
        }
    }

    /// The resource's uid.
    pub(super) fn resource_uid(&self, nouns: &Nouns) -> Result<EntityUid, FactsFault> {
        Ok(match &self.resource {
            ResourceFacts::Account(account) => account_uid(account.id),
            ResourceFacts::User(person) => person.uid(),
            ResourceFacts::Organization(id) => uid(&TYPES.organization, id),
            ResourceFacts::Dashboard => uid(&TYPES.dashboard, "dashboard"),
            ResourceFacts::Entity(name) => own_uid(nouns, name)?,
        })
    }

    /// The slice: every entity that the evaluation may dereference, each once.
    pub(super) fn entities(&self, nouns: &Nouns) -> Result<Vec<Entity>, FactsFault> {
        let mut slice = Vec::with_capacity(3);
        match &self.principal {
            Asker::Anonymous => {}
            Asker::Person(person) => slice.push(person.entity()?),
            Asker::Entity(name) => slice.extend(nouns.said(name, "subject.properties")?),
        }
        match &self.resource {
            ResourceFacts::Account(account) => slice.push(account.entity()),
            ResourceFacts::User(person) if self.principal.person().is_none_or(|p| p.id != person.id) => {
                slice.push(person.entity()?);
            }
            ResourceFacts::Entity(name) => {
                let entity = nouns.said(name, "resource.properties")?;
                let same = slice.iter().position(|other| entity.as_ref().is_some_and(|one| one.uid() == other.uid()));
                match (same, entity) {
                    (Some(at), Some(entity)) => self.merge(&mut slice, at, entity, name)?,
                    (_, entity) => slice.extend(entity),
                }
            }
            ResourceFacts::User(_) | ResourceFacts::Organization(_) | ResourceFacts::Dashboard => {}
        }
        if let Some(account) = &self.account
            && !matches!(&self.resource, ResourceFacts::Account(resource) if resource.id == account.id)
        {
            slice.push(account.entity());
        }
        Ok(slice)
    }

    /// Who acts on themselves is one entity: what was said of either side counts, and must agree where both say it.
    fn merge(
        &self,
        slice: &mut [Entity],
        at: usize,
        resource: Entity,
        name: &EntityName<'_>,
    ) -> Result<(), ContextFault> {
        let said = matches!(&self.principal, Asker::Entity(principal) if !principal.properties.is_empty());
        let Some(principal) = slice.get_mut(at) else { return Ok(()) };
        if !said {
            *principal = resource;
        } else if !name.properties.is_empty() && !principal.deep_eq(&resource) {
            let wanted = "what subject.properties says, since both are the same".to_owned();
            return Err(ContextFault::at("resource.properties", wanted));
        }
        Ok(())
    }
}

fn own_uid(nouns: &Nouns, name: &EntityName<'_>) -> Result<EntityUid, FactsFault> {
    nouns.uid(name.kind, name.id).ok_or_else(|| FactsFault::Ours(format!("no entity type is called {}", name.kind)))
}

impl<'a> ResourceFacts<'a> {
    /// The entity type's name.
    pub const fn kind(&self) -> &'a str {
        match self {
            Self::Account(_) => "Account",
            Self::User(_) => "User",
            Self::Organization(_) => "Organization",
            Self::Dashboard => "Dashboard",
            Self::Entity(name) => name.kind,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// What Cedar itself makes of its JSON form.
    fn read(entity: serde_json::Value) -> Entity {
        let read = cedar_policy::Entities::from_json_value(json!([entity]), None).expect("entities");
        read.iter().next().expect("one").clone()
    }

    #[test]
    fn entities_are_what_cedar_makes_of_the_same_words() {
        let person = PrincipalFacts {
            id: "u1",
            username: "jdoe",
            organization: "acme",
            level: AdministrationLevel::AccountAdmin,
            methods: AccessMethods { dashboard: true, api: true },
            roles: vec!["Ordering", "Voice Insights"],
            groups: vec!["g1"],
            accounts: vec!["200", "100", "100"],
            has_assigned_role: true,
            password_changed_at: Some(Timestamp(86_400_123)),
        };
        let of = |kind: &str, id: &str| json!({"type": kind, "id": id});
        let named = |kind: &str, id: &str| json!({"__entity": of(kind, id)});
        let theirs = read(json!({
            "uid": of("User", "u1"),
            "attrs": {
                "username": "jdoe",
                "administrationLevel": "Account Admin",
                "accessMethods": ["api", "dashboard"],
                "accounts": [named("Account", "100"), named("Account", "200")],
                "hasAssignedRole": true,
                "organization": named("Organization", "acme"),
                "passwordChangedAt": {"__extn": {"fn": "datetime", "arg": "1970-01-02T00:00:00.123Z"}},
            },
            "parents": [of("Role", "Ordering"), of("Role", "Voice Insights"), of("Group", "g1")],
        }));
        let ours = person.entity().expect("an entity");
        assert!(ours.deep_eq(&theirs), "{ours:?}\n{theirs:?}");
        let nobody = PrincipalFacts { password_changed_at: None, ..person };
        assert!(!nobody.entity().expect("an entity").deep_eq(&theirs));

        let account = AccountFacts { id: "100", organization: "acme", products: vec!["UC", "DID"] };
        let theirs = read(json!({
            "uid": of("Account", "100"),
            "attrs": {"products": [named("Product", "DID"), named("Product", "UC")]},
            "parents": [of("Organization", "acme")],
        }));
        assert!(account.entity().deep_eq(&theirs));
        let bare = AccountFacts { products: Vec::new(), ..account };
        assert!(!bare.entity().deep_eq(&theirs));
    }
}
