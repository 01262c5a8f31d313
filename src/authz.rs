//! The one door to a decision: a question in, a verdict with its reason out.
//!
//! A [`View`] pins one snapshot of the directory and one bundle for as long as it lives, so every answer rests on
//! one state of the world. Deactivation, the lock and the wall between organizations are enforced here, since
//! they must not depend on a file; everything else that can be said is a policy. No lock, no await, no I/O between
//! question and answer. Knows no HTTP, no wire format and no Cedar.

mod basis;
mod cache;
mod classes;
pub mod coverage;
pub mod diff;
mod explain;
mod facts;
mod find;
mod judge;
pub mod matrix;
mod ready;
mod rows;
mod search;
mod selfcheck;
pub mod table;
#[cfg(test)]
mod tests;
pub mod trial;
pub mod usage;

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;

use crate::clock::{Clock, Sources};
use crate::directory::{Directory, Snapshot};
use crate::domain::{Change, Decision, Number, Question, Reason, Revision, Subject, Timestamp};
use crate::policy::{ContextFault, Live, Serving};
use crate::telemetry::{CacheUse, Laps, Metrics, Stage};
use crate::token::{Basic, Holder, NewerKeys, Passwords, Proof, Verifier};
use cache::DecisionCache;
use ready::ReadyEntities;
use rows::{Lenses, Rows};

pub use crate::policy::{Considered, Explanation, Grant, Outcome, Seen, State, Step};
pub use basis::Basis;
pub use explain::Explained;
pub use search::{Found, Page};

/// How decisions are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthzConfig {
    /// How many decisions are kept at most.
    pub cache_entries: u64,
    /// Whether a host that the catalogue does not name matches nothing, instead of everything.
    pub strict_hosts: bool,
    /// One decision in so many is compared with plain Cedar's in the background; 0: none.
    pub self_check_every: u64,
}

impl Default for AuthzConfig {
    fn default() -> Self {
        Self { cache_entries: 200_000, strict_hosts: false, self_check_every: 1_000 }
    }
}

/// Why a question got no decision. Never an allow.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// This node has not seen the revision that the question asks for.
    #[error("this node stands at revision {have}; the question asks for {want}")]
    NotFresh {
        /// Where this node stands.
        have: Revision,
        /// What was asked for.
        want: Revision,
    },
    /// A context key has the wrong type.
    #[error(transparent)]
    Context(#[from] ContextFault),
    /// Something that must not happen; the cause is in the log.
    #[error("the decision could not be made")]
    Internal,
}

/// A person as services behind a gateway know them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PersonName {
    /// The dashboard username, which never changes.
    pub username: String,
    /// The SCIM id.
    pub id: String,
}

/// The ways of the `Authorization` header in which somebody can prove who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schemes {
    /// Tokens of configured issuers.
    pub bearer: bool,
    /// Passwords of people (HTTP Basic).
    pub basic: bool,
}

/// Decides.
pub struct Authz {
    directory: Arc<Directory>,
    live: Arc<Live>,
    verifier: Arc<Verifier>,
    passwords: Passwords,
    clock: Arc<dyn Clock>,
    cache: DecisionCache,
    rows: Rows,
    lenses: ArcSwap<Lenses>,
    ready: ReadyEntities,
    strict_hosts: bool,
    metrics: Arc<Metrics>,
    ids: Ids,
    /// The id of the one `Dashboard`.
    dashboard: Arc<str>,
    self_check: selfcheck::SelfCheck,
}

/// One state of the world, kept for one or many questions.
#[derive(Clone)]
pub struct View<'a> {
    authz: &'a Authz,
    snapshot: Arc<Snapshot>,
    serving: Arc<Serving>,
    /// Decides for somebody who looks around: not counted, not kept.
    aside: bool,
    /// Looks on at every evaluation.
    observer: Option<&'a explain::Observer<'a>>,
    /// Asks all policies, without index.
    plainly: bool,
    /// The moment of the decisions; `None`: the present one of each.
    at: Option<Timestamp>,
    /// How often the caches had been dropped when the view was made.
    doubts: u64,
    /// What measures the decision, where one does.
    laps: Option<&'a Laps>,
    /// Where the decision leaves the token that said who asks.
    proof: Option<&'a OnceLock<Proof>>,
}

