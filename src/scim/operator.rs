//! What operators need of this room: import, lists and views of people with their effective rights, and changes that
//! no identity provider may make. Stricter than the front door: what grants nothing is refused instead of marked.

mod import;
mod patch;

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

pub use import::Imported;

use super::content::{Draft, add_server_facts};
use super::error::ScimError;
use super::image::{Limits, access_methods};
use super::life::username_key;
use super::list::query_failure;
use super::query::Wanted;
use super::schema::{ResourceKind, Tolerance};
use super::state::{Claim, Claims, GroupState, UserState};
use super::{Scim, caller::Wall, connection::UsernameChange, store_failure, users::Writer};
use crate::domain::{AdministrationLevel, Number};
use crate::store::{Found, Kind, Page, Position, Query, Record};

/// A page of people.
#[derive(Clone, Debug, PartialEq)]
pub struct Users {
    /// As [`Scim::user_view`] shows them.
    pub items: Vec<Value>,
    /// Where the next page begins: to be passed as `after`. `None` at the end.
    pub next: Option<Number>,
}

impl Scim {
    /// People of one organization, or of all, in the order of their creation; deleted ones are left out.
    ///
    /// # Errors
    /// 404 for an unknown organization, 400 `invalidFilter`, 503 and 500 from the store.
    pub async fn users(
        &self,
        organization: Option<&str>,
        filter: Option<&str>,
        after: Option<Number>,
        count: u64,
    ) -> Result<Users, ScimError> {
        let wall = match organization {
            Some(id) => Some(Wall::find(&*self.store, id).await?),
            None => None,
        };
        let definition = self.schemas.definition(ResourceKind::User);
        let predicate = match filter {
            Some(text) => Some(self.predicate(wall.as_ref(), "", definition, text, &Tolerance::GENERIC).await?),
            None => None,
        };
        let page = Page { offset: 0, count, after: after.map(Position::from) };
        let query = Query { kind: Kind::User, organization: wall.map(|wall| wall.id), predicate, sort: None, page };
        let Found { records, more, .. } = self.store.query(query).await.map_err(query_failure)?;
        let next = if more { records.last().map(|record| record.number) } else { None };
        let mut items = Vec::with_capacity(records.len());
        for record in &records {
            items.push(self.operator_view(record).await?);
        }
        Ok(Users { items, next })
    }

    /// One person by id, username or login: the SCIM resource and beside it `organization`, `deleted`, `externalIds`
    /// (by connection), `effective` (`active`, `administrationLevel`, `accessMethods`, and `roles` and `accounts`, each
    /// with its `origin`: `{"type": "direct"}` or `{"type": "group", "id", "name"}`) and `withheld` (what the document
    /// names and nobody was allowed to give). Deleted people are shown, too.
    ///
    /// # Errors
    /// 404; 503 and 500 from the store.
    pub async fn user_view(&self, name: &str) -> Result<Value, ScimError> {
        let record = self.person(name).await?;
        self.operator_view(&record).await
    }

    pub(super) async fn person(&self, name: &str) -> Result<Record, ScimError> {
        if let Some(record) = self.store.get(Kind::User, name).await.map_err(store_failure)? {
            return Ok(record);
        }
        let record = self.store.holder(username_key(name)).await.map_err(store_failure)?;
        record.ok_or_else(|| ScimError::not_found("there is no such user; give an id, a username or a login"))
    }

    async fn operator_view(&self, record: &Record) -> Result<Value, ScimError> {
        let draft = Draft::<UserState>::read(record)?;
        let state = &draft.state;
        let mut view = self.shown_user("", record, &Wanted::default()).await?;
        // Clients see these where they ask for them, operators always.
        add_server_facts(&mut view, state);
        view.insert("organization".to_owned(), Value::from(record.organization.as_str()));
        view.insert("deleted".to_owned(), Value::Bool(record.deleted));
        view.insert("externalIds".to_owned(), json!(state.external));
        view.insert("effective".to_owned(), self.effective(record, &draft).await?);
        view.insert("withheld".to_owned(), withheld(&state.claims));
        Ok(Value::Object(view))
    }

    async fn effective(&self, record: &Record, draft: &Draft<UserState>) -> Result<Value, ScimError> {
        let direct = json!({"type": "direct"});
        let mut roles = Vec::new();
        let mut accounts = Vec::new();
        let mut collect = |claims: &Claims, origin: &Value| {
            roles.extend(claims.given_roles().map(|name| json!({"name": name, "origin": origin})));
            accounts.extend(claims.given_accounts().map(|id| json!({"id": id, "origin": origin})));
        };
        if !record.deleted {
            collect(&draft.state.claims, &direct);
            for group in self.groups_above(record.number).await? {
                let group_draft = Draft::<GroupState>::read(&group)?;
                let name = group_draft.text("displayName");
                collect(&group_draft.state.claims, &json!({"type": "group", "id": group.id, "name": name}));
            }
        }
        let level = if draft.state.claims.is_admin() {
            AdministrationLevel::AccountAdmin
        } else {
            AdministrationLevel::BasicUser
        };
        Ok(json!({
            "active": !record.deleted && draft.state.active,
            "administrationLevel": level.name(),
            "accessMethods": access_methods(&draft.document).names().collect::<Vec<_>>(),
            "roles": roles,
            "accounts": accounts,
        }))
    }

    /// The rules by which an operator writes.
    pub(super) fn operator(wall: &Wall, roles: &[String], strict: bool) -> Writer {
        let limits = Limits { strict, ..Limits::operator(&wall.id, roles) };
        Writer { limits, username_change: UsernameChange::Alias, password_sync: false }
    }

    /// The organization of a record.
    pub(super) async fn wall_of(&self, record: &Record) -> Result<Wall, ScimError> {
        Wall::find(&*self.store, &record.organization).await
    }
}

/// What a document names and nobody was allowed to give, or what is not there.
fn withheld(claims: &Claims) -> Value {
    let names = |claims: &BTreeMap<String, Claim>| -> Vec<String> {
        claims.iter().filter(|(_, claim)| !claim.counts()).map(|(name, _)| name.clone()).collect()
    };
    let mut withheld = Map::new();
    if claims.admin.is_some() && !claims.is_admin() {
        withheld.insert("administrationLevel".to_owned(), Value::from(AdministrationLevel::AccountAdmin.name()));
    }
    let all = [("roles", &claims.roles), ("accounts", &claims.accounts), ("entitlements", &claims.entitlements)];
    for (key, names) in all.map(|(key, claims)| (key, names(claims))) {
        if !names.is_empty() {
            withheld.insert(key.to_owned(), json!(names));
        }
    }
    Value::Object(withheld)
}
