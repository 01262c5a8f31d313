//! Import: one SCIM-shaped line is one person or one group, made or brought up to date. Safe to run again.

use serde_json::Value;

use super::super::caller::Wall;
use super::super::content::Draft;
use super::super::error::{ScimError, quote};
use super::super::groups::GroupChange;
use super::super::image::USER_EXTENSION;
use super::super::life::{check_own_username, group_name_key, taken, username_key};
use super::super::patch::MemberOperation;
use super::super::query::Precondition;
use super::super::schema::{Resource, ResourceKind, Tolerance};
use super::super::state::{Claims, GroupState, UserState};
use super::super::users::Facts;
use super::super::{Failure, Scim, busy, store_failure};
use super::patch::parse_time;
use crate::domain::fold;
use crate::store::{Kind, Record};

/// What a line did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Imported {
    /// It made a resource.
    Created,
    /// It brought one up to date, or found it so.
    Updated,
}

/// Forgiving of shapes, not of names that nobody knows.
const TOLERANCE: Tolerance = Tolerance { unknown_attributes: false, ..Tolerance::GENERIC };

impl Scim {
    /// Imports a line into an organization. `roles` are the names that may be given. People are found by `userName`,
    /// groups by `displayName`; members may be ids or userNames; `passwordChangedAt` and `locked` of our extension
    /// are taken over. A person or group that exists becomes what the line says; members that it does not
    /// mention stay.
    ///
    /// # Errors
    /// 400 with everything that would grant nothing (unknown roles, levels, methods, accounts outside the
    /// organization), for a new username beyond its characters and for unknown members; 409 for a name or
    /// address that somebody else has; 503 and 500 from the store.
    pub async fn import_line(&self, organization: &str, line: &Value, roles: &[String]) -> Result<Imported, ScimError> {
        let wall = Wall::find(&*self.store, organization).await?;
        match self.kind_of_line(line)? {
            ResourceKind::User => self.import_user(&wall, line, roles).await,
            ResourceKind::Group => self.import_group(&wall, line, roles).await,
        }
    }

    fn kind_of_line(&self, line: &Value) -> Result<ResourceKind, ScimError> {
        let urns = line.get("schemas").and_then(Value::as_array);
        let names = |kind: ResourceKind| {
            let core = self.schemas.definition(kind).core().urn();
            urns.into_iter().flatten().any(|urn| urn.as_str().is_some_and(|urn| urn.eq_ignore_ascii_case(core)))
        };
        match (names(ResourceKind::User), names(ResourceKind::Group)) {
            (true, false) => Ok(ResourceKind::User),
            (false, true) => Ok(ResourceKind::Group),
            (true, true) | (false, false) => Err(ScimError::invalid_syntax(
                "`schemas` must name either the core User or the core Group schema of SCIM 2.0",
            )),
        }
    }

    async fn import_user(&self, wall: &Wall, line: &Value, roles: &[String]) -> Result<Imported, ScimError> {
        let definition = self.schemas.definition(ResourceKind::User);
        let resource = definition.parse(line, &TOLERANCE)?;
        definition.check_required(&resource)?;
        let facts = facts(line)?;
        let writer = Self::operator(wall, roles, true);
        let name = resource.text("userName").unwrap_or_default();
        let key = username_key(name);
        let Some(record) = self.store.holder(key.clone()).await.map_err(store_failure)? else {
            check_own_username(name)?;
            self.create_user(wall, &writer, &|| Ok(resource.clone()), facts).await?;
            return Ok(Imported::Created);
        };
        if record.kind != Kind::User || record.organization != wall.id {
            return Err(taken(&key));
        }
        if record.deleted {
            self.link_by_import(wall, &writer, record, resource, facts).await?;
            return Ok(Imported::Updated);
        }
        let change = |draft: &mut Draft<UserState>| {
            let stays_active = draft.state.active;
            draft.state.claims = Claims::default();
            let stated = resource.get("active").and_then(Value::as_bool);
            draft.state.active = stated.unwrap_or(stays_active);
            draft.says_inactive = stated == Some(false);
            facts.state(&mut draft.state);
            let kept = draft.document.get("active").filter(|_| resource.get("active").is_none()).cloned();
            draft.set(resource.clone(), writer.name());
            if let Some(active) = kept {
                draft.document.insert("active".to_owned(), active);
            }
            Ok(())
        };
        self.change_user(wall, &writer, &record.id, &Precondition::default(), &change).await?;
        Ok(Imported::Updated)
    }