impl Authz {
    /// Builds the door on the given rooms.
    pub fn new(
        config: &AuthzConfig,
        directory: Arc<Directory>,
        live: Arc<Live>,
        verifier: Arc<Verifier>,
        sources: &Sources,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            directory,
            live,
            verifier,
            passwords: Passwords::default(),
            clock: Arc::clone(&sources.clock),
            cache: DecisionCache::new(config.cache_entries),
            rows: Rows::new(),
            lenses: ArcSwap::default(),
            ready: ReadyEntities::new(),
            strict_hosts: config.strict_hosts,
            metrics,
            ids: Ids::new(sources),
            dashboard: "dashboard".into(),
            self_check: selfcheck::SelfCheck::new(config.self_check_every),
        }
    }

    /// Believes these passwords from now on (HTTP Basic).
    pub fn with_passwords(mut self, passwords: Passwords) -> Self {
        self.passwords = passwords;
        self
    }

    /// The passwords that are believed.
    pub fn passwords(&self) -> Passwords {
        self.passwords.clone()
    }

    /// What somebody who has proved nothing may try.
    pub fn schemes(&self) -> Schemes {
        Schemes { bearer: self.verifier.has_issuers(), basic: self.passwords.in_use() }
    }

    /// Does what takes time before a question about this subject: compares its password, which a decision then finds
    /// compared. `peer` is where the question came from. Returns at once for every other subject.
    pub async fn prepare(&self, subject: &Subject<'_>, peer: Option<IpAddr>) {
        let Subject::Authorization(header) = subject else { return };
        let Some(Ok(basic)) = Basic::read(header) else { return };
        let holder = self.directory.snapshot().user(&basic.username).map(|person| Holder {
            number: person.number,
            revision: person.revision,
            id: person.id(),
            api: person.methods().api,
        });
        self.passwords.prepare(&basic, holder.as_ref(), peer, self.clock.now()).await;
    }

    /// Pins the present state of the world.
    pub fn view(&self) -> View<'_> {
        View {
            authz: self,
            snapshot: self.directory.snapshot(),
            serving: self.live.serving(),
            aside: false,
            observer: None,
            plainly: false,
            at: None,
            doubts: self.self_check.doubts(),
            laps: None,
            proof: None,
        }
    }

    /// Answers one question on the present state.
    pub fn decide(&self, question: &Question<'_>) -> Result<Decision, Failure> {
        self.view().decide(question)
    }

    /// Something to wait for before a question about this subject is asked once more: the keys of its token's issuer
    /// that may be on their way. `None` where waiting would not help. See [`Verifier::newer_keys`].
    pub fn newer_keys(&self, subject: &Subject<'_>) -> Option<NewerKeys> {
        match subject {
            Subject::Authorization(header) => self.verifier.newer_keys(header, self.clock.now()),
            Subject::User(_) | Subject::Id(_) | Subject::Claims(_) | Subject::Principal(_) | Subject::Entity(_) => None,
        }
    }

    /// Measures a decision, where it is one to measure ([`Metrics::sample`]).
    pub fn sample(&self) -> Option<Laps> {
        self.metrics.sample()
    }

    /// Adds what [`Self::sample`] had measured to the sums.
    pub fn measured(&self, laps: &Laps) {
        self.metrics.measured(laps);
    }

    /// A new id for a decision: sorts by time, unique in the fleet.
    pub fn decision_id(&self) -> DecisionId {
        self.ids.next(self.clock.now().0)
    }

    /// How often everything that was kept has been dropped, because it was found wrong.
    pub fn doubts(&self) -> u64 {
        self.self_check.doubts()
    }

    /// An answer that was kept differs from one made anew on the same state: an alarm, and every cache is dropped.
    pub fn distrust_answers(&self, action: Option<&str>) {
        self.metrics.self_check(true);
        self.distrust_caches();
        let action = action.unwrap_or("a request");
        tracing::error!(action, "a kept answer differs from one made anew; the caches are dropped; please report this");
        self.self_check.tell(format!("a kept answer on {action} differed from one made anew; the caches are dropped"));
    }

    fn distrust_caches(&self) {
        self.self_check.doubt();
        self.cache.clear();
        self.rows.clear();
        self.ready.clear();
    }

    /// Where the directory stands.
    pub fn revision(&self) -> Revision {
        self.directory.snapshot().revision()
    }

    /// The bundle in service.
    pub fn bundle_id(&self) -> Arc<str> {
        Arc::clone(self.live.serving().bundle.id())
    }
}

impl<'a> View<'a> {
    /// The same state of the world, with its decisions measured.
    #[must_use]
    pub fn timed(self, laps: Option<&'a Laps>) -> Self {
        Self { laps, ..self }
    }

    /// The same state of the world, for many decisions that are all made for the present moment.
    #[must_use]
    pub fn of_one_moment(self) -> Self {
        Self { at: Some(self.now()), ..self }
    }

    /// The same state of the world, for one decision that leaves the token here by which it knew who asks.
    #[must_use]
    pub fn proving(self, proof: &'a OnceLock<Proof>) -> Self {
        Self { proof: Some(proof), ..self }
    }
}

