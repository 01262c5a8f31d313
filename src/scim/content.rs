//! Drafts: a document with its state on the way into the store.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::caller::Wall;
use super::error::{ScimError, quote};
use super::image::{
    self, GROUP_EXTENSION, Limits, Mark, MarkReason, USER_EXTENSION, account_ids, group_rights, user_image, user_rights,
};
use super::life;
use super::respond::date_time;
use super::schema::{Resource, ResourceKind};
use super::state::{GroupState, UserState, read_document, read_state, write_text};
use super::{Scim, store_failure};
use crate::domain::{Image, Number, Timestamp};
use crate::store::{Content, IndexEntry, Kind, Lookup, Outcome, Record, UniqueKey};
use crate::token::Password;

/// The most accounts that one document may name.
const MOST_ACCOUNTS: usize = 1_000;

/// A document that is being written, with its private facts.
#[derive(Clone, Debug, Default)]
pub(super) struct Draft<State> {
    /// What clients may write, without `externalId`.
    pub document: Map<String, Value>,
    /// What they may not.
    pub state: State,
    /// What the writer sent and no schema knows.
    pub ignored: Vec<String>,
    /// The password that the writer sent; not yet settled whether it counts.
    pub password: Option<Password>,
    /// The writer says that the person is inactive, whatever was before.
    pub says_inactive: bool,
}

/// A person as the store has one after a write, not yet text.
#[derive(Clone, Debug)]
pub(super) struct Person {
    pub number: Number,
    pub id: String,
    pub version: u64,
    pub created: Timestamp,
    pub modified: Timestamp,
    pub draft: Draft<UserState>,
}

impl Person {
    /// After a step.
    pub fn after(outcome: &Outcome, id: String, draft: Draft<UserState>) -> Self {
        let Outcome { number, version, created, modified, changed: _ } = *outcome;
        Self { number, id, version, created, modified, draft }
    }

    /// Where nothing was to be written.
    pub fn unchanged(record: Record, draft: Draft<UserState>) -> Self {
        let Record { number, id, version, created, modified, .. } = record;
        Self { number, id, version, created, modified, draft }
    }
}

/// States that know `externalId` by connection.
pub(super) trait External {
    /// The map.
    fn external(&mut self) -> &mut BTreeMap<String, String>;
}

impl External for UserState {
    fn external(&mut self) -> &mut BTreeMap<String, String> {
        &mut self.external
    }
}

impl External for GroupState {
    fn external(&mut self) -> &mut BTreeMap<String, String> {
        &mut self.external
    }
}

impl<State: External + serde::de::DeserializeOwned> Draft<State> {
    /// From what is stored.
    pub fn read(record: &Record) -> Result<Self, ScimError> {
        Ok(Self {
            document: read_document(record)?,
            state: read_state(record)?,
            ignored: Vec::new(),
            password: None,
            says_inactive: false,
        })
    }
}

impl<State: External> Draft<State> {
    /// As the schema sees it, with the `externalId` of this writer.
    pub fn resource(&mut self, writer: &str) -> Resource {
        let mut map = self.document.clone();
        if let Some(id) = self.state.external().get(writer) {
            map.insert("externalId".to_owned(), Value::from(id.as_str()));
        }
        Resource::from_stored(map)
    }

    /// Takes over what a writer wants it to be.
    pub fn set(&mut self, resource: Resource, writer: &str) {
        let Resource { mut map, ignored, password, .. } = resource;
        self.ignored = ignored;
        self.password = password;
        match map.shift_remove("externalId") {
            Some(Value::String(id)) => {
                self.state.external().insert(writer.to_owned(), id);
            }
            Some(_) | None => {
                self.state.external().remove(writer);
            }
        }
        for derived in ["schemas", "id", "meta"] {
            map.shift_remove(derived);
        }
        self.document = map;
    }

    /// What the writer sent in vain: rights, and what no schema knows.
    fn marks(&self, mut rights: Vec<Mark>) -> Vec<Mark> {
        rights.extend(self.ignored.iter().map(|name| Mark::new(name, "", MarkReason::UnknownAttribute)));
        rights
    }

    /// Text of the document.
    pub fn text(&self, name: &str) -> &str {
        self.document.get(name).and_then(Value::as_str).unwrap_or_default()
    }
}

impl Scim {
    /// Everything that the store keeps of a person; the draft's state takes note of what is granted.
    pub(super) async fn user_content(
        &self,
        wall: &Wall,
        limits: &Limits,
        id: &str,
        draft: &mut Draft<UserState>,
        deleted: bool,
    ) -> Result<(Content, Vec<Mark>), ScimError> {
        let accounts = self.accounts(wall, account_ids(&draft.document, USER_EXTENSION)).await?;
        let mut rights = user_rights(&draft.document, limits, &draft.state.claims, &accounts);
        refuse_marks(limits, &rights.marked)?;
        let marked = draft.marks(std::mem::take(&mut rights.marked));
        wall.journal.mark(&marked);
        draft.state.claims = std::mem::take(&mut rights.claims);
        let state = &draft.state;
        let image = user_image(id, wall.number, &draft.document, state, rights, deleted);
        let mut unique = life::user_keys(&draft.document, state, deleted);
        if !deleted {
            unique.extend(self.declared_keys(ResourceKind::User, wall, &draft.document));
        }
        let mut facts = Map::new();
        add_server_facts(&mut facts, state);
        let index = || self.index(ResourceKind::User, &[&draft.document, &facts], &state.external);
        let content = Content {
            document: write_text(&draft.document)?,
            state: write_text(state)?,
            index: if deleted { Vec::new() } else { index() },
            unique,
            image: Some(Image::User(image)),
            deleted,
        };
        Ok((content, marked))
    }

