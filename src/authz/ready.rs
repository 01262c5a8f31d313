//! Entities made ready for Cedar, kept for as long as nothing of them changes: most of what an evaluation costs.
//!
//! A key names what an entity is made of as the cache of decisions does (see [`super::cache`]): the bundle's place in
//! the order of swaps, who or what it is, and the newest revision that touched it. A change moves the stamp, so that an
//! entity of before is not found any more. The table is of fixed size, [`WAYS`] places for each key.

use std::hash::BuildHasher;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use hashbrown::DefaultHashBuilder;

use super::View;
use super::cache::{ResourceKey, Stamped};
use super::facts::Known;
use crate::policy::{AccountFacts, Bundle, PolicyFailure, PrincipalFacts, Ready, ResourceFacts};

/// Places in the table, a power of two: at a few kilobytes each, about 15 MiB when full.
const PLACES: usize = 1 << 12;
/// Places that a key may have.
const WAYS: usize = 4;

/// Everything that an entity is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    generation: u64,
    what: What,
    at: Stamped,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum What {
    Person,
    /// Without products, for whoever stands outside of its organization.
    Account {
        bare: bool,
    },
}

#[derive(Debug)]
struct Kept {
    key: Key,
    ready: Ready,
}

/// The table.
pub(super) struct ReadyEntities {
    hasher: DefaultHashBuilder,
    places: Box<[ArcSwapOption<Kept>]>,
}

/// An entity of the table, or one made for this question alone.
pub(super) struct Lent(Arc<Kept>);

impl std::ops::Deref for Lent {
    type Target = Ready;

    fn deref(&self) -> &Ready {
        &self.0.ready
    }
}

impl ReadyEntities {
    pub(super) fn new() -> Self {
        let places = (0..PLACES).map(|_| ArcSwapOption::empty()).collect();
        Self { hasher: DefaultHashBuilder::default(), places }
    }

    /// Forgets everything.
    pub(super) fn clear(&self) {
        self.places.iter().for_each(|place| place.store(None));
    }

    /// Lets go of what was made for another bundle.
    pub(super) fn keep_only(&self, generation: u64) {
        let replaced =
            |place: &&ArcSwapOption<Kept>| place.load().as_ref().is_some_and(|kept| kept.key.generation != generation);
        self.places.iter().filter(replaced).for_each(|place| place.store(None));
    }

    fn get(
        &self,
        key: Key,
        keep: bool,
        make: impl FnOnce() -> Result<Ready, PolicyFailure>,
    ) -> Result<Lent, PolicyFailure> {
        let hash = self.hasher.hash_one(key);
        #[expect(clippy::cast_possible_truncation, reason = "some bits choose the place")]
        let (first, any) = ((hash as usize % PLACES) & !(WAYS - 1), (hash >> 32) as usize % WAYS);
        let own = self.places.get(first..first + WAYS).unwrap_or_default();
        let found = own.iter().find_map(|place| place.load().as_ref().filter(|kept| kept.key == key).map(Arc::clone));
        if let Some(kept) = found {
            return Ok(Lent(kept));
        }
        let kept = Arc::new(Kept { key, ready: make()? });
        let free = own.iter().position(|place| place.load().is_none());
        if let Some(place) = own.get(free.unwrap_or(any)).filter(|_| keep) {
            place.store(Some(Arc::clone(&kept)));
        }
        Ok(Lent(kept))
    }
}

impl View<'_> {
    /// The person who asks, ready for evaluations. `None` where everything is to be made anew.
    pub(super) fn ready_person(
        &self,
        known: &Known<'_>,
        facts: &PrincipalFacts<'_>,
    ) -> Result<Option<Lent>, PolicyFailure> {
        let at = Stamped { number: known.person.number, stamp: known.rights.stamp };
        self.ready(What::Person, at, |bundle| bundle.ready_person(facts))
    }

    /// What is acted on, where it is an account or a person of this key.
    pub(super) fn ready_resource(
        &self,
        facts: &ResourceFacts<'_>,
        key: Option<ResourceKey>,
    ) -> Result<Option<Lent>, PolicyFailure> {
        match (facts, key) {
            (ResourceFacts::Account(account), Some(ResourceKey::Account(at))) => self.ready_account(account, at),
            (ResourceFacts::User(person), Some(ResourceKey::User(at))) => {
                self.ready(What::Person, at, |bundle| bundle.ready_person(person))
            }
            (
                ResourceFacts::Account(_)
                | ResourceFacts::User(_)
                | ResourceFacts::Organization(_)
                | ResourceFacts::Dashboard
                | ResourceFacts::Entity(_),
                _,
            ) => Ok(None),
        }
    }

    /// An account of the directory.
    pub(super) fn ready_account(&self, account: &AccountFacts<'_>, at: Stamped) -> Result<Option<Lent>, PolicyFailure> {
        let what = What::Account { bare: account.products.is_empty() };
        self.ready(what, at, |bundle| Ok(bundle.ready_account(account)))
    }

    fn ready(
        &self,
        what: What,
        at: Stamped,
        make: impl FnOnce(&Bundle) -> Result<Ready, PolicyFailure>,
    ) -> Result<Option<Lent>, PolicyFailure> {
        if self.aside || self.plainly {
            return Ok(None);
        }
        let key = Key { generation: self.serving.generation, what, at };
        self.authz.ready.get(key, self.trusts(), || make(&self.serving.bundle)).map(Some)
    }
}
