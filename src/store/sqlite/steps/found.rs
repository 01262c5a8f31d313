//! What a resource is found by: its unique keys, its searchable values and its place in the totals. Above the head's mark
//! (see [`tail`](super::super::tail)) the values alone are written. Nothing there changes: who is written again is settled
//! first.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::params;

use super::super::faults::Fault;
use super::super::tail;
use super::{Present, Scribe, unwritable};
use crate::domain::Number;
use crate::store::{IndexEntry, StoreError, UniqueKey};

impl Scribe<'_> {
    /// Takes a unique key that nobody has.
    pub(super) fn claim(&mut self, number: Number, key: &UniqueKey) -> Result<(), Fault> {
        let settled = self.ledger.settled;
        let taken = self.known.claims.are_of(key, settled)
            || self
                .connection
                .prepare_cached("SELECT 1 FROM unique_key WHERE scope = ?1 AND value = ?2")?
                .exists(params![key.scope, key.value])?;
        if taken {
            return Err(StoreError::Taken(key.clone()).into());
        }
        if number >= settled {
            self.known.claims.claim(key.clone(), number);
        } else {
            self.connection
                .prepare_cached("INSERT INTO unique_key (scope, value, number) VALUES (?1, ?2, ?3)")?
                .execute(params![key.scope, key.value, number])?;
        }
        Ok(())
    }

    /// Settles the tail where this resource is in it.
    pub(super) fn settle(&mut self, number: Number) -> Result<(), Fault> {
        if number >= self.ledger.settled {
            tail::settle(self.connection, self.ledger)?;
        }
        Ok(())
    }

    /// Gives a unique key up.
    pub(super) fn release(&self, number: Number, key: &UniqueKey) -> Result<(), Fault> {
        self.connection
            .prepare_cached("DELETE FROM unique_key WHERE scope = ?1 AND value = ?2 AND number = ?3")?
            .execute(params![key.scope, key.value, number])?;
        Ok(())
    }

    /// Counts a resource that comes or goes.
    pub(super) fn tally(&self, of: &Present, comes: bool) -> Result<(), Fault> {
        let text = if comes {
            "INSERT INTO tally (kind, organization, total) VALUES (?1, ?2, 1)
             ON CONFLICT (kind, organization) DO UPDATE SET total = total + 1"
        } else {
            "UPDATE tally SET total = total - 1 WHERE kind = ?1 AND organization = ?2"
        };
        self.connection.prepare_cached(text)?.execute(params![of.kind.name(), of.organization])?;
        Ok(())
    }

    /// Writes one searchable value; what only speeds up finding it follows when the tail is settled.
    pub(super) fn index(&mut self, number: Number, entry: &IndexEntry) -> Result<(), Fault> {
        let path = self.path(&entry.path)?;
        self.connection
            .prepare_cached(
                "INSERT INTO attribute (number, path, element, value) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT DO NOTHING",
            )?
            .execute(params![number, path, entry.element, entry.value])?;
        Ok(())
    }

    /// Writes only what differs: most replacements change little of the index.
    pub(super) fn reindex(&mut self, number: Number, index: &[IndexEntry]) -> Result<(), Fault> {
        let before = self
            .connection
            .prepare_cached(
                "SELECT p.name, a.element, a.value, a.path FROM attribute a JOIN path p ON p.number = a.path
                 WHERE a.number = ?1",
            )?
            .query_map([number], |row| {
                Ok((IndexEntry { path: row.get(0)?, element: row.get(1)?, value: row.get(2)? }, row.get(3)?))
            })?
            .collect::<Result<BTreeMap<IndexEntry, i64>, _>>()?;
        let after: BTreeSet<&IndexEntry> = index.iter().collect();
        self.look_up_otherwise(number, &before, &after)?;
        for (entry, path) in before.iter().filter(|(entry, _)| !after.contains(entry)) {
            self.connection
                .prepare_cached(
                    "DELETE FROM attribute WHERE number = ?1 AND path = ?2 AND element = ?3 AND value = ?4",
                )?
                .execute(params![number, path, entry.element, entry.value])?;
        }
        for entry in after.into_iter().filter(|entry| !before.contains_key(entry)) {
            self.index(number, entry)?;
        }
        Ok(())
    }

    /// Writes what differs of the values that it is found by, in whichever element they stand.
    fn look_up_otherwise(
        &mut self,
        number: Number,
        before: &BTreeMap<IndexEntry, i64>,
        after: &BTreeSet<&IndexEntry>,
    ) -> Result<(), Fault> {
        let value = |entry: &IndexEntry| (entry.path.clone(), entry.value.clone());
        let (had, has): (BTreeSet<_>, BTreeSet<_>) =
            (before.keys().map(value).collect(), after.iter().map(|entry| value(entry)).collect());
        for (path, value) in had.difference(&has) {
            let path = self.path(path)?;
            self.connection
                .prepare_cached("DELETE FROM lookup WHERE path = ?1 AND value = ?2 AND number = ?3")?
                .execute(params![path, value, number])?;
        }
        for (path, value) in has.difference(&had) {
            let path = self.path(path)?;
            self.connection
                .prepare_cached("INSERT INTO lookup (path, value, number) VALUES (?1, ?2, ?3)")?
                .execute(params![path, value, number])?;
        }
        Ok(())
    }

    /// The number of an index path, given when it is first seen.
    fn path(&mut self, name: &str) -> Result<i64, Fault> {
        if let Some(&number) = self.known.paths.get(name) {
            return Ok(number);
        }
        self.connection
            .prepare_cached("INSERT INTO path (name) VALUES (?1) ON CONFLICT DO NOTHING")?
            .execute([name])?;
        let number = self
            .connection
            .prepare_cached("SELECT number FROM path WHERE name = ?1")?
            .query_one([name], |row| row.get(0))?;
        self.known.paths.insert(name.to_owned(), number);
        Ok(number)
    }
}

/// A set in the order given.
pub(super) fn each_once(keys: &[UniqueKey]) -> Vec<&UniqueKey> {
    let mut seen = Vec::with_capacity(keys.len());
    for key in keys {
        if !seen.contains(&key) {
            seen.push(key);
        }
    }
    seen
}

/// A resource's unique keys as its row keeps them.
pub(super) fn held(keys: &[UniqueKey]) -> Result<String, Fault> {
    let keys: Vec<(&str, &str)> =
        each_once(keys).into_iter().map(|key| (key.scope.as_str(), key.value.as_str())).collect();
    serde_json::to_string(&keys).map_err(unwritable)
}
