//! Who does a write, and on which thread.
//!
//! Waking a thread and being woken by it costs as much as a third of a commit on a quick disk. So whoever brings a small
//! write while nobody else writes or waits does it where it stands. All others stand in a queue; the desk's own thread
//! takes everybody who waits at once and commits them together. Where commits are slow, where several writers meet, and
//! where the runtime has no other worker to go on with everybody else's work, it is always that thread.

use std::sync::{Arc, Mutex, TryLockError};
use std::thread::JoinHandle;

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::readers::has_spare_workers;
use super::writer::{Answer, Shared, Watch, Writer, checkpoint};
use crate::store::{StoreError, Transaction, limits};

/// Most transactions that may wait; whoever comes later waits before the queue.
const QUEUE: usize = 1024;
/// Most transactions in one commit.
const GROUP: usize = 256;
/// A transaction that does more than this is committed alone: within a savepoint the engine's undo list is walked once
/// for each statement, which is quadratic in the size of the transaction.
const HEAVY: usize = 256;

/// What the desk's thread is asked for.
enum Job {
    Write(Request),
    /// Somebody wrote without it, and there is something to tidy up.
    Tidy,
}

/// A transaction and who waits for it.
struct Request {
    transaction: Transaction,
    answer: oneshot::Sender<Answer>,
}

/// The desk. Dropping it lets the thread finish what waits.
pub(super) struct Desk {
    queue: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    writer: Arc<Mutex<Writer>>,
    shared: Arc<Shared>,
}

impl Desk {
    /// Opens it, with its thread, which moves the log to the file by a connection of its own.
    pub(super) fn open(writer: Writer, mover: Connection, shared: Arc<Shared>) -> std::io::Result<Self> {
        let (queue, waiting) = mpsc::channel(QUEUE);
        let writer = Arc::new(Mutex::new(writer));
        let own = Arc::clone(&writer);
        let thread =
            std::thread::Builder::new().name("ledger-writer".to_owned()).spawn(move || run(&own, &mover, waiting))?;
        Ok(Self { queue: Some(queue), thread: Some(thread), writer, shared })
    }

    /// Writes, and answers once the commit is durable and the apply hook has run.
    pub(super) async fn commit(&self, transaction: Transaction) -> Answer {
        let queue = self.queue.as_ref().filter(|_| self.shared.stopped.get().is_none());
        let queue = queue.ok_or_else(|| self.stopped())?;
        if has_spare_workers()
            && let Some(answer) = self.write_here(queue, &transaction)
        {
            return answer;
        }
        let (answer, answered) = oneshot::channel();
        queue.send(Job::Write(Request { transaction, answer })).await.map_err(|_| self.stopped())?;
        answered.await.unwrap_or_else(|_| Err(self.stopped()))
    }

    /// Writes on this thread, where that is no wait for anybody.
    fn write_here(&self, queue: &mpsc::Sender<Job>, transaction: &Transaction) -> Option<Answer> {
        if queue.capacity() < queue.max_capacity() || !limits::is_light(transaction) {
            return None;
        }
        let mut writer = match self.writer.try_lock() {
            Ok(writer) => writer,
            // Where a write panicked, the queue's end says so.
            Err(TryLockError::WouldBlock | TryLockError::Poisoned(_)) => return None,
        };
        if !writer.is_at_ease() {
            return None;
        }
        let watch = Watch::over(&writer);
        let answer = writer.serve(std::slice::from_ref(transaction)).pop();
        drop(watch);
        let untidy = writer.is_untidy();
        drop(writer);
        if untidy {
            // A full queue has the thread at work, which tidies up after each group.
            let _ = queue.try_send(Job::Tidy);
        }
        answer
    }

    fn stopped(&self) -> StoreError {
        let reason = self.shared.stopped.get().map_or("the writer has ended", String::as_str);
        StoreError::Unavailable(reason.to_owned())
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            // A panic of the writer was told when it happened.
            let _ = thread.join();
        }
    }
}

