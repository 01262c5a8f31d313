//! Decision rows: outcomes shared by all who look the same to the policies of an action.
//!
//! For most actions the bundle can show, by walking its policies ([`Reads`](crate::policy::Reads)), that an outcome
//! rests on a few facts alone: level, access methods, which of the named roles are held, which of the named products
//! are active, whether the account is granted, on which side of a wall it lies, and how old the password is. These
//! are the key, as they are and not as numbers of something that changes: so nothing can be stale, nothing is
//! invalidated, and a person never seen before finds what was decided for an equal. Whatever reads more (a name, a
//! context, a set of accounts, the time in another way) has no row and goes the long way ([`super::cache`]).
//!
//! The table is of fixed size, and keys are compared whole. A look-up takes no lock and allocates nothing. Rows that say
//! the same share it: there are few different outcomes, so they stay close at hand.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use super::View;
use super::find::Found;
use super::judge::MOST_ACCOUNTS;
use super::table::Table;
use crate::directory::{Account, Person, Snapshot, with_number};
use crate::domain::{AdministrationLevel, Number, Question, Timestamp};
use crate::policy::{Action, Bundle, Evaluation, Target};

/// Sets of places, a power of two: 131,072 rows, 20 MiB, and at most 45 more should each say something of its own.
const SETS: usize = 1 << 15;
/// The same for what rows say: 4,096 outcomes.
const OUTCOME_SETS: usize = 1 << 10;
/// More ages of a password than this are not told apart by a key.
const MOST_AGES: usize = 4;

/// Granted accounts with more different sets of the named products than this have no row.
const MOST_SETS: usize = 3;

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
    /// Of the products that they name, those that are active on the account; without one, on the granted accounts,
    /// each different set once and sorted.
    products: [u128; MOST_SETS],
    /// How many of `products` count.
    sets: u8,
    traits: u8,
    /// How old the password is, seen against the ages that the policies name; 0 where it has none.
    age: u8,
}

/// A question's row, with the account that it is about.
pub(super) struct RowOf<'a> {
    pub(super) key: RowKey,
    /// The resource's type and id.
    pub(super) kind: &'static str,
    pub(super) id: &'a Arc<str>,
    /// When time takes the person to another row; `None`: never.
    pub(super) until: Option<Timestamp>,
}

const ADMIN: u8 = 1;
const DASHBOARD_METHOD: u8 = 2;
const API_METHOD: u8 = 4;
const ASSIGNED: u8 = 8;
const GRANTED: u8 = 16;
const DASHBOARD_CHANNEL: u8 = 32;
const ON_ACCOUNT: u8 = 64;
const ON_ORGANIZATION: u8 = 128;

