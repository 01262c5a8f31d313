//! The full check: the engine's structures, the references, the whole chain, and that the compact tables are the fold
//! of the log and the totals those of a count.

use std::collections::{BTreeSet, HashMap};

use rusqlite::{Connection, OptionalExtension};

use super::faults::on_read;
use super::head::{self, LogRow};
use super::{projection, reads};
use crate::domain::{Change, Image, Number, Revision};
use crate::store::{Head, StoreError};

/// Reads everything. Memory: a hash for each image, two pairs of numbers for each membership.
pub(super) fn verify(connection: &Connection) -> Result<Head, StoreError> {
    engine(connection)?;
    let ledger = head::confirm(connection).map_err(|error| on_read(&error))?.map_err(StoreError::Damaged)?;
    let fold = chain(connection)?;
    if fold.hash != ledger.hash {
        return damaged("the log does not end with the head's hash");
    }
    fold.matches(connection)?;
    tally(connection)?;
    settled(connection)?;
    Ok(ledger.head())
}

/// Pages, indexes and references, as the engine itself checks them.
fn engine(connection: &Connection) -> Result<(), StoreError> {
    let said: String =
        connection.query_one("PRAGMA integrity_check(1)", [], |row| row.get(0)).map_err(|error| on_read(&error))?;
    if said != "ok" {
        return Err(StoreError::Damaged(said));
    }
    let dangling: Option<String> = connection
        .prepare("PRAGMA foreign_key_check")
        .and_then(|mut statement| statement.query([])?.next()?.map(|row| row.get(0)).transpose())
        .map_err(|error| on_read(&error))?;
    match dangling {
        Some(table) => damaged(&format!("a row of {table} points to nothing")),
        None => Ok(()),
    }
}

/// The kept totals are what counting finds.
fn tally(connection: &Connection) -> Result<(), StoreError> {
    let text = "WITH counted (kind, organization, total) AS (
             SELECT kind, organization, count(*) FROM resource
             WHERE deleted = 0 AND number < (SELECT settled FROM head) GROUP BY kind, organization),
         kept (kind, organization, total) AS (SELECT kind, organization, total FROM tally WHERE total <> 0)
         SELECT kind, organization FROM (SELECT * FROM kept EXCEPT SELECT * FROM counted)
         UNION ALL SELECT kind, organization FROM (SELECT * FROM counted EXCEPT SELECT * FROM kept) LIMIT 1";
    let wrong: Option<(String, String)> =
        connection.query_one(text, [], |row| Ok((row.get(0)?, row.get(1)?))).optional().map_err(|e| on_read(&e))?;
    match wrong {
        Some((kind, organization)) => {
            damaged(&format!("the total of kind {kind} in `{organization}` is not its count"))
        }
        None => Ok(()),
    }
}

/// What things are found by is what they hold: the engine no longer knows that these tables belong together.
fn settled(connection: &Connection) -> Result<(), StoreError> {
    let checks = [
        (
            "SELECT l.number FROM lookup l WHERE l.number >= (SELECT settled FROM head) OR NOT EXISTS (
                 SELECT 1 FROM attribute a WHERE a.number = l.number AND a.path = l.path AND a.value = l.value) LIMIT 1",
            "is found by a value that it does not have",
        ),
        (
            "SELECT a.number FROM attribute a WHERE a.number < (SELECT settled FROM head) AND NOT EXISTS (
                 SELECT 1 FROM lookup l WHERE l.path = a.path AND l.value = a.value AND l.number = a.number) LIMIT 1",
            "is not found by one of its values",
        ),
        (
            "SELECT k.number FROM unique_key k WHERE k.number >= (SELECT settled FROM head) OR NOT EXISTS (
                 SELECT 1 FROM resource r, json_each(r.held) h WHERE r.number = k.number
                 AND h.value ->> 0 = k.scope AND h.value ->> 1 = k.value) LIMIT 1",
            "has a unique key that its row does not name",
        ),
        (
            "SELECT r.number FROM resource r, json_each(r.held) h WHERE r.number < (SELECT settled FROM head) AND NOT EXISTS (
                 SELECT 1 FROM unique_key k
                 WHERE k.scope = h.value ->> 0 AND k.value = h.value ->> 1 AND k.number = r.number) LIMIT 1",
            "names a unique key that it does not have",
        ),
        (
            "SELECT r.number FROM resource r, json_each(r.held) h JOIN unique_key k
                 ON k.scope = h.value ->> 0 AND k.value = h.value ->> 1
             WHERE r.number >= (SELECT settled FROM head) LIMIT 1",
            "names a unique key that another has",
        ),
    ];
    for (text, fault) in checks {
        let wrong: Option<Number> =
            connection.query_one(text, [], |row| row.get(0)).optional().map_err(|error| on_read(&error))?;
        if let Some(number) = wrong {
            return damaged(&format!("resource {number} {fault}"));
        }
    }
    Ok(())
}

