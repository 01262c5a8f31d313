//! How the nouns become Cedar entities: the Rust half of `schema.cedarschema`.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use cedar_policy::{Entity, EntityId, EntityTypeName, EntityUid, RestrictedExpression};

use super::context::datetime_text;
use crate::domain::{AccessMethods, AdministrationLevel, Timestamp};

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
}

/// Everything that one evaluation reads.
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    /// Who asks; `None` for a caller without an identity.
    pub principal: Option<PrincipalFacts<'a>>,
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
    action: EntityTypeName,
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
        action: name("Action"),
    }
});

fn uid(name: &EntityTypeName, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(name.clone(), EntityId::new(id))
}

/// The uid of an action or an action group.
pub(super) fn action_uid(name: &str) -> EntityUid {
    uid(&TYPES.action, name)
}

/// The uid of an account.
pub(super) fn account_uid(id: &str) -> EntityUid {
    uid(&TYPES.account, id)
}

fn set(name: &EntityTypeName, ids: &[&str]) -> RestrictedExpression {
    RestrictedExpression::new_set(ids.iter().map(|id| RestrictedExpression::new_entity_uid(uid(name, id))))
}

impl PrincipalFacts<'_> {
    fn uid(&self) -> EntityUid {
        uid(&TYPES.user, self.id)
    }

    fn entity(&self) -> Result<Entity, String> {
        let text = |text: &str| RestrictedExpression::new_string(text.to_owned());
        let mut attributes = HashMap::from([
            ("username".to_owned(), text(self.username)),
            ("administrationLevel".to_owned(), text(self.level.name())),
            ("accessMethods".to_owned(), RestrictedExpression::new_set(self.methods.names().map(text))),
            ("accounts".to_owned(), set(&TYPES.account, &self.accounts)),
            ("hasAssignedRole".to_owned(), RestrictedExpression::new_bool(self.has_assigned_role)),
            (
                "organization".to_owned(),
                RestrictedExpression::new_entity_uid(uid(&TYPES.organization, self.organization)),
            ),
        ]);
        if let Some(at) = self.password_changed_at {
            attributes.insert("passwordChangedAt".to_owned(), RestrictedExpression::new_datetime(datetime_text(at.0)));
        }
        let roles = self.roles.iter().map(|name| uid(&TYPES.role, name));
        let groups = self.groups.iter().map(|id| uid(&TYPES.group, id));
        Entity::new(self.uid(), attributes, roles.chain(groups).collect()).map_err(|error| error.to_string())
    }
}

impl AccountFacts<'_> {
    fn entity(&self) -> Result<Entity, String> {
        let attributes = HashMap::from([("products".to_owned(), set(&TYPES.product, &self.products))]);
        let parents = HashSet::from([uid(&TYPES.organization, self.organization)]);
        Entity::new(account_uid(self.id), attributes, parents).map_err(|error| error.to_string())
    }
}

impl Facts<'_> {
    /// The principal's uid.
    pub(super) fn principal_uid(&self) -> EntityUid {
        self.principal.as_ref().map_or_else(|| uid(&TYPES.anonymous, "anonymous"), PrincipalFacts::uid)
    }

    /// The resource's uid.
    pub(super) fn resource_uid(&self) -> EntityUid {
        match &self.resource {
            ResourceFacts::Account(account) => account_uid(account.id),
            ResourceFacts::User(person) => person.uid(),
            ResourceFacts::Organization(id) => uid(&TYPES.organization, id),
            ResourceFacts::Dashboard => uid(&TYPES.dashboard, "dashboard"),
        }
    }

    /// The slice: every entity that the evaluation may dereference, each once.
    pub(super) fn entities(&self) -> Result<Vec<Entity>, String> {
        let mut slice = Vec::with_capacity(3);
        if let Some(principal) = &self.principal {
            slice.push(principal.entity()?);
        }
        match &self.resource {
            ResourceFacts::Account(account) => slice.push(account.entity()?),
            ResourceFacts::User(person) if self.principal.as_ref().is_none_or(|p| p.id != person.id) => {
                slice.push(person.entity()?);
            }
            ResourceFacts::User(_) | ResourceFacts::Organization(_) | ResourceFacts::Dashboard => {}
        }
        if let Some(account) = &self.account
            && !matches!(&self.resource, ResourceFacts::Account(resource) if resource.id == account.id)
        {
            slice.push(account.entity()?);
        }
        Ok(slice)
    }
}

impl ResourceFacts<'_> {
    /// The entity type's name.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Account(_) => "Account",
            Self::User(_) => "User",
            Self::Organization(_) => "Organization",
            Self::Dashboard => "Dashboard",
        }
    }
}