/// What a question is about, as far as rows know it.
#[derive(Clone, Copy)]
enum On<'a> {
    Dashboard,
    /// An account that is named.
    Account(&'a Account),
    /// The person's organization, and with it every account that is granted.
    Organization(&'a Arc<str>),
}

#[derive(Debug)]
struct Row {
    key: RowKey,
    evaluation: Arc<Evaluation>,
}

/// The table.
pub(super) struct Rows {
    rows: Table<Row>,
    outcomes: Table<Evaluation>,
}

impl Rows {
    pub(super) fn new() -> Self {
        Self { rows: Table::new(SETS), outcomes: Table::new(OUTCOME_SETS) }
    }

    /// What was decided for the key.
    pub(super) fn get(&self, key: &RowKey) -> Option<Arc<Evaluation>> {
        self.rows.find(self.rows.spot(key), |row| (row.key == *key).then(|| Arc::clone(&row.evaluation)))
    }

    /// Forgets everything: the self-check found an outcome that should not be there.
    pub(super) fn clear(&self) {
        self.rows.retain(|_| false);
        self.outcomes.retain(|_| false);
    }

    /// Lets go of what no other bundle will ever find: memory alone, since no key of another generation fits.
    pub(super) fn keep_only(&self, generation: u64) {
        self.rows.retain(|row| row.key.generation == generation);
        self.outcomes.retain(|_| false);
    }

    /// Keeps an outcome, unless policies erred over it.
    pub(super) fn put(&self, key: RowKey, evaluation: &Arc<Evaluation>) {
        if !evaluation.errors.is_empty() || evaluation.momentary {
            return;
        }
        let is_stale = |row: &Row| row.key.generation != key.generation;
        let row = Arc::new(Row { key, evaluation: self.shared(evaluation) });
        self.rows.put(self.rows.spot(key), row, |row| row.key == key, is_stale);
    }

    /// The first one that said the same, where it is still known.
    fn shared(&self, evaluation: &Arc<Evaluation>) -> Arc<Evaluation> {
        let spot = self.outcomes.spot((&evaluation.message, &evaluation.policies));
        let known = self.outcomes.find(spot, |known| (known == evaluation).then(|| Arc::clone(known)));
        known.unwrap_or_else(|| {
            self.outcomes.put(spot, Arc::clone(evaluation), |known| known == &**evaluation, |_| false);
            Arc::clone(evaluation)
        })
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

impl ActionLens {
    /// The next moment at which [`Self::age`] changes.
    fn next_age(&self, person: &Person, now: Timestamp) -> Option<Timestamp> {
        let changed = person.password_changed_at()?;
        let reached = self.ages.iter().filter_map(|age| changed.0.checked_add(*age));
        let moments = reached.flat_map(|at| [Some(at), at.checked_add(1)]).flatten();
        moments.filter(|at| *at > now.0).min().map(Timestamp)
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
        let on = if found.action.applies_to("Dashboard") {
            On::Dashboard
        } else {
            match (&found.target, found.id.as_deref()) {
                (Target::Account, Some(id)) => On::Account(self.snapshot.account(id)?),
                (Target::Organization, None) => On::Organization(self.snapshot.organization_id(person.organization)?),
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
        let account = if let On::Account(account) = on { Some(account) } else { None };
        let sight = self.snapshot.sight(person, account)?;
        let (products, sets) = self.product_sets(on, person, lens.products)?;
        let methods = person.methods();
        let is = |on: bool, flag: u8| if on { flag } else { 0 };
        let dashboard = found.dashboard || question.channel == crate::domain::Channel::Dashboard;
        let (traits, owner, kind, id) = match on {
            On::Dashboard => (0, 0, "Dashboard", &self.authz.dashboard),
            On::Account(account) => (ON_ACCOUNT, account.organization, "Account", &account.id),
            On::Organization(id) => (ON_ORGANIZATION, 0, "Organization", id),
        };
        let traits = traits
            | is(person.level() == AdministrationLevel::AccountAdmin, ADMIN)
            | is(methods.dashboard, DASHBOARD_METHOD)
            | is(methods.api, API_METHOD)
            | is(sight.assigned, ASSIGNED)
            | is(sight.granted, GRANTED)
            | is(dashboard, DASHBOARD_CHANNEL);
        let key = RowKey {
            generation: self.serving.generation,
            action: found.index,
            organization: person.organization,
            owner,
            roles: sight.roles & lens.roles,
            products,
            sets,
            traits,
            age: lens.age(person, now)?,
        };
        Some(RowOf { key, kind, id, until: lens.next_age(person, now) })
    }

    /// The different sets of these products on what a question is about, and how many there are.
    fn product_sets(&self, on: On<'_>, person: &Person, lens: u128) -> Option<([u128; MOST_SETS], u8)> {
        let (mut sets, mut count, mut seen) = ([0; MOST_SETS], 0_u8, 0);
        let mut add = |account: &Account| {
            // Where not every account is tried, an outcome rests on which ones are.
            seen += 1;
            if seen > MOST_ACCOUNTS {
                return None;
            }
            let set = account.product_set? & lens;
            if !sets.get(..usize::from(count))?.contains(&set) {
                *sets.get_mut(usize::from(count))? = set;
                count += 1;
            }
            Some(())
        };
        match on {
            On::Dashboard => {}
            On::Account(account) => add(account)?,
            On::Organization(_) => self.snapshot.each_account(person, add)?,
        }
        sets.get_mut(..usize::from(count))?.sort_unstable();
        Some((sets, count))
    }
}