/// Serves until the last sender is gone.
fn run(desk: &Mutex<Writer>, mover: &Connection, mut queue: mpsc::Receiver<Job>) {
    let mut kept = None;
    while let Some(first) = kept.take().or_else(|| queue.blocking_recv()) {
        // Where a write panicked elsewhere, nothing is acknowledged any more: whoever waits hears it when the queue goes.
        let Ok(mut writer) = desk.lock() else { return };
        let mut group = Vec::new();
        let mut next = Some(first);
        while let Some(job) = next {
            match job {
                Job::Tidy => {}
                Job::Write(request) if !group.is_empty() && is_heavy(&request) => {
                    kept = Some(Job::Write(request));
                    break;
                }
                Job::Write(request) => group.push(request),
            }
            let full = group.len() >= GROUP || group.iter().any(is_heavy);
            next = if full { None } else { queue.try_recv().ok() };
        }
        let watch = Watch::over(&writer);
        let (transactions, waiting): (Vec<_>, Vec<_>) =
            group.into_iter().map(|request| (request.transaction, request.answer)).unzip();
        if !transactions.is_empty() {
            for (waiting, answer) in waiting.into_iter().zip(writer.serve(&transactions)) {
                // Whoever went away does not hear it; the commit stands.
                let _ = waiting.send(answer);
            }
        }
        if writer.tidy(kept.is_some() || !queue.is_empty()) {
            // Most of it while others write, and then the rest without them, so that the log begins anew.
            drop(writer);
            let moved = checkpoint(mover);
            let Ok(mut writer) = desk.lock() else { return };
            if writer.hear(moved).is_some() {
                writer.checkpoint();
            }
        }
        drop(watch);
    }
    if let Ok(mut writer) = desk.lock() {
        let watch = Watch::over(&writer);
        writer.end();
        drop(watch);
    }
}

fn is_heavy(request: &Request) -> bool {
    limits::work(&request.transaction) > HEAVY
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::domain::Timestamp;
    use crate::store::sqlite::open;
    use crate::store::{ApplyHook, Content, Kind, Step};

    /// A desk whose hook is this, and what its fatal hook was told.
    fn desk(apply: ApplyHook) -> (Desk, Arc<Mutex<Vec<String>>>, TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let opened = open::open(folder.path(), Timestamp(0)).unwrap();
        let fatal = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&fatal);
        let shared = Arc::new(Shared::default());
        assert!(shared.apply.set(apply).is_ok());
        let on_fatal: super::super::FatalHook =
            Arc::new(move |reason: &str| told.lock().unwrap().push(reason.to_owned()));
        let writer = Writer::new(opened.connection, opened.ledger, Arc::clone(&shared), Some(on_fatal));
        let mover = open::open_mover(&opened.file).unwrap();
        (Desk::open(writer, mover, shared).unwrap(), fatal, folder)
    }

    fn create(id: &str) -> Transaction {
        let step = Step::Create {
            kind: Kind::User,
            id: id.to_owned(),
            organization: String::new(),
            content: Content::default(),
        };
        Transaction { operation: id.to_owned(), at: Timestamp(1), steps: vec![step] }
    }

    fn threads() -> (ApplyHook, Arc<Mutex<Vec<Option<String>>>>) {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&seen);
        let hook: ApplyHook = Arc::new(move |_, _| {
            heard.lock().unwrap().push(std::thread::current().name().map(str::to_owned));
        });
        (hook, seen)
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn whoever_is_alone_writes_where_it_stands_once_the_disk_is_known_to_be_quick() {
        let (hook, seen) = threads();
        let (desk, _, _folder) = desk(hook);
        let is_own = |name: &Option<String>| name.as_deref() == Some("ledger-writer");
        assert_eq!(desk.commit(create("a")).await.unwrap().revision.number, 1);
        assert!(seen.lock().unwrap().iter().all(is_own), "nothing is known of the disk yet");
        desk.writer.lock().unwrap().is_known_to_be(true);
        assert_eq!(desk.commit(create("b")).await.unwrap().revision.number, 2);
        assert!(!is_own(&seen.lock().unwrap()[1]));
        desk.writer.lock().unwrap().is_known_to_be(false);
        assert_eq!(desk.commit(create("c")).await.unwrap().revision.number, 3);
        assert!(is_own(&seen.lock().unwrap()[2]));
    }

    #[tokio::test]
    async fn a_runtime_of_one_worker_never_waits_for_the_disk() {
        let (hook, seen) = threads();
        let (desk, _, _folder) = desk(hook);
        for id in ["a", "b", "c"] {
            desk.writer.lock().unwrap().is_known_to_be(true);
            desk.commit(create(id)).await.unwrap();
        }
        assert!(seen.lock().unwrap().iter().all(|name| name.as_deref() == Some("ledger-writer")));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_panic_of_the_hook_is_told_and_not_acknowledged_wherever_it_happens() {
        for here in [false, true] {
            let (desk, fatal, _folder) = desk(Arc::new(|_, _| panic!("on purpose")));
            desk.writer.lock().unwrap().is_known_to_be(here);
            let desk = Arc::new(desk);
            let writing = Arc::clone(&desk);
            let first = tokio::spawn(async move { writing.commit(create("a")).await }).await;
            assert!(first.map_or(true, |answer| answer.is_err()), "here: {here}");
            assert!(desk.commit(create("b")).await.is_err(), "nothing is acknowledged any more");
            assert_eq!(*fatal.lock().unwrap(), ["the writer ended by a panic"]);
        }
    }
}
