//! The one thread that writes: it drains what waits, runs each transaction in a savepoint, commits all of them at
//! once, tells the apply hook in revision order, and answers.

use std::sync::{Arc, OnceLock};

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::FatalHook;
use super::faults::Fault;
use super::head::{self, Ledger};
use super::steps::{self, Paths, Ran};
use crate::store::{ApplyHook, Committed, StoreError, Transaction};

/// Most transactions that may wait; whoever comes later waits before the queue.
pub(super) const QUEUE: usize = 1024;
/// Most transactions in one commit.
const GROUP: usize = 256;
/// Where a group is heavy enough to stop draining, in steps.
const GROUP_STEPS: usize = 10_000;
/// How many pages may stand in the write-ahead log before they go to their places.
const CHECKPOINT_PAGES: i64 = 1000;

pub(super) type Answer = Result<Committed, StoreError>;

/// A transaction and who waits for it.
pub(super) struct Request {
    pub(super) transaction: Transaction,
    pub(super) answer: oneshot::Sender<Answer>,
}

/// What the writer shares with the store's handle.
#[derive(Default)]
pub(super) struct Shared {
    /// Called after each commit, once it is set.
    pub(super) apply: OnceLock<ApplyHook>,
    /// Why nothing is acknowledged any more.
    pub(super) stopped: OnceLock<String>,
}

/// The writer's own state. Lives on its thread.
pub(super) struct Writer {
    connection: Connection,
    ledger: Ledger,
    paths: Paths,
    shared: Arc<Shared>,
    on_fatal: Option<FatalHook>,
    /// Commits; another function only where a test makes it fail.
    seal: fn(&Connection) -> rusqlite::Result<()>,
}

impl Writer {
    pub(super) fn new(
        connection: Connection,
        ledger: Ledger,
        shared: Arc<Shared>,
        on_fatal: Option<FatalHook>,
    ) -> Self {
        let seal = |connection: &Connection| connection.execute_batch("COMMIT");
        Self { connection, ledger, paths: Paths::new(), shared, on_fatal, seal }
    }

