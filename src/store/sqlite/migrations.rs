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
pub(super) const ALL: [Migration; 6] = [
    Migration { name: "0001_ledger", sql: include_str!("../migrations/sqlite/0001_ledger.sql") },
    Migration { name: "0002_events", sql: include_str!("../migrations/sqlite/0002_events.sql") },
    Migration { name: "0003_tally", sql: include_str!("../migrations/sqlite/0003_tally.sql") },
    Migration { name: "0004_lookup", sql: include_str!("../migrations/sqlite/0004_lookup.sql") },
    Migration { name: "0005_listed", sql: include_str!("../migrations/sqlite/0005_listed.sql") },
    Migration { name: "0006_recent", sql: include_str!("../migrations/sqlite/0006_recent.sql") },
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

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;

    /// What a release before the tail left: a person, one who is deleted, two revisions, and events, one forgotten.
    const BEFORE: &str = "
        UPDATE head SET number = 2, next_number = 3;
        INSERT INTO change_log VALUES (1, 1, 'a', 5, '[]', '[]', zeroblob(32)), (1, 2, 'b', 6, '[]', '[]', zeroblob(32));
        INSERT INTO resource VALUES
            (1, 'user', 'one', 'acme', 1, 0, 5, 5, '{}', '{}'), (2, 'user', 'two', 'acme', 2, 1, 5, 6, '{}', '{}');
        INSERT INTO path VALUES (1, 'emails.value');
        INSERT INTO attribute VALUES (1, 1, 0, 'x'), (1, 1, 1, 'x'), (1, 1, 2, 'y');
        INSERT INTO unique_key VALUES ('username', 'one', 1), ('email', 'x', 1), ('username', 'two', 2);
        INSERT INTO event (id, connection, at, kind, status, resource, body, before) VALUES
            ('e1', 'c', 5, 'request', 201, 'one', '{}', NULL), ('e2', 'c', 6, 'request', 200, '', '{}', 'x'),
            ('e3', 'c', 7, 'request', 200, '', '{}', NULL);
        DELETE FROM event WHERE id = 'e3';";

    fn texts(connection: &Connection, sql: &str) -> Vec<String> {
        let mut found = connection.prepare(sql).unwrap();
        found.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
    }

    #[test]
    fn a_ledger_of_an_earlier_release_is_brought_up_to_date_whole() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection, &ALL[..3], Timestamp(1)).unwrap();
        connection.execute_batch(BEFORE).unwrap();
        migrate(&mut connection, &ALL, Timestamp(2)).unwrap();
        migrate(&mut connection, &ALL, Timestamp(3)).unwrap();
        for (sql, expected) in [
            ("SELECT settled || ' ' || next_event || ' ' || settled_event FROM head", &["3 4 4"][..]),
            ("SELECT value || ' ' || number FROM lookup ORDER BY value", &["x 1", "y 1"]),
            ("SELECT organization || ' ' || total FROM tally", &["acme 1"]),
            ("SELECT epoch || '-' || number || ' ' || operation FROM change_log ORDER BY place", &["1-1 a", "1-2 b"]),
            ("SELECT held FROM resource WHERE number = 2", &["[[\"username\",\"two\"]]"]),
            ("SELECT number || ' ' || id FROM event WHERE before IS NOT NULL", &["2 e2"]),
            (
                "SELECT name || ' ' || value || ' ' || number FROM event_key ORDER BY name, number",
                &["connection c 1", "connection c 2", "id e1 1", "id e2 2", "resource one 1"],
            ),
            ("PRAGMA integrity_check", &["ok"]),
            ("SELECT name FROM sqlite_schema WHERE type = 'trigger' OR name LIKE '%_before'", &[]),
        ] {
            assert_eq!(texts(&connection, sql), expected, "{sql}");
        }
    }
}
