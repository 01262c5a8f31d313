//! A persistent hash index from keys to numbers. The keys themselves stay in the records.

use std::hash::BuildHasher;
use std::sync::Arc;

use hashbrown::DefaultHashBuilder;

use super::records::Person;
use crate::domain::folded;

const BRANCHES: usize = 64;

type Branch = Arc<[Shard; BRANCHES]>;

/// Half of the key's hash and the number: the half spares most look-ups of the record, and lets a table grow.
#[derive(Clone, Copy, Debug)]
struct Entry {
    half: u32,
    number: u32,
}

/// No entry: a number that no store and no list of names gives.
const NONE: Entry = Entry { half: 0, number: u32::MAX };
/// The fewest places of a table that is not empty.
const LEAST_PLACES: usize = 4;

/// A table by linear probing, a power of two of places: what is looked for mostly lies in the one line of memory in which its
/// place is, and nothing else has to be read on the way there.
#[derive(Clone, Debug, Default)]
struct Shard {
    places: Arc<[Entry]>,
    count: usize,
}

impl Shard {
    /// The entries of this half and what follows them up to a free place, each with its place.
    fn from(&self, half: u32) -> impl Iterator<Item = (usize, Entry)> {
        let mask = self.places.len().wrapping_sub(1);
        let places = (0..self.places.len()).map(move |step| (half as usize).wrapping_add(step) & mask);
        let entries = places.map_while(|at| Some((at, *self.places.get(at)?)));
        entries.take_while(|(_, entry)| entry.number != NONE.number)
    }

    fn find(&self, half: u32, is: impl Fn(u32) -> bool) -> Option<(usize, u32)> {
        let mut entries = self.from(half);
        entries.find(|(_, entry)| entry.half == half && is(entry.number)).map(|(at, entry)| (at, entry.number))
    }

    fn insert(&mut self, entry: Entry) {
        // Never fuller than three quarters, so that ways stay short and end.
        if (self.count + 1) * 4 > self.places.len() * 3 {
            let before = std::mem::take(&mut self.places);
            self.places = vec![NONE; (before.len() * 2).max(LEAST_PLACES)].into();
            before.iter().filter(|entry| entry.number != NONE.number).for_each(|entry| self.put(*entry));
        }
        self.put(entry);
        self.count += 1;
    }

    fn put(&mut self, entry: Entry) {
        let mask = self.places.len().wrapping_sub(1);
        let at = self.from(entry.half).last().map_or(entry.half as usize, |(at, _)| at + 1) & mask;
        if let Some(place) = Arc::make_mut(&mut self.places).get_mut(at) {
            *place = entry;
        }
    }

    /// Takes away what stands at a place, and closes the gap with what would not be found beyond it.
    fn remove(&mut self, mut gap: usize) {
        let places = Arc::make_mut(&mut self.places);
        let mask = places.len().wrapping_sub(1);
        let mut at = gap;
        loop {
            at = (at + 1) & mask;
            let Some(entry) = places.get(at).copied().filter(|entry| entry.number != NONE.number) else { break };
            let is_beyond = at.wrapping_sub(entry.half as usize) & mask >= at.wrapping_sub(gap) & mask;
            if let Some(place) = places.get_mut(gap).filter(|_| is_beyond) {
                *place = entry;
                gap = at;
            }
        }
        if let Some(place) = places.get_mut(gap) {
            *place = NONE;
        }
        self.count -= 1;
    }
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
        let branch: Branch = Arc::new(std::array::from_fn(|_| Shard::default()));
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
        shard.find(hash.half(), is).map(|(_, number)| number)
    }

    /// Adds a number under a key. The same pair twice stays one.
    pub(super) fn insert(&mut self, hash: Hashed, number: u32) {
        let half = hash.half();
        if let Some(shard) = self.shard(hash)
            && shard.find(half, |other| other == number).is_none()
        {
            shard.insert(Entry { half, number });
        }
    }

    /// Takes a number away from a key.
    pub(super) fn remove(&mut self, hash: Hashed, number: u32) {
        if let Some(shard) = self.shard(hash)
            && let Some((at, _)) = shard.find(hash.half(), |other| other == number)
        {
            shard.remove(at);
        }
    }

    fn shard(&mut self, hash: Hashed) -> Option<&mut Shard> {
        let branches = Arc::make_mut(&mut self.branches);
        let branch = Arc::make_mut(branches.get_mut(hash.branch())?);
        branch.get_mut(hash.shard())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Many keys of few halves, near the end of the table too, so that ways cross and wrap around.
        #[test]
        fn a_shard_is_a_set_of_entries(steps in proptest::collection::vec((any::<bool>(), 0_u32..6, 0_u32..20), 1..200)) {
            let mut shard = Shard::default();
            let mut model = std::collections::BTreeSet::new();
            for (adds, half, number) in steps {
                let half = half.wrapping_sub(3);
                let found = shard.find(half, |other| other == number);
                prop_assert_eq!(found.is_some(), model.contains(&(half, number)));
                match found {
                    None if adds => {
                        shard.insert(Entry { half, number });
                        model.insert((half, number));
                    }
                    Some((at, _)) if !adds => {
                        shard.remove(at);
                        model.remove(&(half, number));
                    }
                    None | Some(_) => {}
                }
                prop_assert_eq!(shard.count, model.len());
                for (half, number) in &model {
                    prop_assert!(shard.find(*half, |other| other == *number).is_some());
                }
            }
        }
    }

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
