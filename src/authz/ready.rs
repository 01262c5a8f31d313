//! Entities made ready for Cedar, kept for as long as nothing of them changes: most of what an evaluation costs.
//!
//! A key names what an entity is made of as the cache of decisions does (see [`super::cache`]): the bundle's place in
//! the order of swaps, who or what it is, and the newest revision that touched it. A change moves the stamp, so that an
//! entity of before is not found any more. The table is of fixed size.

use std::sync::Arc;

use super::View;
use super::cache::{ResourceKey, Stamped};
use super::facts::Known;
use super::table::Table;
use crate::policy::{AccountFacts, Bundle, PolicyFailure, PrincipalFacts, Ready, ResourceFacts};

/// Sets of places, a power of two: 4,096 entities at a few kilobytes each, about 15 MiB when full.
const SETS: usize = 1 << 10;

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
pub(super) struct ReadyEntities(Table<Kept>);

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
        Self(Table::new(SETS))
    }

    /// Forgets everything.
    pub(super) fn clear(&self) {
        self.0.retain(|_| false);
    }

    /// Lets go of what was made for another bundle.
    pub(super) fn keep_only(&self, generation: u64) {
        self.0.retain(|kept| kept.key.generation == generation);
    }

    fn get(
        &self,
        key: Key,
        keep: bool,
        make: impl FnOnce() -> Result<Ready, PolicyFailure>,
    ) -> Result<Lent, PolicyFailure> {
        let spot = self.0.spot(key);
        if let Some(kept) = self.0.find(spot, |kept| (kept.key == key).then(|| Arc::clone(kept))) {
            return Ok(Lent(kept));
        }
        let kept = Arc::new(Kept { key, ready: make()? });
        if keep {
            let is_stale = |other: &Kept| other.key.generation != key.generation;
            self.0.put(spot, Arc::clone(&kept), |other| other.key == key, is_stale);
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
