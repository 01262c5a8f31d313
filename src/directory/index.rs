//! A persistent hash index from keys to numbers. The keys themselves stay in the records.

use std::hash::BuildHasher;
use std::sync::Arc;

use hashbrown::{DefaultHashBuilder, HashTable};

use super::records::Person;
use crate::domain::folded;

const BRANCHES: usize = 64;

type Shard = Arc<HashTable<Entry>>;
type Branch = Arc<[Shard; BRANCHES]>;

/// Half of the key's hash and the number: the half spares most look-ups of the record, and lets a table grow.
#[derive(Clone, Copy, Debug)]
struct Entry {
    half: u32,
    number: u32,
}

/// What a key means, so that an account's id never finds a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum KeyKind {
    /// A folded username or login.
    Name,
    /// A SCIM id of a person.
    Person,
    /// An account's id.
    Account,
    /// A role's name.
    Role,
    /// A product's name.
    Product,
}

/// The hashes of a person's keys: username, login where there is another, id.
pub(super) type Keys = [Option<Hashed>; 3];

/// Makes the hashes of one index.
#[derive(Clone, Debug, Default)]
pub(super) struct Hasher(DefaultHashBuilder);

impl Hasher {
    pub(super) fn hash(&self, kind: KeyKind, key: impl AsRef<[u8]>) -> Hashed {
        Hashed(self.0.hash_one((kind, key.as_ref())))
    }

    /// Everything that a person is found by.
    pub(super) fn keys(&self, person: &Person) -> Keys {
        let name = |name: &str| self.hash(KeyKind::Name, &*folded(name));
        [Some(name(person.username())), person.login().map(name), Some(self.hash(KeyKind::Person, person.uuid()))]
    }
}

/// 4,096 small tables in two levels: a change copies one table and two short lists.
#[derive(Clone, Debug)]
pub(super) struct Index {
    hasher: Hasher,
    branches: Arc<[Branch; BRANCHES]>,
}

impl Default for Index {
    fn default() -> Self {
        let empty: Shard = Arc::new(HashTable::new());
        let branch: Branch = Arc::new(std::array::from_fn(|_| Arc::clone(&empty)));
        Self { hasher: Hasher::default(), branches: Arc::new(std::array::from_fn(|_| Arc::clone(&branch))) }
    }
}

/// A key's hash, made once for look-up and change.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hashed(u64);

impl Hashed {
    #[expect(clippy::cast_possible_truncation, reason = "only the lowest bits count")]
    const fn branch(self) -> usize {
        self.0 as usize % BRANCHES
    }

    const fn shard(self) -> usize {
        (self.0 >> 6) as usize % BRANCHES
    }

    const fn half(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

/// The hash within a shard, from the half that entries keep.
const fn spread(half: u32) -> u64 {
    (half as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

impl Index {
    pub(super) fn hash(&self, kind: KeyKind, key: impl AsRef<[u8]>) -> Hashed {
        self.hasher.hash(kind, key)
    }

    pub(super) const fn hasher(&self) -> &Hasher {
        &self.hasher
    }

    /// The number whose record `is` the key.
    pub(super) fn find(&self, hash: Hashed, is: impl Fn(u32) -> bool) -> Option<u32> {
        let shard = self.branches.get(hash.branch())?.get(hash.shard())?;
        let half = hash.half();
        shard.find(spread(half), |entry| entry.half == half && is(entry.number)).map(|entry| entry.number)
    }

    /// Adds a number under a key. The same pair twice stays one.
    pub(super) fn insert(&mut self, hash: Hashed, number: u32) {
        let half = hash.half();
        if let Some(shard) = self.shard(hash)
            && shard.find(spread(half), |entry| entry.half == half && entry.number == number).is_none()
        {
            shard.insert_unique(spread(half), Entry { half, number }, |entry| spread(entry.half));
        }
    }

    /// Takes a number away from a key.
    pub(super) fn remove(&mut self, hash: Hashed, number: u32) {
        let half = hash.half();
        if let Some(shard) = self.shard(hash)
            && let Ok(entry) = shard.find_entry(spread(half), |entry| entry.half == half && entry.number == number)
        {
            entry.remove();
        }
    }

    fn shard(&mut self, hash: Hashed) -> Option<&mut HashTable<Entry>> {
        let branches = Arc::make_mut(&mut self.branches);
        let branch = Arc::make_mut(branches.get_mut(hash.branch())?);
        branch.get_mut(hash.shard()).map(Arc::make_mut)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_put_and_forgets_what_was_taken() {
        let names: Vec<String> = (0..20_000).map(|n| format!("name-{n}")).collect();
        let mut index = Index::default();
        for (number, name) in (0_u32..).zip(&names) {
            index.insert(index.hash(KeyKind::Name, name), number);
            index.insert(index.hash(KeyKind::Name, name), number);
        }
        let before = index.clone();
        let find = |index: &Index, name: &str| {
            index.find(index.hash(KeyKind::Name, name), |number| names[number as usize] == name)
        };
        for number in (0_u32..20_000).step_by(2) {
            index.remove(index.hash(KeyKind::Name, &names[number as usize]), number);
        }
        for (number, name) in (0_u32..).zip(&names) {
            assert_eq!(find(&before, name), Some(number));
            assert_eq!(find(&index, name), (number % 2 == 1).then_some(number));
        }
        assert_eq!(before.find(before.hash(KeyKind::Account, "name-1"), |n| names[n as usize] == "name-1"), None);
    }
}
