//! Opening: the lock, the engine's settings, and every reason to refuse before anything serves.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};

use super::head::{self, Ledger};
use super::{migrations, tail};
use crate::domain::Timestamp;

/// The ledger's file within the data folder.
pub(super) const LEDGER: &str = "ledger.sqlite";
/// The file whose lock says that a process has this folder.
const LOCK: &str = "ledger.lock";
/// The first version without the defect that could corrupt a write-ahead log with several connections.
const LEAST_ENGINE: i32 = 3_051_003;
/// How long to wait for another program's lock, for example a backup.
const BUSY: Duration = Duration::from_secs(5);

/// Why the ledger was not opened: each one sentence that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder or a file in it cannot be made or opened.
    #[error("cannot use the data folder {}: {cause}; check that it exists and that this user may write there", folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// Another process has it.
    #[error("another process uses the data folder {}; stop it or choose another folder", folder.display())]
    Locked {
        /// The folder.
        folder: PathBuf,
    },
    /// A later release wrote it.
    #[error(
        "the ledger's schema has {found} migrations and this binary knows {known}; run the newer release that wrote it"
    )]
    Newer {
        /// How many the file has.
        found: usize,
        /// How many this binary has.
        known: usize,
    },
    /// A migration was edited after it was applied, or its row was.
    #[error(
        "migration {name} of the ledger is not the one in this binary; run the release that wrote it or restore a backup"
    )]
    Changed {
        /// The migration's name as stored.
        name: String,
    },
    /// A database, but not ours.
    #[error("the ledger's file is another program's database; choose another data folder")]
    Foreign,
    /// Not a database at all.
    #[error("the ledger's file is not a SQLite database; restore a backup or choose another data folder")]
    NotADatabase,
    /// Head and log disagree, or a page that was read is broken.
    #[error("the ledger is damaged ({0}); restore a backup")]
    Damaged(String),
    /// Linked with an engine that can lose data.
    #[error("SQLite {found} may corrupt its log; build with {LEAST_ENGINE} or later (the `bundled` feature does)")]
    OldEngine {
        /// The linked version's number.
        found: i32,
    },
    /// The engine failed otherwise.
    #[error("the ledger cannot be opened: {0}; check the disk and try again")]
    Engine(String),
}

impl From<rusqlite::Error> for OpenError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase) => Self::NotADatabase,
            // SQL of ours that does not fit is a schema that was changed behind our back.
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::Unknown) | None => Self::Damaged(error.to_string()),
            Some(_) => Self::Engine(error.to_string()),
        }
    }
}

/// An opened ledger, known to be good at its head.
pub(super) struct Opened {
    pub(super) connection: Connection,
    pub(super) ledger: Ledger,
    pub(super) file: PathBuf,
    /// Locked for as long as it is open.
    pub(super) lock: File,
}

/// Takes the folder, brings the schema up to date and holds the head against the log.
pub(super) fn open(folder: &Path, at: Timestamp) -> Result<Opened, OpenError> {
    check_engine(rusqlite::version_number())?;
    let on_folder = |cause| OpenError::Folder { folder: folder.to_owned(), cause };
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(on_folder)?;
    let lock = private_file(&folder.join(LOCK)).map_err(on_folder)?;
    lock.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => OpenError::Locked { folder: folder.to_owned() },
        TryLockError::Error(cause) => on_folder(cause),
    })?;

    let file = folder.join(LEDGER);
    private_file(&file).map_err(on_folder)?;
    // The name of a new file is durable only with its folder.
    File::open(folder).and_then(|entry| entry.sync_all()).map_err(on_folder)?;

    let mut connection =
        Connection::open_with_flags(&file, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    settle(&connection)?;
    migrations::migrate(&mut connection, &migrations::ALL, at)?;
    log_ahead(&connection)?;
    let mut ledger = head::confirm(&connection)?.map_err(OpenError::Damaged)?;
    if tail::length(&ledger) > 0 {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        tail::settle(&transaction, &mut ledger)?;
        head::write(&transaction, &ledger)?;
        transaction.commit()?;
    }
    Ok(Opened { connection, ledger, file, lock })
}

/// A connection that only reads.
pub(super) fn open_reader(file: &Path) -> rusqlite::Result<Connection> {
    let connection =
        Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    settle(&connection)?;
    Ok(connection)
}

/// A connection that moves the write-ahead log to the file, and writes nothing else.
pub(super) fn open_mover(file: &Path) -> rusqlite::Result<Connection> {
    let connection =
        Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    settle(&connection)?;
    Ok(connection)
}

fn check_engine(found: i32) -> Result<(), OpenError> {
    if found < LEAST_ENGINE { Err(OpenError::OldEngine { found }) } else { Ok(()) }
}

/// Opens for writing, making it where it is missing, for this user alone.
fn private_file(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// Settings that hold for every connection; none is kept in the file.
fn settle(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY)?;
    connection.set_prepared_statement_cache_capacity(64);
    // Plans do not look at bound values, so that a statement is compiled once and not at each use.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    // References are declared for the full check. The writer keeps them itself: it refers to what it has just written.
    connection.pragma_update(None, "foreign_keys", false)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    // Negative: KiB. The pages of one connection stay within 8 MiB: the inner ones of a ledger of millions. Leaves are hardly
    // ever met twice, and the system has them.
    connection.pragma_update(None, "cache_size", -8 * 1024)?;
    connection.pragma_update_and_check(None, "mmap_size", 0, |_| Ok(()))
}

/// The write-ahead log, once the file is known to be ours. Checkpoints are the writer's, since those that the engine
/// runs by itself hide their errors.
fn log_ahead(connection: &Connection) -> Result<(), OpenError> {
    let mode: String = connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    if mode != "wal" {
        return Err(OpenError::Engine(format!("the write-ahead log is not available (journal mode {mode})")));
    }
    connection.pragma_update_and_check(None, "wal_autocheckpoint", 0, |_| Ok(()))?;
    connection.pragma_update_and_check(None, "journal_size_limit", 64 * 1024 * 1024, |_| Ok(()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_engine_is_refused() {
        assert!(matches!(check_engine(3_051_002), Err(OpenError::OldEngine { found: 3_051_002 })));
        assert!(check_engine(3_051_003).is_ok());
        assert!(check_engine(rusqlite::version_number()).is_ok());
    }
}
