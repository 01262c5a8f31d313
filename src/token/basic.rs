//! HTTP Basic (RFC 7617): a username and a password to whether they hold, and for how long that is remembered.
//!
//! Working a password out takes tens of milliseconds, so a question waits for [`Passwords::prepare`] first; the
//! decision then only looks at what was found ([`Passwords::holds`]). What was found belongs to one state of the
//! person: any change of them ends it. Knows neither store nor directory: both are told by the caller.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use moka::sync::Cache;
use tokio::sync::{Semaphore, watch};

use super::CredentialFault;
use super::password::{Password, PasswordHashes};
use crate::clock::Random;
use crate::domain::{Number, Timestamp, fold};

/// Bytes of a username.
const LONGEST_NAME: usize = 320;
/// Base64 of the longest username, a colon and the longest password.
const LONGEST: usize = (LONGEST_NAME + 1 + Password::LONGEST).div_ceil(3) * 4;
/// How long, in milliseconds, a success is remembered.
const REMEMBERED: i64 = 5 * 60 * 1000;
/// Successes remembered.
const MOST_REMEMBERED: u64 = 10_000;
/// Failures are counted over this many milliseconds.
const WINDOW: i64 = 60 * 1000;
/// Failures of one username from one address within the window.
const MOST_OF_NAME: u32 = 10;
/// Failures of all usernames from one address within the window.
const MOST_OF_PEER: u32 = 600;
/// Questions that wait for a password which somebody else's question is having compared; more are refused.
const MOST_WAITING: usize = 1_000;
/// How often it is looked whether anybody has a password by now.
const LOOK: Duration = Duration::from_secs(30);
/// Counters of failures; when all are taken, nobody new may try until some have ended.
const MOST_COUNTERS: usize = 20_000;

/// Username and password of an `Authorization` header.
#[derive(Clone)]
pub struct Basic {
    /// As it was sent.
    pub username: String,
    password: Password,
}

impl Basic {
    /// Reads a header. `None` for another scheme; within this one, a fault where it is not in its one form or too long.
    pub fn read(header: &str) -> Option<Result<Self, CredentialFault>> {
        let (scheme, rest) = header.split_once(' ')?;
        scheme.eq_ignore_ascii_case("basic").then(|| Self::decode(rest.trim_start_matches(' ')))
    }

    fn decode(text: &str) -> Result<Self, CredentialFault> {
        const UNREADABLE: CredentialFault = CredentialFault::UnreadableBasic;
        if text.len() > LONGEST {
            return Err(UNREADABLE);
        }
        let text = String::from_utf8(STANDARD.decode(text).map_err(|_| UNREADABLE)?).map_err(|_| UNREADABLE)?;
        let (username, password) = text.split_once(':').ok_or(UNREADABLE)?;
        let password = Password::new(password.to_owned());
        let fits = !username.is_empty() && username.len() <= LONGEST_NAME && password.fits();
        if !fits || text.chars().any(char::is_control) {
            return Err(UNREADABLE);
        }
        Ok(Self { username: username.to_owned(), password })
    }
}

/// The person whom a username means, at one state of the directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The store's number.
    pub number: Number,
    /// The revision that last changed the person.
    pub revision: u64,
    /// The SCIM id.
    pub id: String,
    /// Whether they have the access method `api`; nobody else has use for a password here.
    pub api: bool,
}

/// What a [`PasswordSource`] answers in its own time.
pub type Fetched<'a, T> = Pin<Box<dyn Future<Output = Result<T, String>> + Send + 'a>>;

/// Where hashes of passwords are kept.
pub trait PasswordSource: Send + Sync {
    /// Whether anybody has ever had one.
    fn any(&self) -> Fetched<'_, bool>;

    /// The hash of one person's, by SCIM id; `None` where there is none.
    fn hash<'a>(&'a self, id: &'a str) -> Fetched<'a, Option<String>>;
}

/// Passwords of people, compared with what is kept.
#[derive(Clone, Default)]
pub struct Passwords(Option<Arc<Inner>>);

struct Inner {
    source: Arc<dyn PasswordSource>,
    hashes: PasswordHashes,
    nobody: String,
    /// Of the digests below; drawn at the start, kept nowhere.
    key: [u8; 32],
    remembered: Cache<[u8; 32], Timestamp>,
    failures: Mutex<HashMap<[u8; 32], Failures>>,
    /// Passwords that are being compared at this moment. What is waited for never comes: it ends.
    flights: Mutex<HashMap<[u8; 32], watch::Receiver<()>>>,
    waiting: Semaphore,
    /// Anybody has ever had a password.
    in_use: AtomicBool,
}

