//! Bundles in and out of service: loaded aside, tried by their own cases, swapped whole.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use tokio::sync::oneshot;

use super::StartError;
use crate::authz::{diff, trial, usage};
use crate::clock::Sources;
use crate::directory::Directory;
use crate::domain::{Change, Revision};
use crate::policy::{Bundle, Diagnostic, Live, Source};
use crate::telemetry::Metrics;

pub use crate::authz::diff::{AccessChange, Difference, Names, Place};
pub use crate::authz::matrix::{Access, Matrix, Row, matrix};
pub use crate::authz::trial::{Trial, run_watched};

/// Runs a bundle's own cases on it.
pub fn run_cases(bundle: &Arc<Bundle>) -> Vec<Trial> {
    trial::run(bundle, bundle.cases())
}

/// The folder that was named, `./policies` where it stands, or the built-in bundle.
pub fn source(folder: Option<&Path>) -> Source {
    let here = Path::new("policies");
    match folder.or_else(|| here.is_dir().then_some(here)) {
        Some(folder) => Source::Folder(folder.to_path_buf()),
        None => Source::Shipped,
    }
}

/// Loads a bundle and runs its own cases on it.
pub fn load_and_try(source: &Source) -> Result<Arc<Bundle>, StartError> {
    let bundle = Bundle::load(source).map_err(|faults| StartError::Policies(source.clone(), faults))?;
    let bundle = Arc::new(bundle);
    let failed: Vec<String> =
        (trial::run(&bundle, bundle.cases()).iter()).filter(|trial| !trial.faults.is_empty()).map(describe).collect();
    if failed.is_empty() { Ok(bundle) } else { Err(StartError::PolicyTests(source.clone(), failed.join("\n"))) }
}

/// Compares two bundles on people and accounts (JSON lines, as `cedargate policy people` writes them), or on made-up
/// ones.
pub fn compare(old: &Arc<Bundle>, new: &Arc<Bundle>, people: Option<&str>) -> Result<Difference, String> {
    let directory = people.map_or_else(|| Ok(diff::made_up(old, new)), everybody)?;
    diff::compare(old, new, &Arc::new(directory), &Sources::system()).map_err(|failure| failure.to_string())
}

/// Roles, products and names that only one of the bundle and these people and accounts knows.
pub fn unused(bundle: &Bundle, people: &str) -> Result<Vec<Diagnostic>, String> {
    Ok(usage::unused(bundle, &everybody(people)?))
}

/// The people and accounts of JSON lines.
fn everybody(lines: &str) -> Result<Directory, String> {
    let mut changes: Vec<Change> = Vec::new();
    for (at, line) in lines.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let change = serde_json::from_str(line);
        changes.push(
            change
                .map_err(|error| format!("line {} is not as `cedargate policy people` writes it: {error}", at + 1))?,
        );
    }
    let directory = Directory::empty();
    directory.apply(Revision { epoch: 1, number: 1 }, &changes);
    Ok(directory)
}

/// A failed case in a line.
pub fn describe(trial: &Trial) -> String {
    format!("{}: {}: {}", trial.file, trial.name, trial.faults.join("; "))
}

/// A bundle that was loaded, or why not, with the fingerprint that its files had before.
type Loaded = (String, Result<Arc<Bundle>, StartError>);

/// Loads bundles, all on one thread that stays. An allocator gives each thread memory of its own, and what a load takes
/// for its time would stay with every thread that ever made one.
#[derive(Default)]
struct Loader(Mutex<Option<mpsc::Sender<Job>>>);

/// What to load, and whom to tell.
type Job = (Source, oneshot::Sender<Loaded>);

impl Loader {
    /// `None` where loading broke off.
    async fn load(&self, source: Source) -> Option<Loaded> {
        let (tell, loaded) = oneshot::channel();
        self.hand_over((source, tell))?;
        loaded.await.ok()
    }

    /// To the thread; it is made when first needed, and anew after one that broke off.
    fn hand_over(&self, job: Job) -> Option<()> {
        let mut thread = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let job = match &*thread {
            None => job,
            Some(jobs) => match jobs.send(job) {
                Ok(()) => return Some(()),
                Err(mpsc::SendError(job)) => job,
            },
        };
        let (jobs, waiting) = mpsc::channel::<(Source, oneshot::Sender<Loaded>)>();
        let work = move || {
            for (source, tell) in waiting {
                let _gone = tell.send(at_rest(|| source.fingerprint(), || load_and_try(&source)));
            }
        };
        std::thread::Builder::new().name("policies".to_owned()).spawn(work).ok()?;
        jobs.send(job).ok()?;
        *thread = Some(jobs);
        Some(())
    }
}

/// How often files are read again that changed meanwhile. Where they never rest, the last reading counts.
const AGAIN: usize = 3;

/// Reads files between two looks at them that say the same: an editor may have emptied one to write it anew. Answers the
/// look before the reading, so that a later edit is seen as one.
fn at_rest<T>(look: impl Fn() -> String, read: impl Fn() -> T) -> (String, T) {
    let mut before = look();
    let mut found = read();
    for _ in 0..AGAIN {
        let after = look();
        if after == before {
            break;
        }
        (before, found) = (after, read());
    }
    (before, found)
}

/// Swaps bundles: the last good one stays where the newer one is refused.
pub struct Reloader {
    source: Source,
    loader: Loader,
    live: Arc<Live>,
    metrics: Arc<Metrics>,
    refusal: Mutex<Option<String>>,
    /// The files that were looked at last, in service or refused.
    looked_at: Mutex<String>,
    /// One reload at a time.
    turn: tokio::sync::Mutex<()>,
}

