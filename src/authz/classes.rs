//! Who cannot be told apart by the policies of an action: people and accounts as their [`Reads`] see them.
//!
//! Equal classes get equal verdicts, so searches and comparisons ask once for each. What the policies read in a
//! way that is not known makes everybody a class of their own.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};

use crate::directory::{Account, Person, Rights, Snapshot};
use crate::domain::{AccessMethods, AdministrationLevel, Number, Timestamp};
use crate::policy::Reads;

/// People whom decisions do not tell apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct PersonClass {
    organization: Number,
    level: AdministrationLevel,
    methods: AccessMethods,
    assigned: bool,
    roles: Vec<u32>,
    groups: Vec<Number>,
    accounts: Vec<Number>,
    reach: Vec<u32>,
    password: Option<Vec<Ordering>>,
    identity: Option<Number>,
}

/// Accounts whom decisions do not tell apart, but for who is granted them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct AccountClass {
    organization: Number,
    products: Vec<Box<str>>,
    identity: Option<Number>,
}

/// Which of a person's accounts make a difference.
pub(super) enum Interest {
    /// These alone, sorted: the ones that a question is about.
    These(Vec<Number>),
    /// These, and what kinds of accounts the person reaches at all.
    Reach(Vec<Number>),
}

/// Sees people and accounts as one action's policies do.
pub(super) struct Lens<'a> {
    snapshot: &'a Snapshot,
    reads: &'a Reads,
    roles: HashSet<u32>,
    interest: Interest,
    now: Timestamp,
    account_numbers: HashMap<AccountClass, u32>,
    account_classes: HashMap<Number, u32>,
}

/// With more accounts than this a person is a class of their own: not all of them are tried.
const MOST_REACHED: usize = 200;

impl<'a> Lens<'a> {
    /// `interest` are the accounts that every question seen through this lens is about, beside the named ones.
    pub(super) fn new(snapshot: &'a Snapshot, reads: &'a Reads, mut interest: Interest, now: Timestamp) -> Self {
        let roles = reads.roles.iter().filter_map(|name| snapshot.role_named(name)).collect();
        let named = reads.accounts.iter().filter_map(|id| Some(snapshot.account(id)?.number));
        let (Interest::These(accounts) | Interest::Reach(accounts)) = &mut interest;
        accounts.extend(named);
        accounts.sort_unstable();
        accounts.dedup();
        Self { snapshot, reads, roles, interest, now, account_numbers: HashMap::new(), account_classes: HashMap::new() }
    }

    /// A person who asks. `apart` puts them in a class of their own.
    pub(super) fn principal(&mut self, person: &Person, rights: &Rights, apart: bool) -> PersonClass {
        self.person(person, rights, apart || self.reads.principal)
    }

    /// A person who is asked about. `apart` puts them in a class of their own.
    pub(super) fn target(&mut self, person: &Person, rights: &Rights, apart: bool) -> PersonClass {
        self.person(person, rights, apart || self.reads.resource)
    }

    fn person(&mut self, person: &Person, rights: &Rights, apart: bool) -> PersonClass {
        let named = !self.reads.people.is_empty() && self.reads.people.contains(&person.id());
        let mut identity = (apart || named).then_some(person.number);
        let groups = if self.reads.groups.is_empty() {
            Vec::new()
        } else {
            let is_named = |number: &&Number| {
                self.snapshot.group(**number).is_some_and(|group| self.reads.groups.contains(&*group.id))
            };
            rights.groups.iter().filter(is_named).copied().collect()
        };
        let of_interest = |accounts: &[Number]| -> Vec<Number> {
            rights.accounts.iter().filter(|number| accounts.binary_search(number).is_ok()).copied().collect()
        };
        let mut reach = Vec::new();
        let accounts = match &self.interest {
            _ if self.reads.account_sets => rights.accounts.clone(),
            Interest::These(accounts) | Interest::Reach(accounts) => of_interest(accounts),
        };
        if matches!(self.interest, Interest::Reach(_)) {
            if rights.accounts.len() > MOST_REACHED {
                identity = Some(person.number);
            }
            reach = rights.accounts.iter().take(MOST_REACHED).filter_map(|number| self.account(*number)).collect();
            reach.sort_unstable();
            reach.dedup();
        }
        PersonClass {
            organization: person.organization,
            level: person.level(),
            methods: person.methods(),
            assigned: rights.assigned,
            roles: rights.roles.iter().filter(|role| self.roles.contains(role)).copied().collect(),
            groups,
            accounts,
            reach,
            password: self.password(person),
            identity,
        }
    }

    fn password(&self, person: &Person) -> Option<Vec<Ordering>> {
        if self.reads.password_ages.is_empty() {
            return None;
        }
        let age = self.now.0.saturating_sub(person.password_changed_at()?.0);
        Some(self.reads.password_ages.iter().map(|at| age.cmp(at)).collect())
    }

    /// The number of an account's class.
    pub(super) fn account(&mut self, number: Number) -> Option<u32> {
        if let Some(known) = self.account_classes.get(&number) {
            return Some(*known);
        }
        let account = self.snapshot.account_by_number(number)?;
        let class = self.account_class(account);
        let next = u32::try_from(self.account_numbers.len()).ok()?;
        let class = *self.account_numbers.entry(class).or_insert(next);
        self.account_classes.insert(number, class);
        Some(class)
    }

    fn account_class(&self, account: &Account) -> AccountClass {
        let apart = self.reads.resource || self.reads.accounts.contains(&*account.id);
        let matters = |product: &&Box<str>| self.reads.all_products || self.reads.products.contains(&***product);
        let mut products: Vec<Box<str>> = account.products.iter().filter(matters).cloned().collect();
        products.sort_unstable();
        AccountClass { organization: account.organization, products, identity: apart.then_some(account.number) }
    }
}
