//! The one writer: it runs a group of transactions, commits all of them at once, tells the apply hook in revision order,
//! and answers. On which thread is the [`desk`](super::desk)'s affair.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rusqlite::Connection;

use super::FatalHook;
use super::faults::Fault;
use super::head::{self, Ledger};
use super::recent::{Claims, Recent};
use super::steps::{self, Known, Ran};
use super::tail;
use crate::store::{ApplyHook, Committed, Kind, StoreError, Transaction, limits};
use crate::telemetry::Stopwatch;

/// How many pages (32 MiB) may stand in the write-ahead log before they go to their places. Pages that many commits
/// write go there once; a start after a kill reads so many again, in well under a second.
const CHECKPOINT_PAGES: i64 = 8_000;
/// As long as others wait, so many (256 MiB) may stand there: a deactivation does not wait for the tidying up after a
/// large change.
const MOST_PAGES: i64 = 64_000;

/// Steps and members between looks at the length of the write-ahead log: the engine compiles that question anew each time.
const UNSEEN: usize = 64;
/// A group that takes so long, on average, is slow.
const QUICK: Duration = Duration::from_millis(1);

pub(super) type Answer = Result<Committed, StoreError>;

/// What the writer shares with the store's handle.
#[derive(Default)]
pub(super) struct Shared {
    /// Called after each commit, once it is set.
    pub(super) apply: OnceLock<ApplyHook>,
    /// Why nothing is acknowledged any more.
    pub(super) stopped: OnceLock<String>,
    /// How often each kind was written.
    pub(super) stamps: Stamps,
    /// The keys that stand in no table yet.
    pub(super) recent: Arc<Recent>,
}

/// A count for each kind of resource.
#[derive(Default)]
pub(super) struct Stamps([AtomicU64; Kind::ALL.len()]);

impl Stamps {
    /// See [`Store::stamp`](crate::store::Store::stamp).
    pub(super) fn of(&self, kind: Kind) -> u64 {
        self.0.get(kind as usize).map_or(0, |count| count.load(Ordering::Acquire))
    }

    fn count(&self, kind: Kind) {
        if let Some(count) = self.0.get(kind as usize) {
            count.fetch_add(1, Ordering::Release);
        }
    }
}

