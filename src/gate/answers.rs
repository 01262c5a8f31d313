//! Answers kept: the identical question, on the identical state of the world, has the identical answer.
//!
//! Nothing is analysed and nothing invalidated. A key is the whole text of a question as it was sent, compared whole,
//! with the channel that the gateway's settings give it; beside the answer stands what it rests on
//! ([`Basis`]): ledger revision, bundle, and the span of time for which it holds. Any change of the directory or of the
//! policies is another state, under which nothing that was kept is found. Only questions that name their subject are
//! kept: what a credential proves has a life of its own.
//!
//! The table is of fixed size, [`WAYS`] places for each key; a look-up takes no lock and allocates nothing.

use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use arc_swap::ArcSwapOption;
use hashbrown::DefaultHashBuilder;

use crate::authz::{Basis, View};
use crate::domain::Channel;

/// Places in the table, a power of two. An answer of usual length takes less than a kilobyte with its question.
const PLACES: usize = 1 << 15;
/// Places that a key may have.
const WAYS: usize = 4;
/// Longer questions and answers are not kept, in bytes: together they bound the table at 64 MiB.
const LONGEST_QUESTION: usize = 768;
const LONGEST_ANSWER: usize = 1024;

/// An answer with its question.
#[derive(Debug)]
pub struct Kept {
    question: Box<[u8]>,
    channel: Channel,
    /// What it rests on.
    pub basis: Basis,
    /// Its text up to the decision's id, which is new each time.
    pub text: Box<[u8]>,
}

/// The table.
pub struct Answers {
    hasher: DefaultHashBuilder,
    /// Part of the hash of what stands at each place, so that mostly the right place alone is looked at.
    tags: Box<[AtomicU32]>,
    places: Box<[ArcSwapOption<Kept>]>,
}

/// Where a question's answer would stand.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    question: &'a [u8],
    channel: Channel,
    first: usize,
    tag: u32,
}

impl Answers {
    /// An empty table.
    pub fn new() -> Self {
        Self {
            hasher: DefaultHashBuilder::default(),
            tags: (0..PLACES).map(|_| AtomicU32::new(0)).collect(),
            places: (0..PLACES).map(|_| ArcSwapOption::empty()).collect(),
        }
    }

    /// The place of a question as it was sent; `None` where it is too long to be kept.
    pub fn place<'a>(&self, question: &'a [u8], channel: Channel) -> Option<Place<'a>> {
        if question.len() > LONGEST_QUESTION {
            return None;
        }
        let hash = self.hasher.hash_one((question, channel));
        #[expect(clippy::cast_possible_truncation, reason = "some bits choose the place, others are the tag")]
        let (first, tag) = (hash as usize % PLACES & !(WAYS - 1), (hash >> 32) as u32);
        Some(Place { question, channel, first, tag })
    }

    /// What was answered to this very question, whatever has happened since: the caller asks whether it still holds.
    pub fn find(&self, place: &Place<'_>) -> Option<Arc<Kept>> {
        (place.first..place.first + WAYS).find_map(|at| {
            if self.tags.get(at)?.load(Ordering::Relaxed) != place.tag {
                return None;
            }
            let kept = self.places.get(at)?.load();
            let kept = kept.as_ref().filter(|kept| kept.is_of(place))?;
            Some(Arc::clone(kept))
        })
    }

    /// Keeps an answer, at the place of an earlier one to the same question, else at a free one, else at any of its own.
    pub fn keep(&self, place: &Place<'_>, basis: Basis, text: &[u8]) {
        if text.len() > LONGEST_ANSWER {
            return;
        }
        let own = || place.first..place.first + WAYS;
        let kept = |at: usize| self.places.get(at).map(|kept| kept.load());
        let same = own().find(|at| kept(*at).is_some_and(|kept| kept.as_ref().is_some_and(|kept| kept.is_of(place))));
        let free = || own().find(|at| kept(*at).is_some_and(|kept| kept.is_none()));
        let stale = || {
            own().find(|at| {
                let other = kept(*at);
                other.is_some_and(|kept| kept.as_ref().is_some_and(|kept| !kept.basis.is_of_the_state_of(&basis)))
            })
        };
        // Which of several goes is for the question's own hash to say: no state to keep, and no pattern to aim at.
        let at = same.or_else(free).or_else(stale).unwrap_or(place.first + (place.tag as usize % WAYS));
        let (Some(tag), Some(to)) = (self.tags.get(at), self.places.get(at)) else { return };
        let (question, text) = (place.question.into(), text.into());
        to.store(Some(Arc::new(Kept { question, channel: place.channel, basis, text })));
        tag.store(place.tag, Ordering::Relaxed);
    }
}

impl Default for Answers {
    fn default() -> Self {
        Self::new()
    }
}

impl Kept {
    fn is_of(&self, place: &Place<'_>) -> bool {
        self.channel == place.channel && *self.question == *place.question
    }

    /// Whether it may be given again now.
    pub fn holds(&self, view: &View<'_>) -> bool {
        view.repeats(&self.basis)
    }
}