    /// Serves until the last sender is gone.
    pub(super) fn run(mut self, mut queue: mpsc::Receiver<Request>) {
        let watch = Watch { shared: Arc::clone(&self.shared), on_fatal: self.on_fatal.clone() };
        while let Some(first) = queue.blocking_recv() {
            let mut steps = first.transaction.steps.len();
            let mut group = vec![first];
            while group.len() < GROUP && steps < GROUP_STEPS {
                let Ok(next) = queue.try_recv() else { break };
                steps += next.transaction.steps.len();
                group.push(next);
            }
            self.serve(group);
        }
        if self.shared.stopped.get().is_none() {
            // Best effort: the log is as good a home as the file, only slower to open.
            let _ = self.connection.query_one("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        }
        drop(watch);
    }

    fn serve(&mut self, group: Vec<Request>) {
        let (transactions, waiting): (Vec<_>, Vec<_>) =
            group.into_iter().map(|request| (request.transaction, request.answer)).unzip();
        let answers = match self.write(&transactions) {
            Ok(results) => results.into_iter().map(|result| self.settle(result)).collect(),
            Err(fault) => vec![Err(self.give_up(fault)); waiting.len()],
        };
        for (waiting, answer) in waiting.into_iter().zip(answers) {
            // Whoever went away does not hear it; the commit stands.
            let _ = waiting.send(answer);
        }
        self.checkpoint();
    }

    /// Runs and commits a group. An error means that none of it happened, as far as anybody may be told.
    fn write(&mut self, transactions: &[Transaction]) -> Result<Vec<Result<Ran, StoreError>>, Fault> {
        if let Some(reason) = self.shared.stopped.get() {
            return Err(Fault::Fatal(reason.clone()));
        }
        self.connection.execute_batch("BEGIN IMMEDIATE")?;
        if head::read(&self.connection)? != self.ledger {
            return Err(Fault::Fatal("the head row is not what this process wrote".to_owned()));
        }
        let mut ledger = self.ledger;
        let mut results = Vec::with_capacity(transactions.len());
        for transaction in transactions {
            self.connection.prepare_cached("SAVEPOINT one")?.execute([])?;
            let mut attempt = ledger;
            match steps::run(&self.connection, &mut self.paths, &mut attempt, transaction) {
                Ok(ran) => {
                    ledger = attempt;
                    results.push(Ok(ran));
                }
                Err(Fault::Refused(error)) => {
                    self.connection.prepare_cached("ROLLBACK TO one")?.execute([])?;
                    self.paths.clear();
                    results.push(Err(error));
                }
                Err(fault @ (Fault::Passing(_) | Fault::Fatal(_))) => return Err(fault),
            }
            self.connection.prepare_cached("RELEASE one")?.execute([])?;
        }
        if ledger.revision == self.ledger.revision {
            self.connection.execute_batch("ROLLBACK")?;
        } else {
            head::write(&self.connection, &ledger)?;
            (self.seal)(&self.connection)?;
            self.ledger = ledger;
        }
        Ok(results)
    }

    /// Tells the apply hook of what is new.
    fn settle(&self, result: Result<Ran, StoreError>) -> Answer {
        match result? {
            Ran::New { committed, changes } => {
                if let Some(apply) = self.shared.apply.get() {
                    apply(committed.revision, &changes);
                }
                Ok(committed)
            }
            Ran::Repeated(committed) => Ok(committed),
        }
    }

    /// Rolls back, and stops for good where the engine or the disk cannot be trusted.
    fn give_up(&mut self, fault: Fault) -> StoreError {
        self.paths.clear();
        let undone = if self.connection.is_autocommit() {
            Ok(()) // The engine rolled back by itself.
        } else {
            self.connection.execute_batch("ROLLBACK")
        };
        let (reason, fatal) = match fault {
            Fault::Refused(error) => (error.to_string(), true),
            Fault::Passing(reason) => (reason, undone.is_err()),
            Fault::Fatal(reason) => (reason, true),
        };
        if fatal {
            self.stop(&reason);
        }
        StoreError::Unavailable(reason)
    }

    fn stop(&self, reason: &str) {
        stop(&self.shared, self.on_fatal.as_ref(), reason);
    }

    /// Moves pages from the log to the file once there are many. The answers are out already, so an error here
    /// concerns only what comes later.
    fn checkpoint(&mut self) {
        if self.shared.stopped.get().is_some() {
            return;
        }
        let waiting = self
            .connection
            .query_one("PRAGMA wal_checkpoint(NOOP)", [], |row| Ok(row.get::<_, i64>(1)? - row.get::<_, i64>(2)?));
        let moved = waiting.and_then(|pages| {
            if pages < CHECKPOINT_PAGES {
                return Ok(());
            }
            self.connection.query_one("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
        });
        match moved.map_err(Fault::from) {
            // A full disk does not hurt the log; the next group tries again.
            Ok(()) | Err(Fault::Passing(_)) => {}
            Err(Fault::Refused(error)) => self.stop(&error.to_string()),
            Err(Fault::Fatal(reason)) => self.stop(&reason),
        }
    }
}

fn stop(shared: &Shared, on_fatal: Option<&FatalHook>, reason: &str) {
    if shared.stopped.set(reason.to_owned()).is_ok()
        && let Some(tell) = on_fatal
    {
        tell(reason);
    }
}

/// Says so when the thread ends by a panic, for example in the apply hook: memory and ledger may then disagree.
struct Watch {
    shared: Arc<Shared>,
    on_fatal: Option<FatalHook>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        if std::thread::panicking() {
            stop(&self.shared, self.on_fatal.as_ref(), "the writer ended by a panic");
        }
    }
}
