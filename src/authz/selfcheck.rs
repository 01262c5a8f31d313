//! The standing doubt about our own shortcuts: some decisions are made again, later, by plain Cedar over all policies,
//! without cache and index, on the very state of the world that the first answer rested on.
//!
//! One at a time, on a thread of its own that rests 99 times as long as it works: at most a hundredth of one core. A
//! decision that finds the thread busy is simply not sampled. The first difference is alarm (log, metric, a concern in
//! readiness) and drops the caches; where the index still differs then, it is not used for that action any more.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use super::find::Who;
use super::{Authz, View};
use crate::directory::Snapshot;
use crate::domain::{Asked, Channel, ContextValue, Decision, EntityName, Question, Subject, Timestamp};
use crate::policy::Serving;
use crate::telemetry::Stopwatch;

/// The longest rest after one check.
const LONGEST_REST: Duration = Duration::from_secs(10);
/// How long the thread takes at most to notice that the decisions are gone.
const NOTICE: Duration = Duration::from_secs(1);
/// Parts of rest to one of work.
const REST: u32 = 99;

/// Picks decisions, and remembers what came of checking them.
pub(super) struct SelfCheck {
    /// One decision in so many; 0: none.
    every: u64,
    seen: AtomicU64,
    /// How often the caches were dropped: what was kept before is of an earlier life.
    doubts: AtomicU64,
    queue: SyncSender<Sample>,
    waiting: Mutex<Option<Receiver<Sample>>>,
    finding: Mutex<Option<String>>,
}

/// An entity with what was said of it, kept beyond its question.
struct OwnedEntity {
    kind: String,
    id: String,
    properties: Vec<(String, ContextValue)>,
}

impl OwnedEntity {
    fn of(name: &EntityName<'_>) -> Self {
        Self { kind: name.kind.to_owned(), id: name.id.to_owned(), properties: name.properties.to_vec() }
    }

    fn name(&self) -> EntityName<'_> {
        EntityName { kind: &self.kind, id: &self.id, properties: &self.properties }
    }
}

enum OwnedSubject {
    Id(String),
    Entity(OwnedEntity),
}

enum OwnedAsked {
    Request { method: String, host: Option<String>, path: String },
    Action { action: String, properties: Vec<(String, ContextValue)>, resource: Option<OwnedEntity> },
}

/// One decision with everything that it rested on.
pub(super) struct Sample {
    snapshot: Arc<Snapshot>,
    serving: Arc<Serving>,
    now: Timestamp,
    subject: OwnedSubject,
    asked: OwnedAsked,
    channel: Channel,
    context: Vec<(String, ContextValue)>,
    decision: Decision,
}

impl SelfCheck {
    pub(super) fn new(every: u64) -> Self {
        let (queue, waiting) = sync_channel(1);
        let (waiting, finding) = (Mutex::new(Some(waiting)), Mutex::new(None));
        Self { every, seen: AtomicU64::new(0), doubts: AtomicU64::new(0), queue, waiting, finding }
    }

    /// Whether the next decision is one to keep. On the decision path: one atomic addition.
    pub(super) fn picks(&self) -> bool {
        self.every > 0 && self.seen.fetch_add(1, Ordering::Relaxed).is_multiple_of(self.every)
    }

    /// Whether [`Self::picks`] would say yes now; counts one decision where it would not.
    pub(super) fn is_due(&self) -> bool {
        let due = self.every > 0 && self.seen.load(Ordering::Relaxed).is_multiple_of(self.every);
        if !due {
            self.seen.fetch_add(1, Ordering::Relaxed);
        }
        due
    }

    /// Hands a decision over; it is dropped where the thread is busy.
    pub(super) fn offer(
        &self,
        view: &View<'_>,
        question: &Question<'_>,
        who: &Who<'_>,
        now: Timestamp,
        decision: &Decision,
    ) {
        let subject = match who {
            Who::Person(person) => OwnedSubject::Id(person.id()),
            Who::Entity(name) => OwnedSubject::Entity(OwnedEntity::of(name)),
            // Whoever is nobody in particular cannot be named again.
            Who::Nobody => return,
        };
        let asked = match question.asked {
            Asked::Request { method, host, path } => {
                OwnedAsked::Request { method: method.into(), host: host.map(str::to_owned), path: path.into() }
            }
            Asked::Action { action, properties, resource } => OwnedAsked::Action {
                action: action.into(),
                properties: properties.to_vec(),
                resource: resource.as_ref().map(OwnedEntity::of),
            },
        };
        let _busy = self.queue.try_send(Sample {
            snapshot: Arc::clone(&view.snapshot),
            serving: Arc::clone(&view.serving),
            now,
            subject,
            asked,
            channel: question.channel,
            context: question.context.to_vec(),
            decision: decision.clone(),
        });
    }