#[derive(Clone, Copy)]
struct Failures {
    since: Timestamp,
    count: u32,
}

impl Passwords {
    /// Compares with the hashes of this source. Without one ([`Self::default`]) nobody has a password.
    pub fn new(source: Arc<dyn PasswordSource>, random: &Arc<dyn Random>) -> Self {
        let hashes = PasswordHashes::new(Arc::clone(random));
        let mut key = [0; 32];
        random.fill(&mut key);
        Self(Some(Arc::new(Inner {
            source,
            nobody: hashes.of_nobody(),
            hashes,
            key,
            remembered: Cache::new(MOST_REMEMBERED),
            failures: Mutex::default(),
            flights: Mutex::default(),
            waiting: Semaphore::new(MOST_WAITING),
            in_use: AtomicBool::new(false),
        })))
    }

    /// Finds out whether a password holds, and remembers it if so. Takes as long whether the username means somebody
    /// or not. `peer` is where the question came from. Questions that show the same password at once share one comparison.
    pub async fn prepare(&self, basic: &Basic, holder: Option<&Holder>, peer: Option<IpAddr>, now: Timestamp) {
        let Some(inner) = &self.0 else { return };
        if holder.is_some_and(|holder| inner.holds(basic, holder.number, holder.revision, now)) {
            return;
        }
        let Ok(_turn) = inner.waiting.try_acquire() else {
            tracing::debug!(?peer, "too many questions wait for passwords; one more was not looked at");
            return;
        };
        let mut ended = inner.compare(basic, holder, peer, now);
        let _closed = ended.changed().await;
    }

    /// Whether anybody is known to have had a password: then it is worth saying that one may be shown.
    pub fn in_use(&self) -> bool {
        self.0.as_ref().is_some_and(|inner| inner.in_use.load(Ordering::Relaxed))
    }

