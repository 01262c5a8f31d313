//! The floor of durable creates: bare SQLite, one row a commit, as many bytes, on the same disk and with the same
//! promises.

use std::path::Path;
use std::time::Duration;

use crate::statistics::Stopwatch;
use crate::workload::Failure;

/// A table like the simplest store of resources: a key, a unique name, the document.
pub struct Commits {
    connection: rusqlite::Connection,
    document: String,
    next: u64,
}

impl Commits {
    /// Rows of so many bytes in a new file.
    pub fn open(folder: &Path, bytes: u64) -> Result<Self, Failure> {
        let connection = rusqlite::Connection::open(folder.join("bare.sqlite"))?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.execute_batch(
            "CREATE TABLE resource (number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, document TEXT NOT NULL) STRICT",
        )?;
        Ok(Self { connection, document: "x".repeat(usize::try_from(bytes)?), next: 0 })
    }

    /// The bytes that one create leaves in a ledger, keys of indexes aside: the rows of the newest resource and of
    /// the newest revision and event.
    pub fn bytes_of_a_create(folder: &Path) -> Result<u64, Failure> {
        let ledger = rusqlite::Connection::open_with_flags(
            folder.join("ledger.sqlite"),
            rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY,
        )?;
        let text = "WITH newest (number) AS (SELECT max(number) FROM resource)
            SELECT sum(bytes) FROM (
                SELECT length(id) + length(document) + length(state) AS bytes FROM resource NATURAL JOIN newest
                UNION ALL SELECT length(body) FROM image NATURAL JOIN newest
                UNION ALL SELECT length(value) FROM attribute NATURAL JOIN newest
                UNION ALL SELECT length(h.value ->> 0) + length(h.value ->> 1)
                    FROM resource NATURAL JOIN newest, json_each(held) h
                UNION ALL SELECT * FROM (SELECT length(operation) + length(body) + length(outcomes) + length(hash)
                    FROM change_log ORDER BY place DESC LIMIT 1)
                UNION ALL SELECT * FROM (SELECT length(id) + length(connection) + length(resource) + length(body)
                    FROM event ORDER BY number DESC LIMIT 1))";
        let bytes: i64 = ledger.query_row(text, [], |row| row.get(0))?;
        Ok(u64::try_from(bytes)?)
    }

    /// Commits a second, one row each.
    pub fn run(&mut self, window: Duration) -> Result<f64, Failure> {
        let started = Stopwatch::start();
        let first = self.next;
        while started.elapsed() < window {
            self.next += 1;
            let mut insert =
                self.connection.prepare_cached("INSERT INTO resource (number, name, document) VALUES (?1, ?2, ?3)")?;
            insert.execute((i64::try_from(self.next)?, format!("user{:07}", self.next), &self.document))?;
        }
        #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
        let count = (self.next - first) as f64;
        Ok(count / started.elapsed().as_secs_f64())
    }
}