    pub(super) fn doubts(&self) -> u64 {
        self.doubts.load(Ordering::Acquire)
    }

    /// Everything kept until now is believed no longer.
    pub(super) fn doubt(&self) {
        self.doubts.fetch_add(1, Ordering::AcqRel);
    }

    /// Keeps the first finding.
    pub(super) fn tell(&self, finding: String) {
        self.finding.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(finding);
    }

    /// What was found to differ, for readiness.
    pub(super) fn finding(&self) -> Result<(), String> {
        self.finding.lock().unwrap_or_else(PoisonError::into_inner).clone().map_or(Ok(()), Err)
    }
}

impl Sample {
    fn ask(&self, view: &View<'_>) -> Option<Decision> {
        let resource;
        let asked = match &self.asked {
            OwnedAsked::Request { method, host, path } => Asked::Request { method, host: host.as_deref(), path },
            OwnedAsked::Action { action, properties, resource: owned } => {
                resource = owned.as_ref().map(OwnedEntity::name);
                Asked::Action { action, properties, resource }
            }
        };
        let subject = match &self.subject {
            OwnedSubject::Id(id) => Subject::Id(id),
            OwnedSubject::Entity(entity) => Subject::Entity(entity.name()),
        };
        let (channel, context) = (self.channel, self.context.as_slice());
        view.decide(&Question { subject, asked, channel, context, least_revision: None }).ok()
    }

    fn view<'a>(&self, authz: &'a Authz, plainly: bool) -> View<'a> {
        let (snapshot, serving) = (Arc::clone(&self.snapshot), Arc::clone(&self.serving));
        let (at, doubts) = (Some(self.now), authz.self_check.doubts());
        View { authz, snapshot, serving, aside: true, observer: None, plainly, at, doubts, laps: None, proof: None }
    }
}

fn same(one: &Decision, other: &Decision) -> bool {
    one.reason == other.reason && one.policies == other.policies && one.message == other.message
}

impl Authz {
    /// What the self-check found: `Err` says how an answer differed from plain Cedar's.
    ///
    /// # Errors
    /// The first difference, in words.
    pub fn self_check(&self) -> Result<(), String> {
        self.self_check.finding()
    }

    /// Gives back the memory of what was kept for bundles that were replaced since this one.
    fn forget_replaced(&self, generation: &mut u64) {
        let serving = self.live.serving().generation;
        if std::mem::replace(generation, serving) != serving {
            self.rows.keep_only(serving);
            self.ready.keep_only(serving);
            // What was kept for the present one in its first moments goes with the rest: the price of not looking.
            self.cache.clear();
        }
    }

