//! Decision rows: outcomes shared by all who look the same to the policies of an action.
//!
//! For most actions the bundle can show, by walking its policies ([`Reads`](crate::policy::Reads)), that an outcome
//! rests on a few facts alone: level, access methods, which of the named roles are held, which of the named products
//! are active, whether the account is granted, on which side of a wall it lies, and how old the password is. These
//! are the key, as they are and not as numbers of something that changes: so nothing can be stale, nothing is
//! invalidated, and a person never seen before finds what was decided for an equal. Whatever reads more (a name, a
//! context, a set of accounts, the time in another way) has no row and goes the long way ([`super::cache`]).
//!
//! The table is of fixed size, two places for each key; a key that finds both taken takes one. Keys are compared
//! whole. A look-up takes no lock and allocates nothing.

#[cfg(test)]
mod tests;

use std::hash::BuildHasher;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use hashbrown::DefaultHashBuilder;

use super::View;
use super::find::Found;
use crate::directory::{Account, Person, Snapshot, with_number};
use crate::domain::{AdministrationLevel, Number, Question, Timestamp};
use crate::policy::{Action, Bundle, Evaluation, Target};

/// Places in the table: a power of two; eight bytes each, and some hundred for each outcome.
const PLACES: usize = 1 << 17;
/// More ages of a password than this are not told apart by a key.
const MOST_AGES: usize = 4;

/// Everything that a shared outcome rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct RowKey {
    generation: u64,
    action: usize,
    organization: Number,
    /// The organization of the account; 0 without one.
    owner: Number,
    /// Of the roles that the action's policies name, those that are held.
    roles: u128,
    /// Of the products that they name, those that are active.
    products: u128,
    traits: u8,
    /// How old the password is, seen against the ages that the policies name; 0 where it has none.
    age: u8,
}

/// A question's row, with the account that it is about.
pub(super) struct RowOf<'a> {
    pub(super) key: RowKey,
    /// `None`: the dashboard.
    pub(super) account: Option<&'a Account>,
}

const ADMIN: u8 = 1;
const DASHBOARD_METHOD: u8 = 2;
const API_METHOD: u8 = 4;
const ASSIGNED: u8 = 8;
const GRANTED: u8 = 16;
const DASHBOARD_CHANNEL: u8 = 32;
const ON_ACCOUNT: u8 = 64;

#[derive(Debug)]
struct Row {
    key: RowKey,
    evaluation: Arc<Evaluation>,
}

/// The table.
pub(super) struct Rows {
    hasher: DefaultHashBuilder,
    places: Box<[ArcSwapOption<Row>]>,
}

impl Rows {
    pub(super) fn new() -> Self {
        let places = (0..PLACES).map(|_| ArcSwapOption::empty()).collect();
        Self { hasher: DefaultHashBuilder::default(), places }
    }

    fn places(&self, key: &RowKey) -> impl Iterator<Item = &ArcSwapOption<Row>> {
        let hash = self.hasher.hash_one(key);
        #[expect(clippy::cast_possible_truncation, reason = "only the lowest bits count")]
        let first = hash as usize % PLACES;
        [first, first ^ 1].into_iter().filter_map(|at| self.places.get(at))
    }

    /// What was decided for the key.
    pub(super) fn get(&self, key: &RowKey) -> Option<Arc<Evaluation>> {
        self.places(key).find_map(|place| {
            let row = place.load();
            row.as_ref().filter(|row| row.key == *key).map(|row| Arc::clone(&row.evaluation))
        })
    }

    /// Forgets everything: the self-check found an outcome that should not be there.
    pub(super) fn clear(&self) {
        self.places.iter().for_each(|place| place.store(None));
    }

    /// Keeps an outcome, unless policies erred over it.
    pub(super) fn put(&self, key: RowKey, evaluation: &Arc<Evaluation>) {
        if !evaluation.errors.is_empty() || evaluation.momentary {
            return;
        }
        let stale = |place: &&ArcSwapOption<Row>| {
            place.load().as_ref().is_none_or(|row| row.key == key || row.key.generation != key.generation)
        };
        let place = self.places(&key).find(stale).or_else(|| self.places(&key).next());
        if let Some(place) = place {
            place.store(Some(Arc::new(Row { key, evaluation: Arc::clone(evaluation) })));
        }
    }
}

/// How one bundle's actions look at one directory's names of roles and products. Made anew when either changes:
/// names get numbers in the order in which they appear.
#[derive(Debug, Default)]
pub(super) struct Lenses {
    generation: u64,
    names: (u32, u32),
    actions: Box<[Option<ActionLens>]>,
}

