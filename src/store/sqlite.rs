//! The ledger on SQLite: one file with a write-ahead log, one connection that writes, a few that read.
//!
//! Every acknowledged commit is on disk (`synchronous=FULL`); many transactions share one commit. Needs a tokio
//! runtime around its futures. Knows of the rest of the house only the contract and the domain's images.

mod desk;
mod emit;
mod events;
mod faults;
mod head;
mod images;
mod migrations;
mod open;
mod projection;
mod readers;
mod reads;
mod recent;
mod steps;
mod tail;
mod verify;
mod writer;

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use rusqlite::Connection;

pub use open::OpenError;

use self::desk::Desk;
use self::faults::on_read;
use self::readers::Readers;
use self::writer::{Shared, Writer};
use super::{
    Above, ApplyHook, BoxFuture, Committed, EventQuery, Found, Head, Kind, LogEntry, LoggedEvent, Lookup, Member,
    Projection, Query, Record, Store, StoreError, Transaction, limits,
};
use crate::clock::Clock;
use crate::domain::{Number, Revision};

/// Called once, with the reason, when nothing will be acknowledged any more: the process should end.
pub type FatalHook = Arc<dyn Fn(&str) + Send + Sync>;

/// How to open the ledger.
pub struct Options {
    /// Where it lies; made (for this user alone) where it is missing. Must be a local disk.
    pub folder: PathBuf,
    /// Dates the migrations.
    pub clock: Arc<dyn Clock>,
    /// See [`ApplyHook`]; may also come later, by [`SqliteStore::set_apply_hook`].
    pub apply: Option<ApplyHook>,
    /// See [`FatalHook`].
    pub on_fatal: Option<FatalHook>,
}

/// The ledger on SQLite. Dropping it lets the writer finish what it has taken.
pub struct SqliteStore {
    /// Goes first: what waits is written, and then all is closed.
    desk: Desk,
    readers: Readers,
    shared: Arc<Shared>,
    /// Released with the store, after the writer.
    _lock: File,
}

impl SqliteStore {
    /// Takes the folder for this process, brings the schema up to date and holds the head against the log. Blocking.
    ///
    /// # Errors
    /// See [`OpenError`]; nothing was changed then, beside an empty folder or file.
    pub fn open(options: Options) -> Result<Self, OpenError> {
        let Options { folder, clock, apply, on_fatal } = options;
        let opened = open::open(&folder, clock.now())?;
        let shared = Arc::new(Shared::default());
        if let Some(apply) = apply {
            let _ = shared.apply.set(apply);
        }
        let writer = Writer::new(opened.connection, opened.ledger, Arc::clone(&shared), on_fatal);
        let mover = open::open_mover(&opened.file)?;
        let desk = Desk::open(writer, mover, Arc::clone(&shared));
        let desk = desk.map_err(|error| OpenError::Engine(error.to_string()))?;
        Ok(Self { desk, readers: Readers::new(opened.file), shared, _lock: opened.lock })
    }

    /// Sets the apply hook, once and before the first commit: what it folds into is itself built by
    /// [`Store::project`]. Answers false where there is one already, which then stays.
    pub fn set_apply_hook(&self, apply: ApplyHook) -> bool {
        self.shared.apply.set(apply).is_ok()
    }

    /// A read of at most one row for each of a list; about nothing, nobody is asked.
    fn read_about<Q: Send + 'static, A: Send + 'static>(
        &self,
        wanted: Vec<Q>,
        read: impl FnOnce(&Connection, Vec<Q>) -> Result<Vec<A>, StoreError> + Send + 'static,
    ) -> BoxFuture<'_, Result<Vec<A>, StoreError>> {
        if wanted.is_empty() {
            return Box::pin(std::future::ready(Ok(Vec::new())));
        }
        Box::pin(self.readers.look_up(wanted.len(), move |connection| read(connection, wanted)))
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        // Reads in progress would keep the log from being moved whole.
        self.readers.close();
    }
}

impl Store for SqliteStore {
    fn commit(&self, transaction: Transaction) -> BoxFuture<'_, Result<Committed, StoreError>> {
        Box::pin(async move {
            limits::transaction(&transaction)?;
            self.desk.commit(transaction).await
        })
    }

    fn find(&self, wanted: Vec<Lookup>) -> BoxFuture<'_, Result<Vec<Option<Record>>, StoreError>> {
        self.read_about(self.shared.recent.hints(wanted), |connection, wanted| {
            wanted.iter().map(|(lookup, hint)| reads::look_up(connection, lookup, *hint)).collect()
        })
    }

    fn stamp(&self, kind: Kind) -> u64 {
        self.shared.stamps.of(kind)
    }

    fn records(&self, numbers: Vec<Number>) -> BoxFuture<'_, Result<Vec<Record>, StoreError>> {
        self.read_about(numbers, |connection, numbers| reads::records(connection, &numbers))
    }

    fn query(&self, query: Query) -> BoxFuture<'_, Result<Found, StoreError>> {
        Box::pin(async move {
            limits::query(&query)?;
            self.readers.read(move |connection| reads::query(connection, &query)).await
        })
    }

    fn members(
        &self,
        group: Number,
        after: Option<Number>,
        limit: u64,
    ) -> BoxFuture<'_, Result<Vec<Member>, StoreError>> {
        Box::pin(self.readers.read(move |connection| reads::members(connection, group, after, limit)))
    }

    fn groups_of(&self, member: Number) -> BoxFuture<'_, Result<Vec<Record>, StoreError>> {
        Box::pin(self.readers.read(move |connection| reads::groups_of(connection, member)))
    }

    fn groups_above(&self, members: Vec<Number>) -> BoxFuture<'_, Result<Vec<Above>, StoreError>> {
        if members.is_empty() {
            return Box::pin(std::future::ready(Ok(Vec::new())));
        }
        // There may be very many above one.
        Box::pin(self.readers.read(move |connection| reads::groups_above(connection, &members)))
    }

    fn members_among(&self, group: Number, of: Vec<Number>) -> BoxFuture<'_, Result<Vec<Number>, StoreError>> {
        self.read_about(of, move |connection, of| reads::members_among(connection, group, of))
    }

    fn head(&self) -> BoxFuture<'_, Result<Head, StoreError>> {
        Box::pin(
            self.readers
                .read(|connection| head::read(connection).map(|ledger| ledger.head()).map_err(|error| on_read(&error))),
        )
    }

    fn tail(&self, after: u64, limit: u64) -> BoxFuture<'_, Result<Vec<LogEntry>, StoreError>> {
        Box::pin(self.readers.read(move |connection| reads::tail(connection, after, limit)))
    }

    fn events(&self, query: EventQuery) -> BoxFuture<'_, Result<Vec<LoggedEvent>, StoreError>> {
        Box::pin(self.readers.read(move |connection| events::find(connection, &query)))
    }

    fn notes(&self, prefix: &str) -> BoxFuture<'_, Result<Vec<(String, String)>, StoreError>> {
        let prefix = prefix.to_owned();
        Box::pin(self.readers.read(move |connection| events::notes(connection, &prefix)))
    }

    fn project(&self, into: &dyn Projection) -> Result<Revision, StoreError> {
        projection::project(&self.readers, into)
    }

    fn verify(&self) -> Result<Head, StoreError> {
        self.readers.read_here(verify::verify)
    }
}