/// The writer's own state.
pub(super) struct Writer {
    connection: Connection,
    ledger: Ledger,
    known: Known,
    shared: Arc<Shared>,
    on_fatal: Option<FatalHook>,
    /// How long a group takes, the last ones weighing most.
    pace: Duration,
    /// The last group was of one.
    alone: bool,
    /// Steps and members since the length of the log was looked at.
    unseen: usize,
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
        let seal = |connection: &Connection| statement(connection, "COMMIT");
        // Not quick until it was seen to be.
        let (pace, alone, unseen) = (QUICK, false, 0);
        let known = Known::new(Claims::new(Arc::clone(&shared.recent), &ledger));
        Self { connection, ledger, known, shared, on_fatal, pace, alone, unseen, seal }
    }

    /// Writes a group, tells the apply hook of it, and answers in its order.
    pub(super) fn serve(&mut self, transactions: &[Transaction]) -> Vec<Answer> {
        let watch = Stopwatch::start();
        let answers = match self.write(transactions) {
            Ok(results) => results.into_iter().map(|result| self.settle(result)).collect(),
            Err(fault) => vec![Err(self.give_up(fault)); transactions.len()],
        };
        self.unseen += transactions.iter().map(limits::work).sum::<usize>();
        self.pace = (self.pace * 7 + watch.elapsed()) / 8;
        self.alone = transactions.len() == 1;
        answers
    }

    /// Whether a write is likely to be done soon and to have nobody beside it.
    pub(super) fn is_at_ease(&self) -> bool {
        self.alone && self.pace < QUICK && self.shared.stopped.get().is_none()
    }

    /// As if the last groups had been so; for tests.
    #[cfg(test)]
    pub(super) fn is_known_to_be(&mut self, quick: bool) {
        (self.alone, self.pace) = (quick, if quick { Duration::ZERO } else { QUICK });
    }

    /// Whether [`Self::tidy`] has anything to look at.
    pub(super) fn is_untidy(&self) -> bool {
        tail::length(&self.ledger) >= tail::LONGEST || self.unseen >= UNSEEN
    }

    /// What is done behind the answers, now and then: the tail is settled. Answers whether the log is long enough to be
    /// moved to the file.
    pub(super) fn tidy(&mut self, others_wait: bool) -> bool {
        self.settle_tail(if others_wait { tail::LONGEST_IN_A_RUSH } else { tail::LONGEST });
        if self.unseen < UNSEEN {
            return false;
        }
        self.unseen = 0;
        self.is_long(if others_wait { MOST_PAGES } else { CHECKPOINT_PAGES })
    }

    /// The last work before the end.
    pub(super) fn end(&mut self) {
        self.settle_tail(1);
        if self.shared.stopped.get().is_none() {
            // Best effort: the log is as good a home as the file, only slower to open.
            let _ = self.connection.query_one("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        }
    }

    /// Runs and commits a group. An error means that none of it happened, as far as anybody may be told.
    fn write(&mut self, transactions: &[Transaction]) -> Result<Vec<Result<Ran, StoreError>>, Fault> {
        if let Some(reason) = self.shared.stopped.get() {
            return Err(Fault::Fatal(reason.clone()));
        }
        // Refusals are rare, and savepoints cost a copy of each page that changes: the group runs without them first.
        match self.attempt(transactions, false) {
            Err(Fault::Refused(_)) => {
                self.known.return_to(&self.ledger);
                statement(&self.connection, "ROLLBACK")?;
                self.attempt(transactions, true)
            }
            done => done,
        }
    }

    /// Everybody's view must be what this process wrote.
    fn begin(&self) -> Result<(), Fault> {
        statement(&self.connection, "BEGIN IMMEDIATE")?;
        if head::read(&self.connection)? == self.ledger {
            Ok(())
        } else {
            Err(Fault::Fatal("the head row is not what this process wrote".to_owned()))
        }
    }

    /// A whole group in one transaction of the engine. Without `savepoints`, a refusal among several ends it.
    fn attempt(
        &mut self,
        transactions: &[Transaction],
        savepoints: bool,
    ) -> Result<Vec<Result<Ran, StoreError>>, Fault> {
        self.begin()?;
        let mut ledger = self.ledger;
        let mut results = Vec::with_capacity(transactions.len());
        for transaction in transactions {
            if savepoints {
                statement(&self.connection, "SAVEPOINT one")?;
            }
            let mut attempt = ledger;
            match steps::run(&self.connection, &mut self.known, &mut attempt, transaction) {
                Ok(ran) => {
                    ledger = attempt;
                    results.push(Ok(ran));
                }
                Err(Fault::Refused(error)) if savepoints || transactions.len() == 1 => {
                    // One alone needs no savepoint: where it is refused, nothing is committed.
                    if savepoints {
                        statement(&self.connection, "ROLLBACK TO one")?;
                    }
                    self.known.return_to(&ledger);
                    results.push(Err(error));
                }
                Err(fault) => return Err(fault),
            }
            if savepoints {
                statement(&self.connection, "RELEASE one")?;
            }
        }
        let noted = results.iter().any(|result| matches!(result, Ok(Ran::Noted(_))));
        if ledger.revision == self.ledger.revision && !noted {
            statement(&self.connection, "ROLLBACK")?;
        } else {
            head::write(&self.connection, &ledger)?;
            (self.seal)(&self.connection)?;
            self.stand_at(ledger);
        }
        Ok(results)
    }

    /// The ledger stands here from now on: this is committed.
    fn stand_at(&mut self, ledger: Ledger) {
        self.ledger = ledger;
        self.known.claims.publish(&ledger);
    }

    /// Settles what is newer than the head's marks, where there is at least so much of it. The answers are out already; where it
    /// fails, nothing is lost and the next group tries again.
    fn settle_tail(&mut self, least: u64) {
        if self.shared.stopped.get().is_some() || tail::length(&self.ledger) < least {
            return;
        }
        let mut ledger = self.ledger;
        let settled = self.begin().and_then(|()| {
            tail::settle(&self.connection, &mut ledger)?;
            head::write(&self.connection, &ledger)?;
            (self.seal)(&self.connection).map_err(Fault::from)
        });
        match settled {
            Ok(()) => self.stand_at(ledger),
            Err(fault) => drop(self.give_up(fault)),
        }
    }

    /// Tells the apply hook of what is new.
    fn settle(&self, result: Result<Ran, StoreError>) -> Answer {
        match result? {
            Ran::New { committed, changes, written } => {
                written.into_iter().for_each(|kind| self.shared.stamps.count(kind));
                if let Some(apply) = self.shared.apply.get() {
                    apply(committed.revision, &changes);
                }
                Ok(committed)
            }
            Ran::Repeated(committed) | Ran::Noted(committed) => Ok(committed),
        }
    }

    /// Rolls back, and stops for good where the engine or the disk cannot be trusted.
    fn give_up(&mut self, fault: Fault) -> StoreError {
        self.known.return_to(&self.ledger);
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

    /// Whether so many pages stand in the log and not in the file.
    fn is_long(&mut self, pages: i64) -> bool {
        if self.shared.stopped.get().is_some() {
            return false;
        }
        let waiting = self
            .connection
            .query_one("PRAGMA wal_checkpoint(NOOP)", [], |row| Ok(row.get::<_, i64>(1)? - row.get::<_, i64>(2)?));
        self.hear(waiting).is_some_and(|waiting| waiting >= pages)
    }

    /// Moves pages from the log to the file. The answers are out already, so an error here concerns only what comes later.
    pub(super) fn checkpoint(&mut self) {
        let moved = checkpoint(&self.connection);
        self.hear(moved);
    }

    /// What came of tidying up. A full disk does not hurt the log, and the next time tries again; on a disk that cannot be
    /// trusted nothing is acknowledged any more.
    pub(super) fn hear<T>(&mut self, done: rusqlite::Result<T>) -> Option<T> {
        match done.map_err(Fault::from) {
            Ok(done) => return Some(done),
            Err(Fault::Passing(_)) => {}
            Err(Fault::Refused(error)) => self.stop(&error.to_string()),
            Err(Fault::Fatal(reason)) => self.stop(&reason),
        }
        None
    }
}

/// Moves what stands in the log to the file, as far as no reader needs it. Other connections go on reading and writing.
pub(super) fn checkpoint(connection: &Connection) -> rusqlite::Result<()> {
    connection.query_one("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
}

/// Runs a statement without parameters or rows, compiled once.
fn statement(connection: &Connection, text: &str) -> rusqlite::Result<()> {
    connection.prepare_cached(text)?.execute([]).map(drop)
}

fn stop(shared: &Shared, on_fatal: Option<&FatalHook>, reason: &str) {
    if shared.stopped.set(reason.to_owned()).is_ok()
        && let Some(tell) = on_fatal
    {
        tell(reason);
    }
}

/// Says so when a write ends by a panic, for example in the apply hook: memory and ledger may then disagree.
pub(super) struct Watch {
    shared: Arc<Shared>,
    on_fatal: Option<FatalHook>,
}

impl Watch {
    pub(super) fn over(writer: &Writer) -> Self {
        Self { shared: Arc::clone(&writer.shared), on_fatal: writer.on_fatal.clone() }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if std::thread::panicking() {
            stop(&self.shared, self.on_fatal.as_ref(), "the writer ended by a panic");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use rusqlite::ffi;
    use tempfile::TempDir;

    use super::*;
    use crate::domain::Timestamp;
    use crate::store::sqlite::open;
    use crate::store::{Content, Kind, Step};

    /// A writer on this thread, and what its hooks were told.
    struct Bench {
        writer: Writer,
        applied: Arc<Mutex<Vec<u64>>>,
        fatal: Arc<Mutex<Vec<String>>>,
        folder: TempDir,
    }

    fn bench() -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let opened = open::open(folder.path(), Timestamp(0)).unwrap();
        let (applied, fatal) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(Vec::new())));
        let (heard, told) = (Arc::clone(&applied), Arc::clone(&fatal));
        let shared = Arc::new(Shared::default());
        let apply: ApplyHook = Arc::new(move |revision, _| heard.lock().unwrap().push(revision.number));
        assert!(shared.apply.set(apply).is_ok());
        let on_fatal: FatalHook = Arc::new(move |reason: &str| told.lock().unwrap().push(reason.to_owned()));
        let writer = Writer::new(opened.connection, opened.ledger, shared, Some(on_fatal));
        Bench { writer, applied, fatal, folder }
    }

    impl Bench {
        /// Serves one group of creations, each `operation` or `operation=id`, with documents of so many bytes.
        fn serve(&mut self, ids: &[&str], bytes: usize) -> Vec<Answer> {
            let create = |name: &&str| {
                let (operation, id) = name.split_once('=').unwrap_or((name, name));
                let content = Content { document: "x".repeat(bytes), ..Content::default() };
                let step = Step::Create { kind: Kind::User, id: id.into(), organization: String::new(), content };
                Transaction { operation: operation.into(), at: Timestamp(1), steps: vec![step] }
            };
            self.writer.serve(&ids.iter().map(create).collect::<Vec<_>>())
        }

        fn rows(&self) -> i64 {
            let other = open::open_reader(&self.folder.path().join(open::LEDGER)).unwrap();
            other.query_one("SELECT count(*) FROM change_log", [], |row| row.get(0)).unwrap()
        }
    }

    fn unavailable(answers: &[Answer]) -> bool {
        answers.iter().all(|answer| matches!(answer, Err(StoreError::Unavailable(_))))
    }

    #[test]
    fn a_group_is_one_commit_and_a_refusal_takes_nobody_along() {
        let mut bench = bench();
        bench.writer.seal = |connection| {
            let rows: i64 = connection.query_one("SELECT count(*) FROM change_log", [], |row| row.get(0))?;
            assert_eq!(rows, 3, "all of the group stand in one transaction");
            connection.execute_batch("COMMIT")
        };
        let answers = bench.serve(&["a", "b", "b", "c=a", "d"], 1);
        let revisions: Vec<_> =
            answers.iter().map(|answer| answer.as_ref().ok().map(|done| done.revision.number)).collect();
        assert_eq!(revisions, [Some(1), Some(2), Some(2), None, Some(3)], "an operation that comes twice happens once");
        assert_eq!(answers[3], Err(StoreError::Exists { kind: Kind::User, id: "a".into() }));
        assert_eq!(answers[4].as_ref().unwrap().outcomes[0].number, 3, "a refusal gives its number back");
        assert_eq!(*bench.applied.lock().unwrap(), [1, 2, 3]);
        assert_eq!(bench.rows(), 3);
    }

    #[test]
    fn a_full_disk_refuses_and_recovers() {
        let mut bench = bench();
        assert!(bench.serve(&["a"], 1)[0].is_ok());
        let pages: i64 = bench.writer.connection.query_one("PRAGMA page_count", [], |row| row.get(0)).unwrap();
        let limit = |bench: &Bench, pages: i64| {
            bench.writer.connection.query_one(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(())).unwrap();
        };
        limit(&bench, pages);
        assert!(unavailable(&bench.serve(&["b", "c"], 100_000)), "nobody of the group is told that it happened");
        assert_eq!((bench.rows(), bench.fatal.lock().unwrap().len()), (1, 0));
        limit(&bench, pages + 1_000);
        let revisions: Vec<_> =
            bench.serve(&["b", "c"], 100_000).into_iter().map(|it| it.unwrap().revision.number).collect();
        assert_eq!(revisions, [2, 3]);
        assert_eq!(*bench.applied.lock().unwrap(), [1, 2, 3]);
    }

    #[test]
    fn an_error_of_the_disk_ends_acknowledging() {
        let mut bench = bench();
        let commit = bench.writer.seal;
        assert!(bench.serve(&["a"], 1)[0].is_ok());
        bench.writer.seal = |_| {
            let code = ffi::Error::new(ffi::SQLITE_IOERR_FSYNC);
            Err(rusqlite::Error::SqliteFailure(code, Some("disk I/O error".to_owned())))
        };
        assert!(unavailable(&bench.serve(&["b", "c"], 1)));
        bench.writer.seal = commit;
        assert!(unavailable(&bench.serve(&["d"], 1)), "a later success could be a lie");
        assert_eq!(*bench.fatal.lock().unwrap(), ["disk I/O error"], "told once");
        assert_eq!((bench.applied.lock().unwrap().clone(), bench.rows()), (vec![1], 1));
    }

    #[test]
    fn the_log_is_moved_into_the_file_when_it_is_long() {
        let mut bench = bench();
        let waiting = |bench: &Bench| {
            let read = |row: &rusqlite::Row<'_>| Ok(row.get::<_, i64>(1)? - row.get::<_, i64>(2)?);
            bench.writer.connection.query_one("PRAGMA wal_checkpoint(NOOP)", [], read).unwrap()
        };
        for turn in 0..3 {
            assert!(bench.serve(&[&format!("id-{turn}")], 500_000)[0].is_ok());
        }
        let pages = waiting(&bench);
        assert!(!bench.writer.is_long(pages + 1) && bench.writer.is_long(pages));
        bench.writer.checkpoint();
        assert_eq!(waiting(&bench), 0);
    }
}
