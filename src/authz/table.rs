//! A table of fixed size that is read without a lock and without memory: what is kept of decisions stands in such ones.
//!
//! A key may have [`WAYS`] places, which share one line of memory with a part of each one's hash, so that mostly the
//! right place alone is looked at. The values hold their keys and are asked whether they are meant, so nothing foreign is ever
//! found. Knows neither what is kept nor for how long.

use std::hash::{BuildHasher, Hash};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use arc_swap::ArcSwapOption;
use hashbrown::DefaultHashBuilder;

/// Places that a key may have.
pub const WAYS: usize = 4;

/// The table: 64 bytes for each set of places, and the values.
pub struct Table<T> {
    hasher: DefaultHashBuilder,
    sets: Box<[Set<T>]>,
}

/// The places of some keys.
#[repr(align(64))]
struct Set<T> {
    tags: [AtomicU32; WAYS],
    /// Marks of keys that were asked for.
    asked: [AtomicU32; WAYS],
    places: [ArcSwapOption<T>; WAYS],
}

impl<T> Set<T> {
    fn empty() -> Self {
        Self { tags: Default::default(), asked: Default::default(), places: Default::default() }
    }
}

/// Where a key's value would stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spot {
    set: usize,
    tag: u32,
}

impl<T> Table<T> {
    /// An empty table of so many sets.
    pub fn new(sets: usize) -> Self {
        Self { hasher: DefaultHashBuilder::default(), sets: (0..sets).map(|_| Set::empty()).collect() }
    }

    /// The spot of a key.
    pub fn spot(&self, key: impl Hash) -> Spot {
        self.spot_within(key, 0, self.sets.len())
    }

    /// As [`Self::spot`], within so many sets from the first one on.
    pub fn spot_within(&self, key: impl Hash, first: usize, sets: usize) -> Spot {
        let hash = self.hasher.hash_one(key);
        #[expect(clippy::cast_possible_truncation, reason = "some bits choose the set, others are the tag")]
        let (set, tag) = (first + hash as usize % sets.max(1), (hash >> 32) as u32);
        Spot { set, tag }
    }

    /// What is read from the value that is meant.
    pub fn find<R>(&self, spot: Spot, read: impl Fn(&Arc<T>) -> Option<R>) -> Option<R> {
        let set = self.sets.get(spot.set)?;
        set.tags.iter().zip(&set.places).find_map(|(tag, place)| {
            if tag.load(Ordering::Relaxed) != spot.tag {
                return None;
            }
            place.load().as_ref().and_then(&read)
        })
    }

    /// Keeps a value: in the place of the same key's, at a free place, in the place of one that is of no use any more, or
    /// of any.
    pub fn put(&self, spot: Spot, value: Arc<T>, is_same: impl Fn(&T) -> bool, is_stale: impl Fn(&T) -> bool) {
        let Some(set) = self.sets.get(spot.set) else { return };
        let at = |fits: &dyn Fn(Option<&T>) -> bool| set.places.iter().position(|place| fits(place.load().as_deref()));
        let same = at(&|kept| kept.is_some_and(&is_same));
        let free = || at(&|kept| kept.is_none_or(&is_stale));
        // Which of several goes is for the key's own hash to say: no state to keep, and no pattern to aim at.
        let at = same.or_else(free).unwrap_or(spot.tag as usize % WAYS);
        let (Some(tag), Some(place)) = (set.tags.get(at), set.places.get(at)) else { return };
        place.store(Some(value));
        tag.store(spot.tag, Ordering::Relaxed);
    }

