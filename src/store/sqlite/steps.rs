//! One transaction's steps in SQL, within the savepoint that the writer opened for it.

mod found;

use std::collections::{BTreeSet, HashMap};

use rusqlite::Error::FromSqlConversionFailure;
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, params};

use self::found::{each_once, held};
use super::faults::Fault;
use super::head::{Ledger, place, signed, unsigned};
use super::reads::kind;
use super::recent::Claims;
use super::{events, images};
use crate::domain::{Change, Image, MemberChange, Number, Revision, Timestamp};
use crate::store::{CREATED, Committed, Content, Kind, Outcome, Step, StoreError, Transaction, UniqueKey};

/// What the writer knows beside the file, also of transactions that are not committed yet.
pub(super) struct Known {
    /// The numbers of index paths.
    paths: HashMap<String, i64>,
    pub(super) claims: Claims,
}

impl Known {
    pub(super) fn new(claims: Claims) -> Self {
        Self { paths: HashMap::new(), claims }
    }

    /// What was done beyond this state of the ledger is rolled back.
    pub(super) fn return_to(&mut self, ledger: &Ledger) {
        self.paths.clear();
        self.claims.take_back(ledger.next_number);
    }
}

/// What a transaction came to, before the commit.
pub(super) enum Ran {
    /// It takes this revision, and wrote resources of these kinds.
    New { committed: Committed, changes: Vec<Change>, written: BTreeSet<Kind> },
    /// It happened before.
    Repeated(Committed),
    /// It wrote into the provisioning log alone and takes no revision.
    Noted(Committed),
}

/// Runs a whole transaction and moves the ledger on by one revision.
pub(super) fn run(
    connection: &Connection,
    known: &mut Known,
    ledger: &mut Ledger,
    transaction: &Transaction,
) -> Result<Ran, Fault> {
    if let Some(committed) = repeated(connection, &transaction.operation)? {
        return Ok(Ran::Repeated(committed));
    }
    let noted = transaction.only_notes();
    let mut scribe = Scribe {
        connection,
        known,
        ledger: &mut *ledger,
        at: transaction.at,
        changes: Vec::new(),
        written: BTreeSet::new(),
    };
    let outcomes = transaction.steps.iter().map(|step| scribe.step(step)).collect::<Result<Vec<Outcome>, Fault>>()?;
    let Scribe { changes, written, .. } = scribe;
    if noted {
        return Ok(Ran::Noted(Committed { revision: ledger.revision, outcomes }));
    }

    let body = serde_json::to_string(&changes).map_err(unwritable)?;
    ledger.advance(transaction.at, &body);
    let revision = ledger.revision;
    connection
        .prepare_cached(
            "INSERT INTO change_log (place, operation, at, body, outcomes, hash) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![
            place(revision),
            transaction.operation,
            transaction.at.0,
            body,
            encode(&outcomes)?,
            ledger.hash
        ])?;
    Ok(Ran::New { committed: Committed { revision, outcomes }, changes, written })
}

/// What the same operation came to before.
fn repeated(connection: &Connection, operation: &str) -> Result<Option<Committed>, Fault> {
    let row: Option<(u32, u64, String)> = connection
        .prepare_cached("SELECT epoch, number, outcomes FROM change_log WHERE operation = ?1")?
        .query_one([operation], |row| Ok((row.get(0)?, unsigned(row, 1)?, row.get(2)?)))
        .optional()?;
    row.map(|(epoch, number, outcomes)| {
        Ok(Committed { revision: Revision { epoch, number }, outcomes: decode(&outcomes)? })
    })
    .transpose()
}

struct Scribe<'a> {
    connection: &'a Connection,
    known: &'a mut Known,
    ledger: &'a mut Ledger,
    at: Timestamp,
    changes: Vec<Change>,
    written: BTreeSet<Kind>,
}

/// What a step must know of a resource before it writes.
struct Present {
    kind: Kind,
    version: u64,
    deleted: bool,
    created: Timestamp,
    modified: Timestamp,
    held: Vec<UniqueKey>,
    organization: String,
}