    /// Checks sampled decisions until the decisions are gone. Takes a thread; call it once.
    pub fn check_samples(authz: &Weak<Self>) {
        let waiting =
            |authz: &Arc<Self>| authz.self_check.waiting.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(queue) = authz.upgrade().as_ref().and_then(waiting) else { return };
        let mut generation = 0;
        loop {
            let sample = match queue.recv_timeout(NOTICE) {
                Ok(sample) => Some(sample),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            let Some(authz) = authz.upgrade() else { return };
            authz.forget_replaced(&mut generation);
            let Some(sample) = sample else { continue };
            let work = Stopwatch::start();
            authz.check(&sample);
            drop((authz, sample));
            std::thread::park_timeout((work.elapsed() * REST).min(LONGEST_REST));
        }
    }

    /// Compares one decision with plain Cedar's; true where they agree.
    pub(super) fn check(&self, sample: &Sample) -> bool {
        let plain = sample.ask(&sample.view(self, true));
        let agrees = |decision: &Option<Decision>| match (decision, &plain) {
            (Some(one), Some(other)) => same(one, other),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        let kept = Some(sample.decision.clone());
        self.metrics.self_check(!agrees(&kept));
        if agrees(&kept) {
            return true;
        }
        let action = sample.decision.action.as_deref().unwrap_or_default();
        // Made anew and kept by nobody: what then still differs is the index, and no longer a cache.
        let by_index = sample.ask(&sample.view(self, false));
        let index = !agrees(&by_index);
        if index {
            let bundle = &sample.serving.bundle;
            if let Some(action) = bundle.action_named(action).and_then(|index| bundle.action(index)) {
                action.distrust_index();
            }
        }
        // Last, so that nothing is kept any more that comes of what is distrusted.
        self.distrust_caches();
        let (ours, theirs) =
            (format!("{:?}", sample.decision.reason), plain.map(|plain| format!("{:?}", plain.reason)));
        let dropped =
            if index { "the caches and the index for this action are dropped" } else { "the caches are dropped" };
        tracing::error!(action, ours, ?theirs, revision = %sample.decision.revision, bundle = %sample.decision.bundle,
            "a decision differs from plain Cedar's; {dropped}; please report this");
        let words = format!("a decision on {action} differed from plain Cedar's; {dropped}");
        self.self_check.tell(words);
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authz::AuthzConfig;
    use crate::clock::{HandClock, SeededRandom, Sources};
    use crate::directory::Directory;
    use crate::domain::Verdict;
    use crate::policy::{Bundle, Live, Source};
    use crate::telemetry::Metrics;
    use crate::token::Verifier;

    fn authz(bundle: Bundle) -> Authz {
        let sources = Sources { clock: Arc::new(HandClock::new(Timestamp(0))), random: Arc::new(SeededRandom::new(1)) };
        let config = AuthzConfig { self_check_every: 1, ..AuthzConfig::default() };
        let (directory, live) = (Arc::new(Directory::empty()), Arc::new(Live::new(Arc::new(bundle))));
        let metrics = Arc::new(Metrics::new(&[]));
        Authz::new(&config, directory, live, Arc::new(Verifier::default()), &sources, metrics)
    }

    fn ask(authz: &Authz, record: &str) -> Decision {
        let subject = Subject::Entity(EntityName::new("user", "alice"));
        let resource = Some(EntityName::new("record", record));
        let asked = Asked::Action { action: "read", properties: &[], resource };
        let question = Question { subject, asked, channel: Channel::Api, context: &[], least_revision: None };
        authz.decide(&question).expect("a decision")
    }

    fn sample(authz: &Authz) -> Sample {
        let waiting = authz.self_check.waiting.lock().expect("unpoisoned");
        waiting.as_ref().expect("not taken").try_recv().expect("a sample")
    }

    fn folder() -> Source {
        Source::Folder("tests/cases/bundles/authzen-certification".into())
    }

    #[test]
    fn decisions_that_agree_raise_nothing_and_a_busy_check_is_left_alone() {
        let authz = authz(Bundle::load(&folder()).expect("sound"));
        assert_eq!(ask(&authz, "record-1").verdict(), Verdict::Permit);
        ask(&authz, "record-2");
        assert!(authz.check(&sample(&authz)));
        let waiting = authz.self_check.waiting.lock().expect("unpoisoned");
        assert!(waiting.as_ref().expect("not taken").try_recv().is_err(), "one at a time");
        assert_eq!(authz.self_check(), Ok(()));
    }

    #[test]
    fn a_wrong_index_is_found_dropped_for_its_action_and_told() {
        let mut bundle = Bundle::load(&folder()).expect("sound");
        bundle.seed_index_fault();
        let authz = authz(bundle);
        assert_eq!(ask(&authz, "record-1").verdict(), Verdict::Deny, "the seeded fault hides the permit");
        assert!(!authz.check(&sample(&authz)));
        assert!(authz.self_check().expect_err("a finding").contains("the index for this action"));
        assert_eq!(ask(&authz, "record-1").verdict(), Verdict::Permit, "by plain Cedar from now on");
        assert!(authz.check(&sample(&authz)));
        let told = authz.metrics.render().expect("text");
        assert!(told.contains("cedargate_self_check_differences_total 1"), "{told}");
    }

    #[test]
    fn the_thread_ends_with_the_decisions() {
        let authz = Arc::new(authz(Bundle::load(&folder()).expect("sound")));
        let weak = Arc::downgrade(&authz);
        let thread = std::thread::spawn(move || Authz::check_samples(&weak));
        ask(&authz, "record-1");
        drop(authz);
        thread.join().expect("ended");
    }
}