impl Reloader {
    pub(super) fn new(source: Source, live: Arc<Live>, metrics: Arc<Metrics>) -> Self {
        let looked_at = Mutex::new(live.serving().bundle.id().to_string());
        let (loader, refusal, turn) = (Loader::default(), Mutex::new(None), tokio::sync::Mutex::new(()));
        Self { source, loader, live, metrics, refusal, looked_at, turn }
    }

    /// The bundle in service.
    pub(super) fn serving(&self) -> Arc<Bundle> {
        Arc::clone(&self.live.serving().bundle)
    }

    /// Why the newest files are not in service, where they are not.
    pub(super) fn last_refusal(&self) -> Result<(), String> {
        match &*self.refusal.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(why) => Err(format!("serving {}; the newer files are refused: {why}", self.serving().id())),
            None => Ok(()),
        }
    }

    /// Loads the files anew: the id of the bundle now in service, or why the one before stays.
    pub(super) async fn reload(&self) -> Result<String, String> {
        let _turn = self.turn.lock().await;
        let outcome = match self.loader.load(self.source.clone()).await {
            Some((fingerprint, loaded)) => {
                // Taken before the files were read: a later edit is then seen as one.
                *self.looked_at.lock().unwrap_or_else(PoisonError::into_inner) = fingerprint;
                loaded.map_err(|error| error.to_string())
            }
            None => Err("loading broke off; the log says more".to_owned()),
        };
        let mut refusal = self.refusal.lock().unwrap_or_else(PoisonError::into_inner);
        match outcome {
            Ok(bundle) => {
                let before = self.serving();
                tracing::info!(before = %before.id(), bundle = %bundle.id(), "policies in service");
                self.metrics.policy_bundle(Arc::clone(bundle.id()));
                let id = bundle.id().to_string();
                self.live.swap(bundle);
                self.metrics.policy_reload(false);
                *refusal = None;
                Ok(id)
            }
            Err(why) => {
                tracing::error!(why, "the newer policies are refused; the last good ones stay in service");
                self.metrics.policy_reload(true);
                *refusal = Some(why.clone());
                Err(why)
            }
        }
    }
}

/// Reloads at every SIGHUP, for ever.
pub(super) async fn reload_on_hangup(reloader: Arc<Reloader>) {
    let hangup = tokio::signal::unix::SignalKind::hangup();
    let Ok(mut signals) = tokio::signal::unix::signal(hangup) else { return };
    while signals.recv().await.is_some() {
        // The outcome is in the log, in the metrics and in `/readyz`.
        let _told = reloader.reload().await;
    }
}

/// Time without a change after which an edit counts as finished.
const QUIET: Duration = Duration::from_millis(150);
/// An edit that never gets quiet is looked at after this many such times.
const MOST_QUIETS: u32 = 20;

impl Reloader {
    /// Reloads where the files are others than those looked at last.
    async fn reload_if_changed(&self) {
        let source = self.source.clone();
        let Ok(now) = tokio::task::spawn_blocking(move || source.fingerprint()).await else { return };
        if *self.looked_at.lock().unwrap_or_else(PoisonError::into_inner) != now {
            // The outcome is in the log, in the metrics and in `/readyz`.
            let _told = self.reload().await;
        }
    }
}

/// Reloads whenever the folder changes and has become quiet, for ever: told by the file system, and found by comparing
/// contents at every `poll`. A built-in bundle never changes.
pub(super) async fn reload_on_change(reloader: Arc<Reloader>, poll: Duration) {
    let Source::Folder(folder) = reloader.source.clone() else { return };
    let (tell, mut told) = tokio::sync::mpsc::channel::<()>(1);
    let watcher = watch(&folder, tell);
    if let Err(error) = &watcher {
        tracing::warn!(%error, folder = %folder.display(), "the folder cannot be watched; it is compared from time to time");
    }
    loop {
        let changed = tokio::time::timeout(poll, told.recv()).await;
        if let Ok(None) = changed {
            // Nobody will tell any more: the poll goes on.
            tokio::time::sleep(poll).await;
        }
        if let Ok(Some(())) = changed {
            for _ in 0..MOST_QUIETS {
                if tokio::time::timeout(QUIET, told.recv()).await.is_err() {
                    break;
                }
            }
        }
        reloader.reload_if_changed().await;
    }
}

/// Tells of every change below the folder; one unread word is enough.
fn watch(folder: &Path, tell: tokio::sync::mpsc::Sender<()>) -> notify::Result<notify::RecommendedWatcher> {
    use notify::Watcher as _;
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        if event.is_ok_and(|event| !event.kind.is_access()) {
            let _unread = tell.try_send(());
        }
    })?;
    watcher.watch(folder, notify::RecursiveMode::Recursive)?;
    Ok(watcher)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// What each look says, and which reading counts.
    fn read_while(looks: &[&str]) -> (String, usize) {
        let (look, reading) = (Cell::new(0), Cell::new(0));
        let next = |count: &Cell<usize>| count.replace(count.get() + 1);
        at_rest(|| (*looks.get(next(&look)).unwrap_or(&"never")).to_owned(), || next(&reading))
    }

    #[test]
    fn files_that_change_while_they_are_read_are_read_again() {
        assert_eq!(read_while(&["a", "a"]), ("a".to_owned(), 0));
        assert_eq!(read_while(&["a", "b", "b"]), ("b".to_owned(), 1));
        assert_eq!(read_while(&["a", "b", "c", "d", "e", "f"]), ("d".to_owned(), AGAIN), "at rest or not");
    }
}