    async fn link_by_import(
        &self,
        wall: &Wall,
        writer: &super::super::users::Writer,
        record: Record,
        resource: Resource,
        facts: Facts,
    ) -> Result<(), ScimError> {
        match self.try_link(wall, writer, record, resource, facts).await {
            Ok(_) => Ok(()),
            Err(Failure::Raced) => Err(busy()),
            Err(Failure::Refused(error)) => Err(error),
        }
    }

    async fn import_group(&self, wall: &Wall, line: &Value, roles: &[String]) -> Result<Imported, ScimError> {
        let definition = self.schemas.definition(ResourceKind::Group);
        let mut resource = definition.parse(line, &TOLERANCE)?;
        definition.check_required(&resource)?;
        let members = match resource.take_members() {
            Some(names) => Some(self.members_by_any_name(wall, names).await?),
            None => None,
        };
        let limits = Self::operator(wall, roles, true).limits;
        let key = group_name_key(&wall.id, resource.text("displayName").unwrap_or_default());
        let Some(record) = self.store.holder(key).await.map_err(store_failure)? else {
            self.create_group(wall, &limits, resource, &members.unwrap_or_default()).await?;
            return Ok(Imported::Created);
        };
        let document = |draft: &mut Draft<GroupState>| {
            draft.state.claims = Claims::default();
            draft.set(resource.clone(), &limits.writer);
            Ok(())
        };
        let members: Vec<MemberOperation> = members.map(MemberOperation::Replace).into_iter().collect();
        let change = GroupChange { document: &document, members: &members, passed_over: Vec::new() };
        self.change_group(wall, &limits, &record.id, &Precondition::default(), &change).await?;
        Ok(Imported::Updated)
    }

    /// Ids as they are, userNames turned into ids; what is neither is left for the refusal of unknown members.
    async fn members_by_any_name(&self, wall: &Wall, names: Vec<String>) -> Result<Vec<String>, ScimError> {
        let mut ids = Vec::with_capacity(names.len());
        for name in names {
            if self.member(Some(wall), &name).await?.is_some() {
                ids.push(name);
                continue;
            }
            let holder = self.store.holder(username_key(&name)).await.map_err(store_failure)?;
            let holder = holder.filter(|record| !record.deleted && record.organization == wall.id);
            let Some(record) = holder else {
                let detail =
                    format!("the member {} is neither an id nor a userName here; import it first", quote(&name));
                return Err(ScimError::invalid_value(detail));
            };
            ids.push(record.id);
        }
        Ok(ids)
    }
}

/// The read-only attributes that an import may set, in any spelling of their names.
fn facts(line: &Value) -> Result<Facts, ScimError> {
    let mut facts = Facts::default();
    let own = line.as_object().into_iter().flatten().find(|(name, _)| fold(name) == fold(USER_EXTENSION));
    for (name, value) in own.and_then(|(_, own)| own.as_object()).into_iter().flatten() {
        match (name.to_ascii_lowercase().as_str(), value) {
            ("locked", Value::Null) | ("passwordchangedat", Value::Null) => {}
            ("locked", Value::Bool(locked)) => facts.locked = Some(*locked),
            ("locked", _) => return Err(ScimError::invalid_value("locked must be true or false")),
            ("passwordchangedat", value) => facts.password_changed_at = Some(Some(parse_time(value)?)),
            _ => {}
        }
    }
    Ok(facts)
}
