//! Representations: what a resource looks like from outside.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::caller::Caller;
use super::content::add_server_facts;
use super::error::ScimError;
use super::members::type_of;
use super::query::{Precondition, Wanted};
use super::respond::{Answered, date_time, not_modified, tag};
use super::schema::ResourceKind;
use super::state::{GroupState, UserState, read_document, read_state};
use super::{Scim, kind_of, store_failure};
use crate::domain::{Number, Revision};
use crate::http::{Request, Response, StatusCode};
use crate::store::{Above, Kind, Record};

impl Scim {
    /// GET /Users/{id} and /Groups/{id}
    pub(super) async fn read(
        &self,
        caller: &Caller,
        kind: ResourceKind,
        request: &Request,
    ) -> Result<Response, ScimError> {
        let wanted = Wanted::read(&request.query_pairs())?;
        let precondition = Precondition::read(request)?;
        let record = self.living(caller.wall(), kind_of(kind), request.parameter("id")).await?;
        if precondition.is_unmodified(record.version) {
            return Ok(not_modified(record.version));
        }
        let answered = match kind {
            ResourceKind::User => self.answered_user(caller, &record, &wanted, None).await?,
            ResourceKind::Group => self.answered_group(caller, &record, &wanted, None).await?,
        };
        Ok(answered.with_body(StatusCode::OK))
    }

    /// A person as this caller sees it.
    pub(super) async fn answered_user(
        &self,
        caller: &Caller,
        record: &Record,
        wanted: &Wanted,
        revision: Option<Revision>,
    ) -> Result<Answered, ScimError> {
        let shown = self.shown_user(caller.connection(), record, wanted).await?;
        let location = self.location(ResourceKind::User, &record.id);
        Ok(Answered { shown, version: record.version, location, revision })
    }

    /// A person who was just created or linked anew, and who is in no group therefore.
    pub(super) fn answered_new_user(
        &self,
        caller: &Caller,
        record: &Record,
        wanted: &Wanted,
        revision: Revision,
    ) -> Result<Answered, ScimError> {
        let shown = self.shown_person(caller.connection(), record, Vec::new(), wanted)?;
        let location = self.location(ResourceKind::User, &record.id);
        Ok(Answered { shown, version: record.version, location, revision: Some(revision) })
    }

    /// A group as this caller sees it.
    pub(super) async fn answered_group(
        &self,
        caller: &Caller,
        record: &Record,
        wanted: &Wanted,
        revision: Option<Revision>,
    ) -> Result<Answered, ScimError> {
        let shown = self.shown_group(caller.connection(), record, wanted).await?;
        let location = self.location(ResourceKind::Group, &record.id);
        Ok(Answered { shown, version: record.version, location, revision })
    }

    /// The wanted part of a person, with the `externalId` of this viewer and the groups above.
    pub(super) async fn shown_user(
        &self,
        viewer: &str,
        record: &Record,
        wanted: &Wanted,
    ) -> Result<Map<String, Value>, ScimError> {
        Ok(self.shown_users(viewer, &[record], wanted).await?.pop().unwrap_or_default())
    }

    /// The wanted part of each of these people, in their order. The groups of all are read at once.
    pub(super) async fn shown_users(
        &self,
        viewer: &str,
        records: &[&Record],
        wanted: &Wanted,
    ) -> Result<Vec<Map<String, Value>>, ScimError> {
        let definition = self.schemas.definition(ResourceKind::User);
        let mut groups = if wanted.includes(definition, "groups") {
            self.group_elements(records.iter().map(|record| record.number).collect()).await?
        } else {
            BTreeMap::new()
        };
        let shown = records
            .iter()
            .map(|record| self.shown_person(viewer, record, groups.remove(&record.number).unwrap_or_default(), wanted));
        shown.collect()
    }

    /// The wanted part of a person who is in these groups.
    fn shown_person(
        &self,
        viewer: &str,
        record: &Record,
        groups: Vec<Value>,
        wanted: &Wanted,
    ) -> Result<Map<String, Value>, ScimError> {
        let state: UserState = read_state(record)?;
        let mut document = read_document(record)?;
        add_server_facts(&mut document, &state);
        if !groups.is_empty() {
            document.insert("groups".to_owned(), Value::Array(groups));
        }
        Ok(self.shown(ResourceKind::User, viewer, record, &state.external, document, wanted))
    }

    /// The elements of `groups` of each of these people who is in any, by two reads however many they are.
    async fn group_elements(&self, members: Vec<Number>) -> Result<BTreeMap<Number, Vec<Value>>, ScimError> {
        let mut elements: BTreeMap<Number, Vec<Value>> = BTreeMap::new();
        if members.is_empty() {
            return Ok(elements);
        }
        let above = self.store.groups_above(members).await.map_err(store_failure)?;
        let numbers: BTreeSet<Number> = above.iter().map(|above| above.group).collect();
        let groups = self.store.records(numbers.into_iter().collect()).await.map_err(store_failure)?;
        let groups: BTreeMap<Number, &Record> = groups.iter().map(|group| (group.number, group)).collect();
        for Above { member, group, direct } in above {
            // One that has just gone is left out.
            let Some(group) = groups.get(&group) else { continue };
            elements.entry(member).or_default().push(self.group_element(group, direct));
        }
        Ok(elements)
    }

    /// The wanted part of a group, with its members.
    pub(super) async fn shown_group(
        &self,
        viewer: &str,
        record: &Record,
        wanted: &Wanted,
    ) -> Result<Map<String, Value>, ScimError> {
        let state: GroupState = read_state(record)?;
        let definition = self.schemas.definition(ResourceKind::Group);
        let mut document = read_document(record)?;
        if wanted.includes(definition, "members") {
            let members = self.members_of(record.number).await?;
            let members: Vec<Value> = members
                .iter()
                .map(|(_, member)| {
                    let kind = if member.kind == Kind::Group { ResourceKind::Group } else { ResourceKind::User };
                    json!({"value": member.id, "$ref": self.location(kind, &member.id), "type": type_of(member.kind)})
                })
                .collect();
            if !members.is_empty() {
                document.insert("members".to_owned(), Value::Array(members));
            }
        }
        Ok(self.shown(ResourceKind::Group, viewer, record, &state.external, document, wanted))
    }

    fn group_element(&self, group: &Record, direct: bool) -> Value {
        let name = read_document(group).ok().and_then(|document| document.get("displayName").cloned());
        json!({
            "value": group.id,
            "$ref": self.location(ResourceKind::Group, &group.id),
            "display": name.unwrap_or_default(),
            "type": if direct { "direct" } else { "indirect" },
        })
    }

    fn shown(
        &self,
        kind: ResourceKind,
        viewer: &str,
        record: &Record,
        external: &BTreeMap<String, String>,
        document: Map<String, Value>,
        wanted: &Wanted,
    ) -> Map<String, Value> {
        let definition = self.schemas.definition(kind);
        let mut full = Map::with_capacity(document.len() + 4);
        full.insert("id".to_owned(), Value::from(record.id.as_str()));
        if let Some(id) = external.get(viewer) {
            full.insert("externalId".to_owned(), Value::from(id.as_str()));
        }
        full.extend(document);
        let meta = json!({
            "resourceType": kind.name(),
            "created": date_time(record.created),
            "lastModified": date_time(record.modified),
            "location": self.location(kind, &record.id),
            "version": tag(record.version),
        });
        full.insert("meta".to_owned(), meta);
        let full = definition.with_schemas(full);
        definition.project(&full, wanted.attributes.as_deref(), wanted.excluded.as_deref())
    }
}
