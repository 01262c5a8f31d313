//! The schema's history: plain SQL files in the binary, each applied once and remembered with its checksum.

use rusqlite::{Connection, TransactionBehavior};

use super::open::OpenError;
use crate::domain::Timestamp;

/// Marks the file as ours in its header ("CDGT").
pub(super) const APPLICATION: i32 = 0x4344_4754;

/// One step of the schema.
#[derive(Clone, Copy, Debug)]
pub(super) struct Migration {
    pub(super) name: &'static str,
    pub(super) sql: &'static str,
}

impl Migration {
    fn checksum(&self) -> String {
        blake3::hash(self.sql.as_bytes()).to_hex().to_string()
    }
}

/// Every step, oldest first. Files that were released never change; new ones are added.
pub(super) const ALL: [Migration; 4] = [
    Migration { name: "0001_ledger", sql: include_str!("../migrations/sqlite/0001_ledger.sql") },
    Migration { name: "0002_events", sql: include_str!("../migrations/sqlite/0002_events.sql") },
    Migration { name: "0003_tally", sql: include_str!("../migrations/sqlite/0003_tally.sql") },
    Migration { name: "0004_lookup", sql: include_str!("../migrations/sqlite/0004_lookup.sql") },
];

/// Brings the schema to the newest of `known`, or says why this binary must not touch the file. Whole or not at all.
pub(super) fn migrate(connection: &mut Connection, known: &[Migration], at: Timestamp) -> Result<(), OpenError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let application: i32 = transaction.query_one("PRAGMA application_id", [], |row| row.get(0))?;
    let tables: i64 = transaction.query_one("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if application != APPLICATION && (application != 0 || tables > 0) {
        return Err(OpenError::Foreign);
    }
    transaction.pragma_update(None, "application_id", APPLICATION)?;
    transaction.execute_batch(
        "CREATE TABLE IF NOT EXISTS migration (
            number INTEGER PRIMARY KEY, name TEXT NOT NULL, checksum TEXT NOT NULL, at INTEGER NOT NULL
        ) STRICT",
    )?;
    let applied = transaction
        .prepare("SELECT name, checksum FROM migration ORDER BY number")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<Vec<(String, String)>, _>>()?;
    if applied.len() > known.len() {
        return Err(OpenError::Newer { found: applied.len(), known: known.len() });
    }
    for (migration, (name, checksum)) in known.iter().zip(&applied) {
        if name != migration.name || *checksum != migration.checksum() {
            return Err(OpenError::Changed { name: name.clone() });
        }
    }
    for migration in known.iter().skip(applied.len()) {
        transaction.execute_batch(migration.sql)?;
        transaction.execute(
            "INSERT INTO migration (name, checksum, at) VALUES (?1, ?2, ?3)",
            (migration.name, migration.checksum(), at.0),
        )?;
    }
    transaction.commit()?;
    Ok(())
}