    /// Whether the key was asked for before under this salt, as far as marks tell. The first time leaves a mark, the second
    /// takes it away.
    pub fn is_asked_again(&self, spot: Spot, salt: u32) -> bool {
        const NOBODY: u32 = 0;
        let mark = spot.tag.wrapping_add(salt.wrapping_mul(0x9E37_79B9)).max(NOBODY + 1);
        let Some(set) = self.sets.get(spot.set) else { return false };
        let place_of = |wanted| set.asked.iter().position(|asked| asked.load(Ordering::Relaxed) == wanted);
        let (at, left) = match place_of(mark) {
            Some(at) => (at, NOBODY),
            // Which of several goes depends on all of them: keys that come in turn, again and again, must not take each other's
            // marks away for ever.
            None => {
                let sum = |sum: u32, asked: &AtomicU32| sum.rotate_left(7) ^ asked.load(Ordering::Relaxed);
                let any = set.asked.iter().fold(spot.tag, sum).wrapping_mul(0x9E37_79B9) >> 16;
                (place_of(NOBODY).unwrap_or(any as usize % WAYS), mark)
            }
        };
        set.asked.get(at).into_iter().for_each(|asked| asked.store(left, Ordering::Relaxed));
        left == NOBODY
    }

    /// Lets go of everything else.
    pub fn retain(&self, stays: impl Fn(&T) -> bool) {
        let places = self.sets.iter().flat_map(|set| &set.places);
        let goes = |place: &&ArcSwapOption<T>| place.load().as_deref().is_some_and(|value| !stays(value));
        places.filter(goes).for_each(|place| place.store(None));
    }

    /// How many values are kept.
    #[cfg(test)]
    pub fn count(&self) -> usize {
        self.sets.iter().flat_map(|set| &set.places).filter(|place| place.load().is_some()).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(table: &Table<(u32, u32)>, key: u32) -> Option<u32> {
        table.find(table.spot(key), |value| (value.0 == key).then_some(value.1))
    }

    fn put(table: &Table<(u32, u32)>, key: u32, value: u32) {
        table.put(table.spot(key), Arc::new((key, value)), |kept| kept.0 == key, |kept| kept.1 == 0);
    }

    #[test]
    fn keys_find_their_own_values_and_full_sets_let_the_useless_go_first() {
        let table = Table::new(64);
        for key in 0..10_000 {
            put(&table, key, key + 1);
            assert_eq!(get(&table, key), Some(key + 1));
            put(&table, key, key + 2);
            assert_eq!(get(&table, key), Some(key + 2), "in its own place");
            let earlier = key / 2;
            assert!(get(&table, earlier).is_none_or(|value| value == earlier + 2));
        }
        assert_eq!(table.count(), 64 * WAYS);

        let one = Table::new(1);
        (0..4).for_each(|key| put(&one, key, u32::from(key != 2)));
        put(&one, 9, 1);
        assert_eq!([0, 1, 2, 3, 9].map(|key| get(&one, key)), [Some(1), Some(1), None, Some(1), Some(1)]);
        one.retain(|value| value.0 == 3);
        assert_eq!((one.count(), get(&one, 3)), (1, Some(1)));
    }

    #[test]
    fn a_mark_is_of_one_key_and_one_salt() {
        let table = Table::<()>::new(1 << 10);
        let asked = |key: u32, salt| table.is_asked_again(table.spot(key), salt);
        assert!(!asked(1, 1) && asked(1, 1));
        assert!(!asked(1, 2) && asked(1, 2) && !asked(1, 1));
        assert!(!asked(2, 1), "another key");
    }

    #[test]
    fn keys_that_come_in_turn_do_not_take_each_others_marks_away_for_ever() {
        // As many as a set has places, a few more, and all over a table.
        for (sets, keys) in [(1, WAYS), (1, WAYS + 2), (1 << 10, 1 << 10), (1 << 10, 2 << 10)] {
            let table = Table::<()>::new(sets);
            let mut waiting: Vec<usize> = (0..keys).collect();
            for _ in 0..200 {
                waiting.retain(|key| !table.is_asked_again(table.spot(key), 7));
            }
            assert!(waiting.len() <= keys / 50, "{} of {keys} wait for ever", waiting.len());
        }
    }
}