/// What the log comes to.
#[derive(Default)]
struct Fold {
    hash: [u8; 32],
    images: HashMap<Number, [u8; 32]>,
    members: Members,
}

/// Pairs in both directions, so that whoever goes is found without a walk over all.
#[derive(Default)]
struct Members {
    by_group: BTreeSet<(Number, Number)>,
    by_member: BTreeSet<(Number, Number)>,
}

impl Members {
    fn insert(&mut self, group: Number, member: Number) {
        self.by_group.insert((group, member));
        self.by_member.insert((member, group));
    }

    fn remove(&mut self, group: Number, member: Number) -> bool {
        self.by_member.remove(&(member, group));
        self.by_group.remove(&(group, member))
    }

    fn forget(&mut self, number: Number) {
        let all = (number, Number::MIN)..=(number, Number::MAX);
        let members: Vec<_> = self.by_group.range(all.clone()).map(|&(_, member)| member).collect();
        let groups: Vec<_> = self.by_member.range(all).map(|&(_, group)| group).collect();
        for member in members {
            self.remove(number, member);
        }
        for group in groups {
            self.remove(group, number);
        }
    }
}

fn chain(connection: &Connection) -> Result<Fold, StoreError> {
    let lost = |error: rusqlite::Error| on_read(&error);
    let mut statement =
        connection.prepare("SELECT epoch, number, at, body, hash FROM change_log ORDER BY place").map_err(lost)?;
    let mut rows = statement.query([]).map_err(lost)?;
    let mut fold = Fold::default();
    let mut before = Revision { epoch: 0, number: 0 };
    while let Some(row) = rows.next().map_err(lost)? {
        let row = LogRow::read(row).map_err(lost)?;
        let next = if row.revision.epoch == before.epoch { before.number + 1 } else { 1 };
        if row.revision.number != next {
            return damaged(&format!("the log has a gap before revision {}", row.revision));
        }
        if row.computed(fold.hash) != row.hash {
            return damaged(&format!("revision {} does not have the hash of its content", row.revision));
        }
        fold.hash = row.hash;
        before = row.revision;
        for change in reads::changes(&row)? {
            fold.apply(change)?;
        }
    }
    Ok(fold)
}

impl Fold {
    fn apply(&mut self, change: Change) -> Result<(), StoreError> {
        let Change { number, image } = change;
        match image {
            Image::Members(delta) => {
                for member in delta.removed {
                    self.members.remove(number, member);
                }
                for member in delta.added {
                    self.members.insert(number, member);
                }
            }
            Image::Gone => {
                self.images.remove(&number);
                self.members.forget(number);
            }
            Image::Organization(_) | Image::Account(_) | Image::User(_) | Image::Group(_) => {
                self.images.insert(number, digest(&image)?);
            }
        }
        Ok(())
    }

    /// The compact tables hold exactly this.
    fn matches(mut self, connection: &Connection) -> Result<(), StoreError> {
        projection::walk_images(connection, 0..Number::MAX, |number, image| {
            if self.images.remove(&number) == Some(digest(&image)?) {
                Ok(())
            } else {
                damaged(&format!("the image of resource {number} is not the one in the log"))
            }
        })?;
        projection::walk_members(connection, |group, member| {
            if self.members.remove(group, member) {
                Ok(())
            } else {
                damaged(&format!("the log does not make {member} a member of {group}"))
            }
        })?;
        if let Some(number) = self.images.keys().next() {
            return damaged(&format!("the image of resource {number} is missing"));
        }
        match self.members.by_group.first() {
            Some((group, member)) => damaged(&format!("{member} is missing from the members of {group}")),
            None => Ok(()),
        }
    }
}

fn digest(image: &Image) -> Result<[u8; 32], StoreError> {
    let text = serde_json::to_string(image).map_err(|error| StoreError::Damaged(error.to_string()))?;
    Ok(*blake3::hash(text.as_bytes()).as_bytes())
}

fn damaged<T>(what: &str) -> Result<T, StoreError> {
    Err(StoreError::Damaged(what.to_owned()))
}
