//! Representations: what a resource looks like from outside.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::caller::Caller;
use super::content::{Draft, Person, add_server_facts};
use super::error::ScimError;
use super::members::Streamed;
use super::query::{Precondition, Wanted};
use super::respond::{Answered, date_time, not_modified, tag};
use super::schema::ResourceKind;
use super::state::{GroupState, UserState, read_document, read_state};
use super::{Scim, Written, kind_of, store_failure};
use crate::domain::{Number, Revision, Timestamp};
use crate::http::{Request, Response, StatusCode};
use crate::store::{Above, Record, StoreError};

/// What `id` and `meta` tell of a resource.
#[derive(Clone, Copy, Debug)]
struct Meta<'a> {
    id: &'a str,
    version: u64,
    created: Timestamp,
    modified: Timestamp,
}

impl<'a> From<&'a Record> for Meta<'a> {
    fn from(record: &'a Record) -> Self {
        let Record { id, version, created, modified, .. } = record;
        Self { id, version: *version, created: *created, modified: *modified }
    }
}

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
            ResourceKind::User => self.answered_user(caller, &record, &wanted).await?,
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
    ) -> Result<Answered, ScimError> {
        let shown = self.shown_user(caller.connection(), record, wanted).await?;
        let location = self.location(ResourceKind::User, &record.id);
        Ok(Answered { shown, version: record.version, location, revision: None, streamed: None })
    }

    /// A person who was just created or linked anew, and who is in no group therefore.
    pub(super) fn answered_new_user(&self, caller: &Caller, written: Written<Person>, wanted: &Wanted) -> Answered {
        self.answered_person(caller, written, Vec::new(), wanted)
    }

    /// A person who was just changed.
    pub(super) async fn answered_written_user(
        &self,
        caller: &Caller,
        written: Written<Person>,
        wanted: &Wanted,
    ) -> Result<Answered, ScimError> {
        let number = written.resource.number;
        let groups = if wanted.includes(self.schemas.definition(ResourceKind::User), "groups") {
            match self.group_elements(&[number], usize::MAX).await {
                Ok((_, mut groups)) => groups.remove(&number).unwrap_or_default(),
                // The write is done, and nobody is to believe otherwise: its answer leaves out what is too much.
                Err(error) if error.scim_type == Some("tooMany") => Vec::new(),
                Err(error) => return Err(error),
            }
        } else {
            Vec::new()
        };
        Ok(self.answered_person(caller, written, groups, wanted))
    }

    fn answered_person(
        &self,
        caller: &Caller,
        written: Written<Person>,
        groups: Vec<Value>,
        wanted: &Wanted,
    ) -> Answered {
        let Written { resource: person, revision } = written;
        let Person { ref id, version, created, modified, .. } = person;
        let meta = Meta { id, version, created, modified };
        let Draft { document, state, .. } = person.draft;
        let shown = self.shown_facts(caller.connection(), meta, document, &state, groups, wanted);
        let location = self.location(ResourceKind::User, id);
        Answered { shown, version, location, revision: Some(revision), streamed: None }
    }

    /// A group as this caller sees it.
    pub(super) async fn answered_group(
        &self,
        caller: &Caller,
        record: &Record,
        wanted: &Wanted,
        revision: Option<Revision>,
    ) -> Result<Answered, ScimError> {
        let (shown, streamed) = match self.shown_group(caller.connection(), record, wanted, self.most_members).await? {
            Some(shown) => (shown, None),
            None => self.streamed_group(caller.connection(), record, wanted)?,
        };
        let location = self.location(ResourceKind::Group, &record.id);
        Ok(Answered { shown, version: record.version, location, revision, streamed })
    }

    /// The wanted part of a person, with the `externalId` of this viewer and the groups above.
    pub(super) async fn shown_user(
        &self,
        viewer: &str,
        record: &Record,
        wanted: &Wanted,
    ) -> Result<Map<String, Value>, ScimError> {
        Ok(self.shown_users(viewer, &[record], wanted, usize::MAX).await?.pop().unwrap_or_default())
    }

    /// The wanted part of each of these people, in their order: of as many as are together in at most so many groups, and
    /// of the first in any case. The groups of all are read at once.
    ///
    /// # Errors
    /// 400 `tooMany` for somebody in more groups than the store reads at once; 503 and 500 from the store.
    pub(super) async fn shown_users(
        &self,
        viewer: &str,
        records: &[&Record],
        wanted: &Wanted,
        most: usize,
    ) -> Result<Vec<Map<String, Value>>, ScimError> {
        let definition = self.schemas.definition(ResourceKind::User);
        let (people, mut groups) = if wanted.includes(definition, "groups") {
            let numbers: Vec<Number> = records.iter().map(|record| record.number).collect();
            self.group_elements(&numbers, most).await?
        } else {
            (records.len(), BTreeMap::new())
        };
        let shown = records
            .iter()
            .take(people)
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
        let document = read_document(record)?;
        Ok(self.shown_facts(viewer, record.into(), document, &state, groups, wanted))
    }

    /// The same of a person whose record is at hand in parts.
    fn shown_facts(
        &self,
        viewer: &str,
        meta: Meta<'_>,
        mut document: Map<String, Value>,
        state: &UserState,
        groups: Vec<Value>,
        wanted: &Wanted,
    ) -> Map<String, Value> {
        add_server_facts(&mut document, state);
        if !groups.is_empty() {
            document.insert("groups".to_owned(), Value::Array(groups));
        }
        self.shown(ResourceKind::User, viewer, meta, &state.external, document, wanted)
    }

    /// The elements of `groups` of the first so many of these people, by two reads however many they are; of fewer of
    /// them, at least one, where together they are in more groups than wanted.
    async fn group_elements(
        &self,
        numbers: &[Number],
        most: usize,
    ) -> Result<(usize, BTreeMap<Number, Vec<Value>>), ScimError> {
        let mut elements: BTreeMap<Number, Vec<Value>> = BTreeMap::new();
        let mut people = numbers.len();
        if people == 0 {
            return Ok((0, elements));
        }
        let above = loop {
            match self.store.groups_above(numbers.iter().copied().take(people).collect()).await {
                Ok(above) if above.len() <= most || people == 1 => break above,
                Ok(_) => people = people.div_ceil(2),
                Err(StoreError::TooComplex(_)) if people > 1 => people = people.div_ceil(2),
                Err(StoreError::TooComplex(_)) => {
                    let detail = "this person is in too many groups to list them; ask with excludedAttributes=groups";
                    return Err(ScimError::too_many(detail));
                }
                Err(error) => return Err(store_failure(error)),
            }
        };
        let numbers: BTreeSet<Number> = above.iter().map(|above| above.group).collect();
        let groups = self.store.records(numbers.into_iter().collect()).await.map_err(store_failure)?;
        let groups: BTreeMap<Number, &Record> = groups.iter().map(|group| (group.number, group)).collect();
        for Above { member, group, direct } in above {
            // One that has just gone is left out.
            let Some(group) = groups.get(&group) else { continue };
            elements.entry(member).or_default().push(self.group_element(group, direct));
        }
        Ok((people, elements))
    }

    /// The wanted part of a group, with its members; `None` where they are more than `most`.
    pub(super) async fn shown_group(
        &self,
        viewer: &str,
        record: &Record,
        wanted: &Wanted,
        most: usize,
    ) -> Result<Option<Map<String, Value>>, ScimError> {
        let mut shown = self.shown_without_members(viewer, record, wanted)?;
        let Some(elements) = self.member_elements(wanted) else { return Ok(Some(shown)) };
        let Some(members) = self.shown_members(record.number, &elements, most).await? else { return Ok(None) };
        if !members.is_empty() {
            shown.insert("members".to_owned(), Value::Array(members));
        }
        Ok(Some(shown))
    }

    /// The same of a group with very many members, whose place a placeholder holds.
    pub(super) fn streamed_group(
        &self,
        viewer: &str,
        record: &Record,
        wanted: &Wanted,
    ) -> Result<(Map<String, Value>, Option<Streamed>), ScimError> {
        let mut shown = self.shown_without_members(viewer, record, wanted)?;
        let streamed = self.member_elements(wanted).map(|elements| self.streamed_members(record.number, elements));
        if let Some(streamed) = &streamed {
            shown.insert("members".to_owned(), streamed.placeholder());
        }
        Ok((shown, streamed))
    }

    fn shown_without_members(
        &self,
        viewer: &str,
        record: &Record,
        wanted: &Wanted,
    ) -> Result<Map<String, Value>, ScimError> {
        let state: GroupState = read_state(record)?;
        let document = read_document(record)?;
        Ok(self.shown(ResourceKind::Group, viewer, record.into(), &state.external, document, wanted))
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
        meta: Meta<'_>,
        external: &BTreeMap<String, String>,
        document: Map<String, Value>,
        wanted: &Wanted,
    ) -> Map<String, Value> {
        let definition = self.schemas.definition(kind);
        let mut shown = document;
        if let Some(id) = external.get(viewer) {
            shown.shift_insert(0, "externalId".to_owned(), Value::from(id.as_str()));
        }
        shown.shift_insert(0, "id".to_owned(), Value::from(meta.id));
        let (created, modified) = (date_time(meta.created), meta.modified);
        let modified = if modified == meta.created { created.clone() } else { date_time(modified) };
        let meta = [
            ("resourceType", kind.name().to_owned()),
            ("created", created),
            ("lastModified", modified),
            ("location", self.location(kind, meta.id)),
            ("version", tag(meta.version)),
        ];
        let meta = meta.map(|(name, text)| (name.to_owned(), Value::String(text)));
        shown.insert("meta".to_owned(), Value::Object(Map::from_iter(meta)));
        // The schemas are those of what the answer holds (RFC 7643 section 3).
        definition.project(&mut shown, wanted.attributes.as_deref(), wanted.excluded.as_deref());
        definition.with_schemas(shown)
    }
}
