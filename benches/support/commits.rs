//! The floor of durable creates: bare SQLite, one row a commit, on the same disk and with the same promises.

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
    pub fn open(folder: &Path, bytes: usize) -> Result<Self, Failure> {
        let connection = rusqlite::Connection::open(folder.join("bare.sqlite"))?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.execute_batch(
            "CREATE TABLE resource (number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, document TEXT NOT NULL) STRICT",
        )?;
        Ok(Self { connection, document: "x".repeat(bytes), next: 0 })
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
