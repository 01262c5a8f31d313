//! When an issuer's keys are fetched: now and then, and at most once in a while because somebody showed a key that
//! nobody knows. No decision waits for it.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::sync::{Notify, Semaphore, watch};

use super::keys::KeySet;
use crate::clock::Clock;
use crate::domain::Timestamp;

/// A text that is on its way, or why it does not come.
pub type Fetching<'a> = Pin<Box<dyn Future<Output = Result<Vec<u8>, String>> + Send + 'a>>;

/// Gets the key set of an issuer from wherever it is. Must end within a deadline and a size of its own.
pub trait KeySource: Send + Sync {
    /// The key set of the issuer of this name, as it stands there now.
    fn fetch<'a>(&'a self, issuer: &'a str) -> Fetching<'a>;
}

/// Between two fetches because of unknown keys: whoever makes names up must not make us a flood for the issuer.
pub const UNKNOWN_KEY_INTERVAL: Duration = Duration::from_secs(30);
/// Until the next try where a fetch failed.
const RETRY: Duration = Duration::from_secs(10);
/// The longest that a question is held back for keys that are being fetched.
pub const KEYS_WAIT: Duration = Duration::from_secs(1);
/// Questions that are held back so for one issuer; more get their answer at once. So whoever makes key names up while an
/// issuer is slow cannot keep others from being answered.
pub(super) const MOST_WAITING: usize = 64;

/// How often one issuer's keys are fetched.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    pub(super) refresh: Duration,
    /// `None`: keys that were read once are believed until others come.
    pub(super) longest_stale: Option<Duration>,
}

/// The keys of one issuer, and how new they are.
pub(super) struct Renewal {
    pace: Pace,
    keys: ArcSwapOption<Fresh>,
    state: Mutex<State>,
    wanted: Notify,
    /// Counts finished fetches.
    rounds: watch::Sender<u64>,
    waiting: Arc<Semaphore>,
}

/// Keys, and when they were last fetched with success.
struct Fresh {
    keys: Arc<KeySet>,
    since: Timestamp,
}

#[derive(Default)]
struct State {
    /// When an unknown key last led to a fetch.
    asked: Option<Timestamp>,
    /// A fetch is wanted or under way.
    fetching: bool,
    fault: Option<String>,
}

impl Renewal {
    pub(super) fn new(pace: Pace) -> Self {
        let state = State { fetching: true, ..State::default() };
        Self {
            pace,
            keys: ArcSwapOption::empty(),
            state: Mutex::new(state),
            wanted: Notify::new(),
            rounds: watch::Sender::new(0),
            waiting: Arc::new(Semaphore::new(MOST_WAITING)),
        }
    }

    /// The keys that may be believed at this moment: none where they are too old.
    pub(super) fn keys(&self, now: Timestamp) -> Option<Arc<KeySet>> {
        self.with_keys(now, Arc::clone)
    }

    /// As [`Self::keys`], for a look at them.
    pub(super) fn with_keys<T>(&self, now: Timestamp, look: impl FnOnce(&Arc<KeySet>) -> T) -> Option<T> {
        let fresh = self.keys.load();
        let Fresh { keys, since } = fresh.as_deref()?;
        let age = Duration::from_millis(u64::try_from(now.0.saturating_sub(since.0)).unwrap_or(0));
        if self.pace.longest_stale.is_some_and(|longest| age > longest) {
            return None;
        }
        Some(look(keys))
    }

    /// Puts keys in the place of the earlier ones.
    pub(super) fn put(&self, keys: KeySet, now: Timestamp) {
        self.keys.store(Some(Arc::new(Fresh { keys: Arc::new(keys), since: now })));
    }

    /// Why the last fetch failed, where it did.
    pub(super) fn fault(&self) -> Option<String> {
        self.state().fault.clone()
    }

    /// Something that ends when newer keys may be there; `None` where none will be fetched so soon, or where many wait
    /// already. Ends within [`KEYS_WAIT`] in any case.
    pub(super) fn newer(&self, now: Timestamp) -> Option<impl Future<Output = ()> + Send + use<>> {
        let mut rounds = self.rounds.subscribe();
        let mut state = self.state();
        if !state.fetching {
            let interval = i64::try_from(UNKNOWN_KEY_INTERVAL.as_millis()).unwrap_or(i64::MAX);
            if state.asked.is_some_and(|asked| now.0.saturating_sub(asked.0) < interval) {
                return None;
            }
            state.asked = Some(now);
            state.fetching = true;
            self.wanted.notify_one();
        }
        drop(state);
        let turn = Arc::clone(&self.waiting).try_acquire_owned().ok()?;
        Some(async move {
            let _turn = turn;
            let _come_or_given_up = tokio::time::timeout(KEYS_WAIT, rounds.changed()).await;
        })
    }

    /// Fetches for ever: at once, then at its pace or when wanted. `read` makes keys of what comes.
    pub(super) async fn keep(
        &self,
        issuer: &str,
        source: &dyn KeySource,
        clock: &dyn Clock,
        read: impl Fn(&[u8]) -> Result<KeySet, String>,
    ) {
        loop {
            self.state().fetching = true;
            let outcome = source.fetch(issuer).await.and_then(|text| read(&text));
            let pause = match outcome {
                Ok(keys) => {
                    tracing::debug!(issuer, keys = keys.len(), "token keys fetched");
                    self.put(keys, clock.now());
                    self.state().fault = None;
                    self.pace.refresh
                }
                Err(cause) => {
                    let mut state = self.state();
                    if state.fault.as_ref() != Some(&cause) {
                        tracing::warn!(issuer, cause, "the keys of a token issuer cannot be renewed");
                    }
                    state.fault = Some(cause);
                    RETRY.min(self.pace.refresh)
                }
            };
            self.state().fetching = false;
            self.rounds.send_modify(|rounds| *rounds = rounds.wrapping_add(1));
            let _whichever = tokio::time::timeout(pause, self.wanted.notified()).await;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
