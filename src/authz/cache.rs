//! Decisions kept: nothing is ever invalidated.
//!
//! A key names everything that an evaluation read: the bundle's place in the order of swaps, the action, and for the
//! principal, the resource and the account of the context their number and their **stamp**, the newest revision
//! that touched what they hold. A change moves a stamp, so an older answer cannot be found any more; an answer
//! that a slow reader computed on an older snapshot lands under the older key. Keys are compared whole. Time enters
//! through the moment until which an outcome holds, which the bundle derives from its policies; outcomes that
//! may change at any moment are not kept at all.

use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use hashbrown::DefaultHashBuilder;

use crate::domain::{Number, Timestamp};
use crate::policy::Evaluation;

/// A resource as part of a key: what it is, which, and as of when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Stamped {
    pub(super) number: Number,
    pub(super) stamp: u64,
}

/// What an evaluation was made on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum ResourceKey {
    Account(Stamped),
    User(Stamped),
    /// The principal's organization with all granted accounts; the stamp is the newest of theirs.
    Organization(Stamped),
    Dashboard,
}

/// Everything that an outcome depends on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) generation: u64,
    pub(super) action: usize,
    pub(super) principal: Option<Stamped>,
    pub(super) resource: ResourceKey,
    pub(super) account: Option<Stamped>,
    pub(super) dashboard: bool,
    /// The question's own context in one unambiguous form; `None` where it has none.
    pub(super) context: Option<Box<[u8]>>,
}

/// An outcome with the moment that it was made for: a clock that was set back finds nothing of later moments.
#[derive(Clone, Debug)]
struct Kept {
    from: Timestamp,
    evaluation: Arc<Evaluation>,
}

/// Marks of keys that were asked for before, a power of two: 256 KiB.
const MARKS: usize = 1 << 16;

/// A bounded cache of evaluations.
pub(super) struct DecisionCache {
    kept: moka::sync::Cache<Key, Kept, DefaultHashBuilder>,
    hasher: DefaultHashBuilder,
    asked: Box<[AtomicU32]>,
}

impl DecisionCache {
    pub(super) fn new(entries: u64) -> Self {
        let hasher = DefaultHashBuilder::default();
        let kept = moka::sync::Cache::builder().max_capacity(entries).build_with_hasher(hasher.clone());
        Self { kept, hasher, asked: (0..MARKS).map(|_| AtomicU32::new(0)).collect() }
    }

    /// Whether such a key is worth a place: most contexts (a time, a number of the request) never come again, and keeping
    /// what nobody asks for twice costs more than to evaluate it. So keys with a context are kept from the second
    /// time on. A mark that another key has overwritten costs one evaluation more.
    pub(super) fn comes_again(&self, key: &Key) -> bool {
        if key.context.is_none() {
            return true;
        }
        let hash = self.hasher.hash_one(key);
        #[expect(clippy::cast_possible_truncation, reason = "some bits choose the place, others are the mark")]
        let (at, mark) = (hash as usize % MARKS, (hash >> 32) as u32);
        self.asked.get(at).is_some_and(|known| known.swap(mark, Ordering::Relaxed) == mark)
    }

    /// What is kept under the key and holds at this moment.
    pub(super) fn get(&self, key: &Key, now: Timestamp) -> Option<Arc<Evaluation>> {
        let Kept { from, evaluation } = self.kept.get(key)?;
        let holds = from <= now && evaluation.until.is_none_or(|until| now < until);
        holds.then_some(evaluation)
    }

    /// Forgets everything: what the self-check does when it mistrusts what is kept.
    pub(super) fn clear(&self) {
        self.kept.invalidate_all();
    }

    /// Keeps an outcome, unless it may change at any moment or came with errors.
    pub(super) fn put(&self, key: Key, evaluation: &Arc<Evaluation>, now: Timestamp) {
        if !evaluation.momentary && evaluation.errors.is_empty() {
            self.kept.insert(key, Kept { from: now, evaluation: Arc::clone(evaluation) });
        }
    }
}
