//! What may be given, for clients that ask before they give: `/Roles` and `/Entitlements`, in the shapes that Okta's
//! entitlement discovery reads. Roles are those of the catalogue, entitlements the accounts of the organization, both
//! only as far as this connection may give them. Read-only. Knows no documents of people: what a role or an
//! entitlement on a person means is [`super::image`]'s to say.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::caller::Caller;
use super::discovery::refuse_filter;
use super::error::ScimError;
use super::image::ACCOUNT_ENTITLEMENT;
use super::list::{list_response, query_failure};
use super::query::{Listing, Start};
use super::respond::body;
use super::{Scim, store_failure};
use crate::http::{Request, Response, StatusCode};
use crate::store::{Kind, Page, Query, Record};

/// The names of the roles that mean something now, each with a sentence on what it is.
pub type RoleSource = Arc<dyn Fn() -> Vec<(String, String)> + Send + Sync>;

/// What Okta looks for among the resource types.
const ROLE_SCHEMA: &str = "urn:okta:scim:schemas:core:1.0:Role";
const ENTITLEMENT_SCHEMA: &str = "urn:okta:scim:schemas:core:1.0:Entitlement";
/// Okta takes descriptions up to this many characters.
const LONGEST_DESCRIPTION: usize = 1_000;

/// The two kinds of what may be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Grantable {
    Role,
    Entitlement,
}

impl Grantable {
    pub const ALL: [Self; 2] = [Self::Role, Self::Entitlement];

    const fn name(self) -> &'static str {
        match self {
            Self::Role => "Role",
            Self::Entitlement => "Entitlement",
        }
    }

    const fn endpoint(self) -> &'static str {
        match self {
            Self::Role => "/Roles",
            Self::Entitlement => "/Entitlements",
        }
    }

    const fn schema(self) -> &'static str {
        match self {
            Self::Role => ROLE_SCHEMA,
            Self::Entitlement => ENTITLEMENT_SCHEMA,
        }
    }

    const fn description(self) -> &'static str {
        match self {
            Self::Role => "Roles that may be given to people; read-only",
            Self::Entitlement => "Accounts that may be given to people; read-only",
        }
    }

    /// As `/ResourceTypes` names it.
    pub fn resource_type(self) -> Value {
        json!({
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:ResourceType"],
            "id": self.name(),
            "name": self.name(),
            "endpoint": self.endpoint(),
            "description": self.description(),
            "schema": self.schema(),
        })
    }

    /// As `/Schemas` describes it.
    pub fn schema_document(self) -> Value {
        let attribute = |name: &str, required: bool, description: &str| {
            json!({
                "name": name, "type": "string", "multiValued": false, "description": description, "required": required,
                "caseExact": false, "mutability": "readOnly", "returned": "default", "uniqueness": "none",
            })
        };
        let mut attributes = vec![attribute("displayName", true, "A name for people.")];
        if self == Self::Entitlement {
            attributes.push(attribute("type", true, "What kind of thing it is."));
        }
        attributes.push(attribute("description", false, "What it allows."));
        json!({
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:Schema"],
            "id": self.schema(),
            "name": self.name(),
            "description": self.description(),
            "attributes": attributes,
        })
    }
}

impl Scim {
    /// GET /Roles and /Entitlements
    pub(super) async fn grantables(
        &self,
        caller: &Caller,
        kind: Grantable,
        request: &Request,
    ) -> Result<Response, ScimError> {
        refuse_filter(request)?;
        let listing = Listing::read(&request.query_pairs(), self.page_sizes())?;
        let start = match listing.start {
            Start::Index(start) => start,
            Start::Cursor(_) => return Err(ScimError::invalid_cursor("this list takes no cursor; use startIndex")),
        };
        let offset = start - 1;
        let (total, resources) = match kind {
            Grantable::Role => page(self.roles(caller), offset, listing.count),
            Grantable::Entitlement => match &caller.settings().accounts {
                Some(allowed) => page(self.allowed_accounts(caller, allowed).await?, offset, listing.count),
                None => self.accounts_page(caller, offset, listing.count).await?,
            },
        };
        Ok(list_response(total, start, resources))
    }