    /// Everything that the store keeps of a group beside its members.
    pub(super) async fn group_content(
        &self,
        wall: &Wall,
        limits: &Limits,
        id: &str,
        draft: &mut Draft<GroupState>,
    ) -> Result<(Content, Vec<Mark>), ScimError> {
        let accounts = self.accounts(wall, account_ids(&draft.document, GROUP_EXTENSION)).await?;
        let mut rights = group_rights(&draft.document, limits, &draft.state.claims, &accounts);
        refuse_marks(limits, &rights.marked)?;
        let marked = draft.marks(std::mem::take(&mut rights.marked));
        wall.journal.mark(&marked);
        draft.state.claims = std::mem::take(&mut rights.claims);
        let mut unique = life::group_keys(&wall.id, &draft.document, &draft.state);
        unique.extend(self.declared_keys(ResourceKind::Group, wall, &draft.document));
        let image = image::group_image(id, wall.number, &draft.document, rights);
        let content = Content {
            document: write_text(&draft.document)?,
            state: write_text(&draft.state)?,
            index: self.index(ResourceKind::Group, &[&draft.document], &draft.state.external),
            unique,
            image: Some(Image::Group(image)),
            deleted: false,
        };
        Ok((content, marked))
    }

    /// The numbers of those accounts that this organization has.
    pub(super) async fn accounts(&self, wall: &Wall, ids: Vec<String>) -> Result<BTreeMap<String, Number>, ScimError> {
        if ids.is_empty() {
            return Ok(BTreeMap::new());
        }
        if ids.len() > MOST_ACCOUNTS {
            return Err(ScimError::invalid_value(format!("at most {MOST_ACCOUNTS} accounts can be given at once")));
        }
        let wanted = ids.into_iter().map(|id| Lookup::Id(Kind::Account, id)).collect();
        let found = self.store.find(wanted).await.map_err(store_failure)?.into_iter().flatten();
        let own = found.filter(|record| !record.deleted && record.organization == wall.id);
        Ok(own.map(|record| (record.id, record.number)).collect())
    }

    /// The values that the schemas declare unique; within the organization, so that nobody learns of another's.
    fn declared_keys(&self, kind: ResourceKind, wall: &Wall, document: &Map<String, Value>) -> Vec<UniqueKey> {
        let values = self.schemas.definition(kind).unique(document).into_iter();
        values.map(|(path, value)| life::attribute_key(&path, &wall.id, value)).collect()
    }

    /// What a resource is found by, whose document stands here in parts.
    fn index(
        &self,
        kind: ResourceKind,
        documents: &[&Map<String, Value>],
        external: &BTreeMap<String, String>,
    ) -> Vec<IndexEntry> {
        let definition = self.schemas.definition(kind);
        let mut entries = Vec::new();
        for document in documents {
            entries.append(&mut definition.index(document));
        }
        entries.extend(external.iter().map(|(connection, id)| IndexEntry {
            path: external_path(connection),
            element: 0,
            value: id.clone(),
        }));
        entries
    }
}

/// The index path of `externalId`, which each connection has its own of.
pub(super) fn external_path(connection: &str) -> String {
    format!("externalid:{connection}")
}

/// What the server itself says of a person, in our extension.
pub(super) fn add_server_facts(document: &mut Map<String, Value>, state: &UserState) {
    let own = document.entry(USER_EXTENSION).or_insert_with(|| Value::Object(Map::new()));
    let Some(own) = own.as_object_mut() else { return };
    own.insert("username".to_owned(), Value::from(state.username.as_str()));
    if state.locked {
        own.insert("locked".to_owned(), Value::Bool(true));
    }
    if let Some(at) = state.password_changed_at {
        own.insert("passwordChangedAt".to_owned(), Value::from(date_time(at)));
    }
}

fn refuse_marks(limits: &Limits, marked: &[Mark]) -> Result<(), ScimError> {
    if !limits.strict || marked.is_empty() {
        return Ok(());
    }
    let unknown = |mark: &Mark| format!("{} {} is not known in this organization", mark.attribute, quote(&mark.value));
    let shown: Vec<String> = marked.iter().take(5).map(unknown).collect();
    Err(ScimError::invalid_value(format!("{}; correct it, or make it first", shown.join(", "))))
}

/// One line for the log; the values may be personal and stay out of it.
pub(super) fn log_marks(writer: &str, id: &str, marked: &[Mark]) {
    if !marked.is_empty() {
        let attributes: BTreeSet<&str> = marked.iter().map(|mark| mark.attribute.as_str()).collect();
        tracing::warn!(
            writer,
            resource = id,
            marks = marked.len(),
            ?attributes,
            "something was sent that grants nothing"
        );
    }
}
