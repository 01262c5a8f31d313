//! Entities made ready for Cedar, kept for as long as nothing of them changes: most of what an evaluation costs.
//!
//! A key names what an entity is made of as the cache of decisions does (see [`super::cache`]): the bundle's place in
//! the order of swaps, who or what it is, and the newest revision that touched it. A change moves the stamp, so that an
//! entity of before is not found any more. What a person holds, which the stamp comes from, is kept for one revision of the
//! directory. The tables are of fixed size, and take what is asked for a second time.

use std::sync::Arc;

use super::View;
use super::cache::{ResourceKey, Stamped};
use super::facts::Known;
use super::table::Table;
use crate::directory::{Person, Rights, Snapshot};
use crate::domain::{Number, Revision};
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

/// What a person held at one revision.
struct KeptRights {
    revision: Revision,
    person: Number,
    rights: Arc<Rights>,
}

/// The tables.
pub(super) struct ReadyEntities {
    entities: Table<Kept>,
    rights: Table<KeptRights>,
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
        Self { entities: Table::new(SETS), rights: Table::new(SETS) }
    }

    /// Forgets everything.
    pub(super) fn clear(&self) {
        self.entities.retain(|_| false);
        self.rights.retain(|_| false);
    }

    /// Lets go of what was made for another bundle.
    pub(super) fn keep_only(&self, generation: u64) {
        self.entities.retain(|kept| kept.key.generation == generation);
    }

    fn get(
        &self,
        key: Key,
        keep: bool,
        make: impl FnOnce() -> Result<Ready, PolicyFailure>,
    ) -> Result<Lent, PolicyFailure> {
        let spot = self.entities.spot(key);
        if let Some(kept) = self.entities.find(spot, |kept| (kept.key == key).then(|| Arc::clone(kept))) {
            return Ok(Lent(kept));
        }
        let kept = Arc::new(Kept { key, ready: make()? });
        // Who asks once does not take the place of who asks often: to let go of what has lain long costs as much as to
        // make it.
        #[expect(clippy::cast_possible_truncation, reason = "a mark")]
        if keep && self.entities.is_asked_again(spot, key.generation as u32) {
            let is_stale = |other: &Kept| other.key.generation != key.generation;
            self.entities.put(spot, Arc::clone(&kept), |other| other.key == key, is_stale);
        }
        Ok(Lent(kept))
    }
}

impl ReadyEntities {
    /// What the person holds, found out once for a revision.
    fn rights(&self, snapshot: &Snapshot, person: &Person) -> Arc<Rights> {
        let (revision, number) = (snapshot.revision(), person.number);
        let spot = self.rights.spot(number);
        let same = |kept: &KeptRights| kept.person == number && kept.revision == revision;
        if let Some(rights) = self.rights.find(spot, |kept| same(kept).then(|| Arc::clone(&kept.rights))) {
            return rights;
        }
        let rights = Arc::new(snapshot.rights(person));
        if self.rights.is_asked_again(spot, 0) {
            let kept = KeptRights { revision, person: number, rights: Arc::clone(&rights) };
            self.rights.put(spot, Arc::new(kept), |kept| kept.person == number, |kept| kept.revision != revision);
        }
        rights
    }
}

impl View<'_> {
    /// A person with what they hold.
    pub(super) fn known<'a>(&'a self, person: &'a Person) -> Known<'a> {
        let rights = if self.aside || self.plainly || !self.trusts() {
            Arc::new(self.snapshot.rights(person))
        } else {
            self.authz.ready.rights(&self.snapshot, person)
        };
        Known::new(&self.snapshot, person, rights)
    }

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