impl Scribe<'_> {
    fn step(&mut self, step: &Step) -> Result<Outcome, Fault> {
        match step {
            Step::Create { kind, id, organization, content } => self.create(*kind, id, organization, content),
            Step::Replace { number, expected, content } => self.replace(*number, *expected, content),
            Step::Members { group, expected, add, remove } => {
                // The limits saw a create before; the newest number is its.
                let group = if *group == CREATED { self.ledger.next_number.saturating_sub(1) } else { *group };
                self.members(group, *expected, add, remove)
            }
            Step::Remove { number, expected } => self.remove(*number, *expected),
            Step::Event(event) => {
                events::append(self.connection, self.ledger, event).map(|()| Outcome::of_note(self.at))
            }
            Step::Note { key, value } => {
                events::note(self.connection, key, value.as_deref()).map(|()| Outcome::of_note(self.at))
            }
            Step::ForgetEvents(retention) => {
                events::forget(self.connection, self.ledger, retention).map(|()| Outcome::of_note(self.at))
            }
        }
    }

    fn create(&mut self, kind: Kind, id: &str, organization: &str, content: &Content) -> Result<Outcome, Fault> {
        let number = self.ledger.next_number;
        let next = number.checked_add(1).ok_or_else(|| StoreError::Unavailable("no resource number is left".into()))?;
        let inserted = self
            .connection
            .prepare_cached(
                "INSERT INTO resource
                     (number, kind, id, organization, version, deleted, created, modified, document, state, held)
                 VALUES (?1, ?2, ?3, ?4, 1, ?5, ?6, ?6, ?7, ?8, ?9)
                 ON CONFLICT (kind, id) DO NOTHING",
            )?
            .execute(params![
                number,
                kind.name(),
                id,
                organization,
                content.deleted,
                self.at.0,
                content.document,
                content.state,
                held(&content.unique)?
            ])?;
        if inserted == 0 {
            return Err(StoreError::Exists { kind, id: id.to_owned() }.into());
        }
        self.ledger.next_number = next;
        self.written.insert(kind);
        for key in each_once(&content.unique) {
            self.claim(number, key)?;
        }
        for entry in &content.index {
            self.index(number, entry)?;
        }
        self.image(number, content.image.as_ref())?;
        Ok(Outcome { number, version: 1, created: self.at, modified: self.at, changed: true })
    }

    fn replace(&mut self, number: Number, expected: Option<u64>, content: &Content) -> Result<Outcome, Fault> {
        let present = self.present(number, expected)?;
        self.settle(number)?;
        let version = present.version + 1;
        self.connection
            .prepare_cached(
                "UPDATE resource SET version = ?2, deleted = ?3, modified = ?4, document = ?5, state = ?6, held = ?7
                 WHERE number = ?1",
            )?
            .execute(params![
                number,
                signed(version),
                content.deleted,
                self.at.0,
                content.document,
                content.state,
                held(&content.unique)?
            ])?;
        let (before, after) = (each_once(&present.held), each_once(&content.unique));
        for key in before.iter().filter(|key| !after.contains(key)) {
            self.release(number, key)?;
        }
        for key in after.into_iter().filter(|key| !before.contains(key)) {
            self.claim(number, key)?;
        }
        self.reindex(number, &content.index)?;
        if present.deleted != content.deleted {
            self.tally(&present, !content.deleted)?;
        }
        self.image(number, content.image.as_ref())?;
        if content.deleted {
            self.end_memberships(number)?;
        }
        Ok(Outcome { number, version, created: present.created, modified: self.at, changed: true })
    }

    fn members(
        &mut self,
        group: Number,
        expected: Option<u64>,
        add: &[Number],
        remove: &[Number],
    ) -> Result<Outcome, Fault> {
        let present = self.present(group, expected)?;
        if present.kind != Kind::Group {
            return Err(StoreError::NotFound(group).into());
        }
        let joining: BTreeSet<Number> = add.iter().copied().collect();
        if !joining.is_empty() && present.deleted {
            return Err(StoreError::NotFound(group).into());
        }
        let leaving: BTreeSet<Number> = remove.iter().copied().collect();
        let mut change = MemberChange::default();
        for &member in leaving.difference(&joining) {
            let gone = self
                .connection
                .prepare_cached("DELETE FROM membership WHERE group_number = ?1 AND member_number = ?2")?
                .execute([group, member])?;
            if gone > 0 {
                change.removed.push(member);
            }
        }
        for &member in &joining {
            if !self.lives(member)? {
                return Err(StoreError::NotFound(member).into());
            }
            let new = self
                .connection
                .prepare_cached(
                    "INSERT INTO membership (group_number, member_number) VALUES (?1, ?2)
                     ON CONFLICT (group_number, member_number) DO NOTHING",
                )?
                .execute([group, member])?;
            if new > 0 {
                change.added.push(member);
            }
        }
        if change == MemberChange::default() {
            let Present { version, created, modified, .. } = present;
            return Ok(Outcome { number: group, version, created, modified, changed: false });
        }
        self.changes.push(Change { number: group, image: Image::Members(change) });
        self.touch(group)?;
        Ok(Outcome {
            number: group,
            version: present.version + 1,
            created: present.created,
            modified: self.at,
            changed: true,
        })
    }

    fn remove(&mut self, number: Number, expected: Option<u64>) -> Result<Outcome, Fault> {
        let present = self.present(number, expected)?;
        self.settle(number)?;
        let known = self
            .connection
            .prepare_cached(
                "SELECT 1 FROM image WHERE number = ?1
                 UNION ALL SELECT 1 FROM membership WHERE group_number = ?1
                 UNION ALL SELECT 1 FROM membership WHERE member_number = ?1",
            )?
            .exists([number])?;
        if known {
            self.depart(number)?;
        }
        for key in &present.held {
            self.release(number, key)?;
        }
        self.reindex(number, &[])?;
        if !present.deleted {
            self.tally(&present, false)?;
        }
        self.connection.prepare_cached("DELETE FROM image WHERE number = ?1")?.execute([number])?;
        self.connection.prepare_cached("DELETE FROM resource WHERE number = ?1")?.execute([number])?;
        let Present { version, created, .. } = present;
        Ok(Outcome { number, version, created, modified: self.at, changed: true })
    }

    /// The resource means nothing to decisions any more: its memberships end and the log says so.
    fn depart(&mut self, number: Number) -> Result<(), Fault> {
        let parents = self.parents(number)?;
        self.connection.prepare_cached("DELETE FROM membership WHERE group_number = ?1")?.execute([number])?;
        self.connection.prepare_cached("DELETE FROM membership WHERE member_number = ?1")?.execute([number])?;
        for group in parents {
            self.touch(group)?;
        }
        self.changes.push(Change { number, image: Image::Gone });
        Ok(())
    }

    /// Whoever is deleted leaves every group, and loses its members.
    fn end_memberships(&mut self, number: Number) -> Result<(), Fault> {
        let members = self
            .connection
            .prepare_cached("DELETE FROM membership WHERE group_number = ?1 RETURNING member_number")?
            .query_map([number], |row| row.get(0))?
            .collect::<Result<BTreeSet<Number>, _>>()?;
        let parents = self.parents(number)?;
        self.connection.prepare_cached("DELETE FROM membership WHERE member_number = ?1")?.execute([number])?;
        let lost = |group, removed| Change {
            number: group,
            image: Image::Members(MemberChange { added: Vec::new(), removed }),
        };
        if !members.is_empty() {
            self.changes.push(lost(number, members.into_iter().collect()));
        }
        for group in parents {
            self.touch(group)?;
            self.changes.push(lost(group, vec![number]));
        }
        Ok(())
    }

    /// The groups that it is in, itself aside, by number.
    fn parents(&self, number: Number) -> Result<Vec<Number>, Fault> {
        Ok(self
            .connection
            .prepare_cached(
                "SELECT group_number FROM membership WHERE member_number = ?1 AND group_number <> ?1
                 ORDER BY group_number",
            )?
            .query_map([number], |row| row.get(0))?
            .collect::<Result<Vec<Number>, _>>()?)
    }

    /// Whether it is there and not deleted.
    fn lives(&self, number: Number) -> Result<bool, Fault> {
        let mut found = self.connection.prepare_cached("SELECT 1 FROM resource WHERE number = ?1 AND deleted = 0")?;
        Ok(found.exists([number])?)
    }

    /// The resource, where it is there and has the expected version; it is about to be written.
    fn present(&mut self, number: Number, expected: Option<u64>) -> Result<Present, Fault> {
        let present = self
            .connection
            .prepare_cached(
                "SELECT kind, version, created, modified, deleted, organization, held FROM resource WHERE number = ?1",
            )?
            .query_one([number], |row| {
                let held: Vec<(String, String)> = serde_json::from_str(row.get_ref(6)?.as_str()?)
                    .map_err(|error| FromSqlConversionFailure(6, Type::Text, error.into()))?;
                Ok(Present {
                    organization: row.get(5)?,
                    held: held.into_iter().map(|(scope, value)| UniqueKey { scope, value }).collect(),
                    kind: kind(row, 0)?,
                    version: unsigned(row, 1)?,
                    created: Timestamp(row.get(2)?),
                    modified: Timestamp(row.get(3)?),
                    deleted: row.get(4)?,
                })
            })
            .optional()?
            .ok_or(StoreError::NotFound(number))?;
        if expected.is_some_and(|version| version != present.version) {
            return Err(StoreError::VersionMismatch { current: present.version }.into());
        }
        self.written.insert(present.kind);
        Ok(present)
    }

    /// A new version of a group whose members changed.
    fn touch(&mut self, group: Number) -> Result<(), Fault> {
        self.written.insert(Kind::Group);
        self.connection
            .prepare_cached("UPDATE resource SET version = version + 1, modified = ?2 WHERE number = ?1")?
            .execute(params![group, self.at.0])?;
        Ok(())
    }

    /// Keeps the newest image and notes the change.
    fn image(&mut self, number: Number, image: Option<&Image>) -> Result<(), Fault> {
        let stored = image.and_then(images::encode).transpose().map_err(unwritable)?;
        if let (Some(image), Some((kind, body))) = (image, stored) {
            self.connection
                .prepare_cached(
                    "INSERT INTO image (number, kind, body) VALUES (?1, ?2, ?3)
                     ON CONFLICT (number) DO UPDATE SET kind = excluded.kind, body = excluded.body",
                )?
                .execute(params![number, kind, body])?;
            self.changes.push(Change { number, image: image.clone() });
            return Ok(());
        }
        let gone = self.connection.prepare_cached("DELETE FROM image WHERE number = ?1")?.execute([number])?;
        if gone > 0 { self.depart(number) } else { Ok(()) }
    }
}

fn unwritable(error: serde_json::Error) -> Fault {
    Fault::Refused(StoreError::Damaged(error.to_string()))
}

/// An outcome in the log: number, version, created, modified, changed.
type Stored = (Number, u64, i64, i64, bool);

fn encode(outcomes: &[Outcome]) -> Result<String, Fault> {
    let stored: Vec<Stored> =
        outcomes.iter().map(|one| (one.number, one.version, one.created.0, one.modified.0, one.changed)).collect();
    serde_json::to_string(&stored).map_err(unwritable)
}

fn decode(text: &str) -> Result<Vec<Outcome>, Fault> {
    let stored: Vec<Stored> = serde_json::from_str(text)
        .map_err(|error| Fault::Refused(StoreError::Damaged(format!("outcomes of an operation: {error}"))))?;
    Ok(stored
        .into_iter()
        .map(|(number, version, created, modified, changed)| Outcome {
            number,
            version,
            created: Timestamp(created),
            modified: Timestamp(modified),
            changed,
        })
        .collect())
}
