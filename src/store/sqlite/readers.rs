//! A small pool of connections that only read, used on threads that may block; for a few rows by their keys, on any.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use super::faults::on_read;
use super::open::open_reader;
use crate::store::StoreError;

/// Most reads at a time; whoever comes later waits.
const READERS: usize = 4;

/// So many rows by their keys are found sooner than another thread wakes.
const FEW: usize = 8;

/// The pool. Connections are opened when first needed; one that failed is not used again.
pub(super) struct Readers {
    file: PathBuf,
    permits: Arc<Semaphore>,
    idle: Arc<Mutex<Vec<Connection>>>,
}

impl Readers {
    pub(super) fn new(file: PathBuf) -> Self {
        Self { file, permits: Arc::new(Semaphore::new(READERS)), idle: Arc::default() }
    }

    /// Runs one read on one consistent state.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let closed = |_| StoreError::Unavailable("the store is closed".to_owned());
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(closed)?;
        let (file, idle) = (self.file.clone(), Arc::clone(&self.idle));
        let done = tokio::task::spawn_blocking(move || {
            let waiting = idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let connection = match waiting {
                Some(connection) => connection,
                None => open_reader(&file).map_err(|error| on_read(&error))?,
            };
            let result = in_transaction(&connection, work)?;
            idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
            drop(permit);
            Ok(result)
        });
        done.await.map_err(|error| StoreError::Unavailable(format!("a read did not end: {error}")))?
    }

    /// Runs one read of so many rows by their keys: a few of them on this thread, where a connection is at hand and other
    /// threads go on meanwhile.
    pub(super) async fn look_up<T: Send + 'static>(
        &self,
        rows: usize,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        if rows <= FEW
            && has_spare_workers()
            && let Ok(permit) = self.permits.try_acquire()
            && let Some(connection) = self.take()
        {
            let result = in_transaction(&connection, work)?;
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
            drop(permit);
            return Ok(result);
        }
        self.read(work).await
    }

    fn take(&self) -> Option<Connection> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    /// Runs one read on this thread, on a connection of its own.
    pub(super) fn read_here<T>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let connection = open_reader(&self.file).map_err(|error| on_read(&error))?;
        in_transaction(&connection, work)
    }

    /// Closes the connections that nobody uses.
    pub(super) fn close(&self) {
        self.permits.close();
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// Whether other threads of this runtime go on while this one waits for the disk.
pub(super) fn has_spare_workers() -> bool {
    Handle::try_current().is_ok_and(|runtime| runtime.metrics().num_workers() > 1)
}

/// All statements of one read see the same state.
fn in_transaction<T>(
    connection: &Connection,
    work: impl FnOnce(&Connection) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let statement = |text| connection.prepare_cached(text)?.execute([]).map(drop);
    statement("BEGIN DEFERRED").map_err(|error| on_read(&error))?;
    // Where the work fails, its connection is closed, and the transaction with it.
    let result = work(connection)?;
    statement("ROLLBACK").map_err(|error| on_read(&error))?;
    Ok(result)
}