    /// Looks now and then whether anybody has one, until somebody has.
    pub async fn keep_looking(self) {
        let Some(inner) = &self.0 else { return };
        loop {
            match inner.anybody().await {
                Ok(true) => return,
                Ok(false) => {}
                Err(cause) => tracing::warn!(cause, "it cannot be told whether anybody has a password"),
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Whether the password was found to hold for this state of the person.
    ///
    /// # Errors
    /// Where it was not, for whatever reason: which one is nobody's business but the person's.
    pub fn holds(&self, basic: &Basic, person: Option<(Number, u64)>, now: Timestamp) -> Result<(), CredentialFault> {
        let Some(inner) = &self.0 else { return Err(CredentialFault::NotBearer) };
        if person.is_some_and(|(number, revision)| inner.holds(basic, number, revision, now)) {
            return Ok(());
        }
        Err(if self.in_use() { CredentialFault::WrongPassword } else { CredentialFault::NotBearer })
    }
}

impl Inner {
    /// Begins to compare on a task of its own, which ends whether anybody still waits for it or not; or joins whoever
    /// has begun with the same.
    fn compare(
        self: &Arc<Self>,
        basic: &Basic,
        holder: Option<&Holder>,
        peer: Option<IpAddr>,
        now: Timestamp,
    ) -> watch::Receiver<()> {
        let (number, revision) = holder.map_or((0, 0), |holder| (holder.number, holder.revision));
        // With the place, so that nobody's failures are counted for another.
        let counters = self.counters(basic, peer);
        let key = *blake3::Hasher::new_keyed(&counters[0].0)
            .update(&self.digest(basic, number, revision))
            .finalize()
            .as_bytes();
        let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(under_way) = flights.get(&key) {
            return under_way.clone();
        }
        let (end, ended) = watch::channel(());
        flights.insert(key, ended.clone());
        let landing = Landing { inner: Arc::clone(self), key, _end: end };
        let (basic, holder) = (basic.clone(), holder.cloned());
        tokio::spawn(async move {
            landing.inner.look(&basic, holder.as_ref(), &counters, peer, now).await;
        });
        ended
    }

    async fn look(
        &self,
        basic: &Basic,
        holder: Option<&Holder>,
        counters: &[([u8; 32], u32); 2],
        peer: Option<IpAddr>,
        now: Timestamp,
    ) {
        if !self.admits(counters, now) {
            tracing::debug!(?peer, "too many wrong passwords; one more was not looked at");
            return;
        }
        match self.verify(basic, holder).await {
            Ok(true) => {}
            Ok(false) => return,
            Err(cause) => {
                tracing::warn!(cause, "a password could not be compared; nobody is let in by it");
                self.forgive(counters);
                return;
            }
        }
        self.forgive(counters);
        if let Some(holder) = holder {
            self.remembered.insert(self.digest(basic, holder.number, holder.revision), now);
        }
    }

    /// Whether anybody has ever had a password; once somebody has, nobody asks any more.
    async fn anybody(&self) -> Result<bool, String> {
        let known = self.in_use.load(Ordering::Relaxed) || self.source.any().await?;
        self.in_use.store(known, Ordering::Relaxed);
        Ok(known)
    }

    async fn verify(&self, basic: &Basic, holder: Option<&Holder>) -> Result<bool, String> {
        if !self.anybody().await? {
            return Ok(false);
        }
        // Nobody's id is looked up, too: so that everybody takes the same way.
        let stored = self.source.hash(holder.map_or("", |holder| &holder.id)).await?;
        let known = stored.is_some() && holder.is_some_and(|holder| holder.api);
        let hash = stored.unwrap_or_else(|| self.nobody.clone());
        let matches = self.hashes.verify(hash, basic.password.clone()).await.map_err(|busy| busy.to_string())?;
        Ok(matches && known)
    }

    fn holds(&self, basic: &Basic, number: Number, revision: u64, now: Timestamp) -> bool {
        let found = self.remembered.get(&self.digest(basic, number, revision));
        found.is_some_and(|at| (0..REMEMBERED).contains(&(now.0 - at.0)))
    }

    /// Of the password and of the state of the person that it was compared at.
    fn digest(&self, basic: &Basic, number: Number, revision: u64) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(&number.to_be_bytes());
        hasher.update(&revision.to_be_bytes());
        hasher.update(&(basic.username.len() as u64).to_be_bytes());
        hasher.update(basic.username.as_bytes());
        hasher.update(basic.password.bytes());
        *hasher.finalize().as_bytes()
    }

    /// The counters of this username from this address, and of the address, each with its limit.
    fn counters(&self, basic: &Basic, peer: Option<IpAddr>) -> [([u8; 32], u32); 2] {
        let mut of_peer = blake3::Hasher::new_keyed(&self.key);
        of_peer.update(peer.map_or_else(String::new, |peer| peer.to_canonical().to_string()).as_bytes());
        let mut of_name = of_peer.clone();
        of_name.update(b" ");
        of_name.update(fold(&basic.username).as_bytes());
        [(*of_name.finalize().as_bytes(), MOST_OF_NAME), (*of_peer.finalize().as_bytes(), MOST_OF_PEER)]
    }

    /// Counts a try as a failure until it succeeds, so that many at once are no way around.
    fn admits(&self, counters: &[([u8; 32], u32); 2], now: Timestamp) -> bool {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let ended = |failures: &Failures| !(0..WINDOW).contains(&(now.0 - failures.since.0));
        let within = |(key, most): &([u8; 32], u32)| {
            failures.get(key).is_none_or(|failures| ended(failures) || failures.count < *most)
        };
        if !counters.iter().all(within) {
            return false;
        }
        if failures.len() + counters.len() > MOST_COUNTERS {
            failures.retain(|_, failures| !ended(failures));
            if failures.len() + counters.len() > MOST_COUNTERS {
                return false;
            }
        }
        for (key, _) in counters {
            let counter = failures.entry(*key).or_insert(Failures { since: now, count: 0 });
            if ended(counter) {
                *counter = Failures { since: now, count: 0 };
            }
            counter.count += 1;
        }
        true
    }

    fn forgive(&self, counters: &[([u8; 32], u32); 2]) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        for (key, _) in counters {
            if let Some(counter) = failures.get_mut(key) {
                counter.count = counter.count.saturating_sub(1);
            }
        }
    }
}

/// A comparison under way; dropped, it is over for everybody who waits for it.
struct Landing {
    inner: Arc<Inner>,
    key: [u8; 32],
    _end: watch::Sender<()>,
}

impl Drop for Landing {
    fn drop(&mut self) {
        self.inner.flights.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}