impl View<'_> {
    /// The same state of the world, for questions that nobody waits at a gate for: they are neither counted nor kept.
    fn aside(&self) -> Self {
        Self { aside: true, observer: None, laps: None, proof: None, ..self.clone() }
    }

    /// As [`Self::aside`], with somebody who looks on.
    fn watched<'b>(&'b self, observer: &'b explain::Observer<'b>) -> View<'b> {
        View { observer: Some(observer), ..self.aside() }
    }

    /// Where the directory of this view stands.
    pub fn revision(&self) -> Revision {
        self.snapshot.revision()
    }

    /// Whether somebody of this username or login is provisioned, active or not.
    pub fn knows(&self, user: &str) -> bool {
        self.snapshot.user(user).is_some()
    }

    /// What decisions read of everybody, part by part, for a copy of the directory elsewhere; `after` is the place
    /// where the part before ended.
    pub fn directory(&self, after: Option<Number>, limit: usize) -> (Vec<Change>, Option<Number>) {
        self.snapshot.changes(after, limit)
    }

    /// Whether what this view finds out may be kept: nothing was found wrong since it was made.
    fn trusts(&self) -> bool {
        self.doubts == self.authz.self_check.doubts()
    }

    /// The moment of this view's decisions.
    fn now(&self) -> Timestamp {
        self.at.unwrap_or_else(|| self.authz.clock.now())
    }

    /// Whether a decision of before, made on the identical question, may be given again: it rests on this very state
    /// and bundle, the moment lies within its time, and the token that it believed is still to be believed.
    pub fn repeats(&self, before: &Basis) -> bool {
        let now = self.now();
        before.rests_on(self.snapshot.revision(), self.serving.bundle.id(), self.authz.self_check.doubts())
            && before.may_be_told_at(now)
    }

    /// Gives a decision again that [repeats](Self::repeats), and counts it. No now and then: it must be made anew, so that
    /// the self-check has something to look at.
    pub fn repeat(&self, before: &Basis) -> bool {
        if self.authz.self_check.is_due() {
            return false;
        }
        self.count(before.reason(), CacheUse::Answer);
        true
    }

    /// A new id for a decision of this view.
    pub fn decision_id(&self) -> DecisionId {
        self.authz.ids.next(self.now().0)
    }

    fn count(&self, reason: Reason, cache: CacheUse) {
        if !self.aside {
            self.authz.metrics.decision(reason, cache);
        }
        if let Some(laps) = self.laps {
            laps.found(cache);
        }
    }

    fn proved(&self, by: Proof) {
        if let Some(place) = self.proof {
            let _first = place.set(by);
        }
    }

    /// The time since the last lap belongs to this stage.
    fn lap(&self, stage: Stage) {
        if let Some(laps) = self.laps {
            laps.lap(stage);
        }
    }

    /// The entity type that a question means by a name: as the schema declares it, as its `@name` says, else without
    /// case where only one type fits.
    pub fn entity_type(&self, name: &str) -> Option<&Arc<str>> {
        self.serving.bundle.entity_type(name)
    }

    /// Whether entities of this type come from the directory: `User`, `Account`, `Organization`, `Dashboard`, in
    /// every bundle whose routes declare actions.
    pub fn from_directory(&self, kind: &str) -> bool {
        self.serving.bundle.from_directory(kind)
    }

    /// The ids of this type that the bundle itself lists, sorted: what a search goes through.
    pub fn listed_ids(&self, kind: &str) -> &[Arc<str>] {
        self.serving.bundle.listed_ids(kind)
    }

    /// The names of all actions that act on this entity type, in the order of the bundle.
    pub fn actions_on<'v>(&'v self, kind: &'v str) -> impl Iterator<Item = &'v Arc<str>> {
        let actions = self.serving.bundle.actions().iter();
        actions.filter(move |action| action.applies_to(kind)).map(|action| &action.name)
    }
}

/// Makes decision ids without asking the system for randomness each time: time, a counter, and bytes drawn once.
struct Ids {
    node: [u8; 6],
    counter: AtomicU64,
}

impl Ids {
    fn new(sources: &Sources) -> Self {
        let mut node = [0; 6];
        sources.random.fill(&mut node);
        Self { node, counter: AtomicU64::new(0) }
    }

    /// A UUID version 7 whose random part is node and counter. The counter stands where neither version nor variant are
    /// written over it.
    fn next(&self, milliseconds: i64) -> DecisionId {
        let count = self.counter.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        let ([.., c0, c1, c2, c3], [n0, n1, n2, n3, n4, n5]) = (count, self.node);
        let bytes = [n0, n1, n2, c0, c1, c2, c3, n3, n4, n5];
        let milliseconds = u64::try_from(milliseconds).unwrap_or(0);
        uuid::Builder::from_unix_timestamp_millis(milliseconds, &bytes).into_uuid().into()
    }
}

/// The id of a decision: the text of a UUID, in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecisionId([u8; uuid::fmt::Hyphenated::LENGTH]);

impl From<uuid::Uuid> for DecisionId {
    fn from(id: uuid::Uuid) -> Self {
        let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
        id.hyphenated().encode_lower(&mut text);
        Self(text)
    }
}

impl std::ops::Deref for DecisionId {
    type Target = str;

    fn deref(&self) -> &str {
        str::from_utf8(&self.0).unwrap_or("")
    }
}