#[derive(Debug)]
struct ActionLens {
    roles: u128,
    products: u128,
    ages: Box<[i64]>,
}

impl Lenses {
    fn fits(&self, generation: u64, snapshot: &Snapshot) -> bool {
        self.generation == generation && self.names == snapshot.name_counts()
    }

    fn new(generation: u64, bundle: &Bundle, snapshot: &Snapshot) -> Self {
        let actions = bundle.actions().iter().map(|action| ActionLens::of(action, snapshot)).collect();
        Self { generation, names: snapshot.name_counts(), actions }
    }
}

impl ActionLens {
    /// `None` where an outcome may rest on more than a key holds.
    fn of(action: &Action, snapshot: &Snapshot) -> Option<Self> {
        let reads = &action.reads;
        let named = [&reads.accounts, &reads.people, &reads.groups];
        if reads.principal || reads.resource || reads.account_sets || named.iter().any(|names| !names.is_empty()) {
            return None;
        }
        if action.at_any_moment() || reads.password_ages.len() > MOST_AGES {
            return None;
        }
        let bits = |names: &mut dyn Iterator<Item = Option<u32>>| names.flatten().try_fold(0, with_number);
        Some(Self {
            // A name that nobody has has no number yet; once it gets one, lenses are made anew.
            roles: bits(&mut reads.roles.iter().map(|name| snapshot.role_named(name)))?,
            products: if reads.all_products {
                u128::MAX
            } else {
                bits(&mut reads.products.iter().map(|name| snapshot.product_named(name)))?
            },
            ages: reads.password_ages.iter().copied().collect(),
        })
    }

    /// Each age that is named: not reached, reached this very millisecond, or exceeded.
    fn age(&self, person: &Person, now: Timestamp) -> Option<u8> {
        let Some(changed) = person.password_changed_at() else { return Some(0) };
        let past = now.0.checked_sub(changed.0)?;
        let mut steps = self.ages.iter().map(|age| past.cmp(age) as i8 + 1);
        steps.try_fold(1_u8, |whole, step| whole.checked_mul(3)?.checked_add(u8::try_from(step).ok()?))
    }
}

impl View<'_> {
    /// The row of a question's outcome, where it has one: a person on an account that the path names, or on the
    /// dashboard, without a context of its own.
    pub(super) fn row_of(
        &self,
        question: &Question<'_>,
        found: &Found<'_>,
        person: &Person,
        now: Timestamp,
    ) -> Option<RowOf<'_>> {
        if self.aside || !found.properties.is_empty() {
            return None;
        }
        if question.context.iter().any(|(key, _)| key == "account" || found.action.reads(key)) {
            return None;
        }
        let account: Option<&Account> = if found.action.applies_to("Dashboard") {
            None
        } else {
            match (&found.target, found.id.as_deref()) {
                (Target::Account, Some(id)) => Some(self.snapshot.account(id)?),
                (Target::Account | Target::User | Target::Organization | Target::Entity(_), _) => return None,
            }
        };
        let mut lenses = self.authz.lenses.load();
        if !lenses.fits(self.serving.generation, &self.snapshot) {
            let made = Lenses::new(self.serving.generation, &self.serving.bundle, &self.snapshot);
            self.authz.lenses.store(Arc::new(made));
            lenses = self.authz.lenses.load();
            // Another thread stands on another snapshot and has put its own there: the long way is right for both.
            if !lenses.fits(self.serving.generation, &self.snapshot) {
                return None;
            }
        }
        let lens = lenses.actions.get(found.index)?.as_ref()?;
        let sight = self.snapshot.sight(person, account)?;
        let products = account.map_or(Some(0), |account| account.product_set)?;
        let methods = person.methods();
        let is = |on: bool, flag: u8| if on { flag } else { 0 };
        let dashboard = found.dashboard || question.channel == crate::domain::Channel::Dashboard;
        let traits = is(person.level() == AdministrationLevel::AccountAdmin, ADMIN)
            | is(methods.dashboard, DASHBOARD_METHOD)
            | is(methods.api, API_METHOD)
            | is(sight.assigned, ASSIGNED)
            | is(sight.granted, GRANTED)
            | is(dashboard, DASHBOARD_CHANNEL)
            | is(account.is_some(), ON_ACCOUNT);
        let key = RowKey {
            generation: self.serving.generation,
            action: found.index,
            organization: person.organization,
            owner: account.map_or(0, |account| account.organization),
            roles: sight.roles & lens.roles,
            products: products & lens.products,
            traits,
            age: lens.age(person, now)?,
        };
        Some(RowOf { key, account })
    }
}
