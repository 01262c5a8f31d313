//! The world that is measured: one organization with accounts, groups and people, the same at every run.
//!
//! Everything follows from a person's index by hashing, so that the seeding, the questions and the changes agree
//! without a table of a million people. Knows no store and no socket.

use std::path::Path;

use cedargate::domain::Number;
use serde::Deserialize;

/// What a benchmark may fail of.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The one organization.
pub const ORGANIZATION: &str = "bench";
/// Roles, groups and accounts of each person, held directly.
pub const ROLES_EACH: u64 = 5;
pub const GROUPS_EACH: u64 = 3;
pub const ACCOUNTS_EACH: u64 = 3;
/// Different sets of roles; people in one job hold the same ones.
const JOBS: u64 = 200;

/// SplitMix64: repeatable, and spreads neighbouring indices. Not for secrets.
pub const fn mix(value: u64, salt: u64) -> u64 {
    let mut z = value.wrapping_add(salt.wrapping_mul(0xA076_1D64_78BD_642F)).wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// A repeatable stream of numbers.
pub struct Draws(u64);

impl Draws {
    /// The same seed gives the same stream.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Uniform below the bound (0 where the bound is 0).
    pub const fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(1);
        if bound == 0 { 0 } else { mix(self.0, 77) % bound }
    }

    /// One of them.
    pub fn one<'a, T>(&mut self, of: &'a [T]) -> Option<&'a T> {
        of.get(usize::try_from(self.below(of.len() as u64)).unwrap_or(0))
    }
}

/// How many of each there are, and who holds what.
#[derive(Clone, Debug)]
pub struct World {
    pub users: u64,
    pub accounts: u64,
    pub groups: u64,
    pub catalogue: Catalogue,
}

/// The names that the shipped policies know.
#[derive(Clone, Debug, Deserialize)]
pub struct Catalogue {
    role: Vec<Named>,
    product: Vec<Named>,
}

#[derive(Clone, Debug, Deserialize)]
struct Named {
    name: String,
}

impl World {
    /// A world of so many people, with the roles and products of the shipped catalogue.
    pub fn new(users: u64) -> Result<Self, Failure> {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies/catalogue.toml");
        let catalogue: Catalogue = toml::from_str(&std::fs::read_to_string(file)?)?;
        Ok(Self { users, accounts: (users / 10).clamp(50, 10_000), groups: (users / 500).clamp(20, 2_000), catalogue })
    }

    /// The store numbers resources densely in the order of creation: organization, accounts, groups, people.
    pub fn account_number(&self, account: u64) -> Number {
        number(2 + account)
    }

    pub fn group_number(&self, group: u64) -> Number {
        number(2 + self.accounts + group)
    }

    pub fn user_number(&self, user: u64) -> Number {
        number(2 + self.accounts + self.groups + user)
    }

    pub fn username(user: u64) -> String {
        format!("user{user:07}")
    }

    pub fn account_id(account: u64) -> String {
        (500_000 + account).to_string()
    }

    /// The names of all roles.
    pub fn role_names(&self) -> Vec<&str> {
        self.catalogue.role.iter().map(|role| role.name.as_str()).collect()
    }

    /// The names of a person's roles, those of their job.
    pub fn roles_of(&self, user: u64) -> Vec<&str> {
        let job = mix(user, 1) % JOBS;
        let names = self.catalogue.role.iter().map(|role| role.name.as_str());
        // The level decides what this one stands for; nobody is given it directly.
        let names: Vec<&str> = names.filter(|name| *name != "User Administrator").collect();
        pick(ROLES_EACH, names.len() as u64, mix(job, 2)).filter_map(|at| names.get(index(at)).copied()).collect()
    }

    /// A person's accounts, by index.
    pub fn accounts_of(&self, user: u64) -> Vec<u64> {
        pick(ACCOUNTS_EACH, self.accounts, mix(user, 3)).collect()
    }

    /// A person's groups, by index.
    pub fn groups_of(&self, user: u64) -> Vec<u64> {
        pick(GROUPS_EACH, self.groups, mix(user, 4)).collect()
    }

    /// The role that a group gives to its members.
    pub fn role_of_group(&self, group: u64) -> &str {
        let roles = &self.catalogue.role;
        roles.get(index(mix(group, 5) % (roles.len() as u64).max(1))).map_or("", |role| role.name.as_str())
    }

    /// What an account has subscribed to: four fifths of all products.
    pub fn products_of(&self, account: u64) -> Vec<String> {
        let held = |at: &(usize, &Named)| !mix(account, 100 + at.0 as u64).is_multiple_of(5);
        self.catalogue.product.iter().enumerate().filter(held).map(|(_, product)| product.name.clone()).collect()
    }
}

/// So many different numbers below the bound (all of them, where there are fewer).
fn pick(count: u64, bound: u64, seed: u64) -> impl Iterator<Item = u64> {
    let bound = bound.max(1);
    let start = seed % bound;
    // A stride below the bound divided by the count never comes round.
    let stride = 1 + mix(seed, 6) % (bound / count.max(1)).max(1);
    (0..count.min(bound)).map(move |at| (start + at * stride) % bound)
}

fn number(value: u64) -> Number {
    Number::try_from(value).unwrap_or(Number::MAX)
}

fn index(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}