    /// GET /Roles/{id} and /Entitlements/{id}
    pub(super) async fn grantable(
        &self,
        caller: &Caller,
        kind: Grantable,
        request: &Request,
    ) -> Result<Response, ScimError> {
        let id = request.parameter("id");
        let found = match kind {
            Grantable::Role => self.roles(caller).into_iter().find(|role| role.get("id").is_some_and(|own| own == id)),
            Grantable::Entitlement => {
                let may = caller.settings().accounts.as_ref().is_none_or(|allowed| allowed.iter().any(|one| one == id));
                if may { self.account_entitlement(caller, id).await? } else { None }
            }
        };
        let found = found.ok_or_else(|| {
            let (name, endpoint) = (kind.name(), kind.endpoint());
            ScimError::not_found(format!("there is no such {name} that this connection may give; see {endpoint}"))
        })?;
        Ok(body(StatusCode::OK, &found))
    }

    /// The roles of the catalogue that the connection may give.
    fn roles(&self, caller: &Caller) -> Vec<Value> {
        let allowed = caller.settings().roles.as_ref();
        let may = |name: &str| allowed.is_none_or(|names| names.iter().any(|other| other == name));
        let roles = self.roles.as_ref().map(|roles| roles()).unwrap_or_default();
        roles
            .into_iter()
            .filter(|(name, _)| may(name))
            .map(|(name, description)| self.described(Grantable::Role, &name, &name, &description, None))
            .collect()
    }

    async fn allowed_accounts(&self, caller: &Caller, allowed: &[String]) -> Result<Vec<Value>, ScimError> {
        let mut accounts = Vec::with_capacity(allowed.len());
        for id in allowed {
            accounts.extend(self.account_entitlement(caller, id).await?);
        }
        Ok(accounts)
    }

    async fn account_entitlement(&self, caller: &Caller, id: &str) -> Result<Option<Value>, ScimError> {
        let record = self.store.get(Kind::Account, id).await.map_err(store_failure)?;
        let own = record.filter(|record| !record.deleted && record.organization == caller.wall().id);
        Ok(own.map(|record| self.entitlement(&record)))
    }

    async fn accounts_page(&self, caller: &Caller, offset: u64, count: u64) -> Result<(u64, Vec<Value>), ScimError> {
        let query = Query {
            kind: Kind::Account,
            organization: Some(caller.wall().id.clone()),
            predicate: None,
            sort: None,
            page: Page { offset, count, after: None },
        };
        let found = self.store.query(query).await.map_err(query_failure)?;
        Ok((found.total.unwrap_or_default(), found.records.iter().map(|record| self.entitlement(record)).collect()))
    }

    fn entitlement(&self, account: &Record) -> Value {
        let stored: Map<String, Value> = serde_json::from_str(&account.document).unwrap_or_default();
        let name = stored.get("name").and_then(Value::as_str).filter(|name| !name.is_empty()).unwrap_or(&account.id);
        let description = format!("The account {}", account.id);
        self.described(Grantable::Entitlement, &account.id, name, &description, Some(ACCOUNT_ENTITLEMENT))
    }

    fn described(&self, kind: Grantable, id: &str, name: &str, description: &str, label: Option<&str>) -> Value {
        let mut one = json!({"schemas": [kind.schema()], "id": id, "displayName": name});
        if let Some(members) = one.as_object_mut() {
            members.extend(label.map(|label| ("type".to_owned(), Value::from(label))));
            let description: String = description.chars().take(LONGEST_DESCRIPTION).collect();
            members.insert("description".to_owned(), Value::from(description));
            let location = format!("{}/scim/v2{}/{}", self.base_url, kind.endpoint(), encoded(id));
            members.insert("meta".to_owned(), json!({"resourceType": kind.name(), "location": location}));
        }
        one
    }
}

/// An id as a segment of a path: everything but RFC 3986's unreserved characters is encoded.
fn encoded(id: &str) -> String {
    let mut text = String::with_capacity(id.len());
    for byte in id.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

fn page(all: Vec<Value>, offset: u64, count: u64) -> (u64, Vec<Value>) {
    let size = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    let total = u64::try_from(all.len()).unwrap_or(u64::MAX);
    (total, all.into_iter().skip(size(offset)).take(size(count)).collect())
}
