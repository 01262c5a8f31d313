//! The resources and memberships of the reference, and what each step does to them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::domain::{Change, Image, MemberChange, Number, Timestamp};
use crate::store::events::MOST_FORGOTTEN;
use crate::store::{
    CREATED, Content, Event, EventQuery, IndexEntry, Kind, LoggedEvent, Outcome, Projection, Record, Retention, Step,
    StoreError, UniqueKey,
};

/// Cheap to clone, so that a transaction can be given up.
#[derive(Clone, Default)]
pub(super) struct State {
    entries: BTreeMap<Number, Arc<Entry>>,
    /// Group and member.
    memberships: BTreeSet<(Number, Number)>,
    /// The highest number ever given.
    last: Number,
    /// The provisioning log, oldest first, and the highest number ever given there.
    events: Vec<Arc<LoggedEvent>>,
    last_event: u64,
    notes: BTreeMap<String, String>,
}

/// A resource with what is kept beside it.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) record: Record,
    pub(super) index: BTreeSet<IndexEntry>,
    unique: Vec<UniqueKey>,
    image: Option<Image>,
}

impl State {
    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values().map(Arc::as_ref)
    }

    pub(super) fn find(&self, wanted: impl Fn(&Record) -> bool) -> Option<Record> {
        self.entries().map(|entry| &entry.record).find(|record| wanted(record)).cloned()
    }

    pub(super) fn holder(&self, key: &UniqueKey) -> Option<Record> {
        self.entries().find(|entry| entry.unique.contains(key)).map(|entry| entry.record.clone())
    }

    pub(super) fn record(&self, number: Number) -> Option<Record> {
        self.entries.get(&number).map(|entry| entry.record.clone())
    }

    pub(super) fn is_member(&self, group: Number, member: Number) -> bool {
        self.memberships.contains(&(group, member))
    }

    pub(super) fn members_of(&self, group: Number) -> impl Iterator<Item = Number> {
        self.memberships.iter().filter(move |pair| pair.0 == group).map(|pair| pair.1)
    }

    pub(super) fn groups_of(&self, member: Number) -> impl Iterator<Item = Number> {
        self.memberships.iter().filter(move |pair| pair.1 == member).map(|pair| pair.0)
    }

    pub(super) fn project(&self, into: &dyn Projection) {
        let mut stretch = into.stretch();
        for entry in self.entries() {
            if let Some(image) = &entry.image {
                let groups: Vec<Number> = self.groups_of(entry.record.number).collect();
                stretch.resource(entry.record.number, image.clone(), &groups);
            }
        }
        stretch.end();
    }

    /// Does one step, or says why not; the caller then throws this state away.
    pub(super) fn step(
        &mut self,
        step: &Step,
        at: Timestamp,
        changes: &mut Vec<Change>,
    ) -> Result<Outcome, StoreError> {
        match step {
            Step::Create { kind, id, organization, content } => {
                self.create(*kind, id, organization, content, at, changes)
            }
            Step::Replace { number, expected, content } => {
                let mut record = self.present(*number, *expected)?;
                record.version += 1;
                record.modified = at;
                self.put(record, content, at, changes)
            }
            Step::Members { group, expected, add, remove } => {
                // The limits saw a create before; the newest number is its.
                let group = if *group == CREATED { self.last } else { *group };
                let record = self.present(group, *expected)?;
                self.members(&record, add, remove, at, changes)
            }
            Step::Remove { number, expected } => {
                let record = self.present(*number, *expected)?;
                Ok(self.remove(&record, at, changes))
            }
            Step::Event(event) => {
                self.append(event);
                Ok(Outcome::of_note(at))
            }
            Step::Note { key, value } => {
                match value {
                    Some(value) => self.notes.insert(key.clone(), value.clone()),
                    None => self.notes.remove(key),
                };
                Ok(Outcome::of_note(at))
            }
            Step::ForgetEvents(retention) => {
                self.forget(retention);
                Ok(Outcome::of_note(at))
            }
        }
    }

    pub(super) fn events(&self, query: &EventQuery) -> Vec<LoggedEvent> {
        let limit = usize::try_from(query.limit).unwrap_or(usize::MAX);
        let newest_first = self.events.iter().rev().map(Arc::as_ref);
        newest_first.filter(|logged| query.admits(logged)).take(limit).cloned().collect()
    }

    pub(super) fn notes(&self, prefix: &str) -> Vec<(String, String)> {
        let found = self.notes.iter().filter(|(key, _)| key.starts_with(prefix));
        found.map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    fn append(&mut self, event: &Event) {
        self.last_event += 1;
        self.events.push(Arc::new(LoggedEvent { number: self.last_event, event: event.clone() }));
    }

    /// First what is too old, then what is too much; the oldest first.
    fn forget(&mut self, retention: &Retention) {
        let old = self.events.iter().take_while(|logged| logged.event.at < retention.before).count();
        self.events.drain(..old.min(MOST_FORGOTTEN as usize));
        let counted = |logged: &Arc<LoggedEvent>| logged.event.connection == retention.connection;
        let held = self.events.iter().filter(|logged| counted(logged)).count() as u64;
        let mut excess = held.saturating_sub(retention.keep).min(MOST_FORGOTTEN.into());
        self.events.retain(|logged| {
            let gone = excess > 0 && counted(logged);
            excess -= u64::from(gone);
            !gone
        });
    }

    fn create(
        &mut self,
        kind: Kind,
        id: &str,
        organization: &str,
        content: &Content,
        at: Timestamp,
        changes: &mut Vec<Change>,
    ) -> Result<Outcome, StoreError> {
        if self.find(|record| record.kind == kind && record.id == id).is_some() {
            return Err(StoreError::Exists { kind, id: id.to_owned() });
        }
        self.last =
            self.last.checked_add(1).ok_or_else(|| StoreError::Unavailable("no resource number is left".to_owned()))?;
        let record = Record {
            number: self.last,
            kind,
            id: id.to_owned(),
            organization: organization.to_owned(),
            version: 1,
            document: String::new(),
            state: String::new(),
            deleted: false,
            created: at,
            modified: at,
        };
        self.put(record, content, at, changes)
    }

    /// Gives a resource its content.
    fn put(
        &mut self,
        mut record: Record,
        content: &Content,
        at: Timestamp,
        changes: &mut Vec<Change>,
    ) -> Result<Outcome, StoreError> {
        let number = record.number;
        for key in &content.unique {
            if self.holder(key).is_some_and(|holder| holder.number != number) {
                return Err(StoreError::Taken(key.clone()));
            }
        }
        let had_image = self.entries.get(&number).is_some_and(|entry| entry.image.is_some());
        match &content.image {
            Some(image) => changes.push(Change { number, image: image.clone() }),
            None if had_image => self.depart(number, at, changes),
            None => {}
        }
        if content.deleted {
            self.end_memberships(number, at, changes);
        }
        record.document.clone_from(&content.document);
        record.state.clone_from(&content.state);
        record.deleted = content.deleted;
        let outcome = outcome(&record);
        let entry = Entry {
            record,
            index: content.index.iter().cloned().collect(),
            unique: content.unique.clone(),
            image: content.image.clone(),
        };
        self.entries.insert(number, Arc::new(entry));
        Ok(outcome)
    }

    fn members(
        &mut self,
        group: &Record,
        add: &[Number],
        remove: &[Number],
        at: Timestamp,
        changes: &mut Vec<Change>,
    ) -> Result<Outcome, StoreError> {
        if group.kind != Kind::Group {
            return Err(StoreError::NotFound(group.number));
        }
        let joining: BTreeSet<Number> = add.iter().copied().collect();
        let lives = |member: &Number| self.entries.get(member).is_some_and(|entry| !entry.record.deleted);
        let both = joining.first().map(|_| &group.number).into_iter().chain(&joining);
        if let Some(&gone) = both.into_iter().find(|number| !lives(number)) {
            return Err(StoreError::NotFound(gone));
        }
        let before: BTreeSet<Number> = self.members_of(group.number).collect();
        let mut after = before.clone();
        after.retain(|member| !remove.contains(member));
        after.extend(joining);
        if before == after {
            return Ok(Outcome { changed: false, ..outcome(group) });
        }
        let added: Vec<Number> = after.difference(&before).copied().collect();
        let removed: Vec<Number> = before.difference(&after).copied().collect();
        self.memberships.retain(|pair| pair.0 != group.number);
        self.memberships.extend(after.into_iter().map(|member| (group.number, member)));
        changes.push(Change { number: group.number, image: Image::Members(MemberChange { added, removed }) });
        Ok(self.touch(group.number, at).unwrap_or_else(|| outcome(group)))
    }

    fn remove(&mut self, record: &Record, at: Timestamp, changes: &mut Vec<Change>) -> Outcome {
        let number = record.number;
        let had_image = self.entries.remove(&number).is_some_and(|entry| entry.image.is_some());
        if had_image || self.memberships.iter().any(|pair| pair.0 == number || pair.1 == number) {
            self.depart(number, at, changes);
        }
        Outcome { modified: at, ..outcome(record) }
    }

    /// The resource means nothing to decisions any more: its memberships end and the log says so.
    fn depart(&mut self, number: Number, at: Timestamp, changes: &mut Vec<Change>) {
        let parents: Vec<Number> = self.groups_of(number).filter(|&group| group != number).collect();
        self.memberships.retain(|pair| pair.0 != number && pair.1 != number);
        for group in parents {
            self.touch(group, at);
        }
        changes.push(Change { number, image: Image::Gone });
    }

    /// Whoever is deleted leaves every group, and loses its members.
    fn end_memberships(&mut self, number: Number, at: Timestamp, changes: &mut Vec<Change>) {
        let members: Vec<Number> = self.members_of(number).collect();
        let parents: Vec<Number> = self.groups_of(number).filter(|&group| group != number).collect();
        self.memberships.retain(|pair| pair.0 != number && pair.1 != number);
        let lost = |group, removed| Change {
            number: group,
            image: Image::Members(MemberChange { added: Vec::new(), removed }),
        };
        if !members.is_empty() {
            changes.push(lost(number, members));
        }
        for group in parents {
            self.touch(group, at);
            changes.push(lost(group, vec![number]));
        }
    }

    /// A new version of a group whose members changed.
    fn touch(&mut self, group: Number, at: Timestamp) -> Option<Outcome> {
        let entry = Arc::make_mut(self.entries.get_mut(&group)?);
        entry.record.version += 1;
        entry.record.modified = at;
        Some(outcome(&entry.record))
    }

    fn present(&self, number: Number, expected: Option<u64>) -> Result<Record, StoreError> {
        let record = self.record(number).ok_or(StoreError::NotFound(number))?;
        match expected {
            Some(version) if version != record.version => Err(StoreError::VersionMismatch { current: record.version }),
            Some(_) | None => Ok(record),
        }
    }
}

fn outcome(record: &Record) -> Outcome {
    let Record { number, version, created, modified, .. } = *record;
    Outcome { number, version, created, modified, changed: true }
}
