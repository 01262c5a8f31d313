//! Unique keys of the tail. Resources above the head's mark (see [`tail`](super::tail)) have theirs in no table yet: here
//! they are in memory, for the writer to hold new claims against and for readers to know where to look.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, PoisonError, RwLock};

use super::head::Ledger;
use crate::domain::Number;
use crate::store::{Lookup, UniqueKey};

/// The keys of all committed resources of the tail.
#[derive(Default)]
pub(super) struct Recent(RwLock<Keys>);

#[derive(Default)]
struct Keys {
    holders: HashMap<UniqueKey, Number>,
    /// Resources from here on are not known yet.
    next_number: Number,
}

/// Where the holder of a key may be, beside the table. Taken before the state that is read, it is sound for any later
/// one: what was settled since stands in the table, and what was created since stands from `next_number` on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Hint {
    pub(super) holder: Option<Number>,
    pub(super) next_number: Number,
}

impl Recent {
    /// Hints for what is looked up, all of one moment.
    pub(super) fn hints(&self, wanted: Vec<Lookup>) -> Vec<(Lookup, Hint)> {
        let keys = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let hint = |lookup: Lookup| {
            let holder = match &lookup {
                Lookup::Id(..) => None,
                Lookup::Holder(key) | Lookup::OrganizationOfHolder(key) => keys.holders.get(key).copied(),
            };
            (lookup, Hint { holder, next_number: keys.next_number })
        };
        wanted.into_iter().map(hint).collect()
    }

    fn holder(&self, key: &UniqueKey) -> Option<Number> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).holders.get(key).copied()
    }
}

/// The writer's view: what is committed, and what the group at hand claims.
pub(super) struct Claims {
    committed: Arc<Recent>,
    pending: HashMap<UniqueKey, Number>,
    /// What others in `pending` stand in the place of, the latest last: who had a key before it was settled and given up.
    replaced: Vec<(UniqueKey, Number)>,
}

impl Claims {
    /// For a ledger whose tail is settled.
    pub(super) fn new(committed: Arc<Recent>, ledger: &Ledger) -> Self {
        let mut claims = Self { committed, pending: HashMap::new(), replaced: Vec::new() };
        claims.publish(ledger);
        claims
    }

    /// Whether a resource of the tail holds it. Below `settled` the table tells.
    pub(super) fn are_of(&self, key: &UniqueKey, settled: Number) -> bool {
        let holder = self.pending.get(key).copied().or_else(|| self.committed.holder(key));
        holder.is_some_and(|number| number >= settled)
    }

    pub(super) fn claim(&mut self, key: UniqueKey, number: Number) {
        if let Some(before) = self.pending.insert(key.clone(), number) {
            self.replaced.push((key, before));
        }
    }

    /// Forgets what resources from this number on claimed: they did not come to be.
    pub(super) fn take_back(&mut self, from: Number) {
        self.pending.retain(|_, number| *number < from);
        let mut still = Vec::new();
        for (key, number) in self.replaced.drain(..).rev().filter(|(_, number)| *number < from) {
            match self.pending.entry(key) {
                Entry::Vacant(place) => {
                    place.insert(number);
                }
                Entry::Occupied(place) => still.push((place.key().clone(), number)),
            }
        }
        still.reverse();
        self.replaced = still;
    }

    /// What is pending is committed, with the marks of this head.
    pub(super) fn publish(&mut self, ledger: &Ledger) {
        let mut keys = self.committed.0.write().unwrap_or_else(PoisonError::into_inner);
        keys.holders.retain(|_, number| *number >= ledger.settled);
        keys.holders.extend(self.pending.drain().filter(|(_, number)| *number >= ledger.settled));
        keys.next_number = ledger.next_number;
        self.replaced.clear();
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::domain::Timestamp;
    use crate::store::sqlite::writer::{Shared, Writer};
    use crate::store::sqlite::{open, reads};
    use crate::store::{Content, Kind, Record, Step, StoreError, Transaction};

    struct Bench {
        writer: Writer,
        shared: Arc<Shared>,
        folder: TempDir,
        operations: usize,
    }

    /// A ledger in a new folder, or in one that a process left without an end.
    fn bench(folder: TempDir) -> Bench {
        let opened = open::open(folder.path(), Timestamp(0)).unwrap();
        let shared = Arc::new(Shared::default());
        let writer = Writer::new(opened.connection, opened.ledger, Arc::clone(&shared), None);
        Bench { writer, shared, folder, operations: 0 }
    }

    fn key(value: &str) -> UniqueKey {
        UniqueKey { scope: "user\"name".to_owned(), value: value.to_owned() }
    }

    fn content(keys: &[&str]) -> Content {
        Content { unique: keys.iter().map(|value| key(value)).collect(), ..Content::default() }
    }

    fn create(id: &str, keys: &[&str]) -> Step {
        Step::Create { kind: Kind::User, id: id.to_owned(), organization: String::new(), content: content(keys) }
    }

    fn replace(number: Number, keys: &[&str]) -> Step {
        Step::Replace { number, expected: None, content: content(keys) }
    }

    impl Bench {
        /// One group of transactions of one step each: whether each happened.
        fn write(&mut self, steps: Vec<Step>) -> Vec<bool> {
            let transaction = |(at, step)| {
                let operation = format!("{}-{at}", self.operations);
                Transaction { operation, at: Timestamp(1), steps: vec![step] }
            };
            let group: Vec<_> = steps.into_iter().enumerate().map(transaction).collect();
            self.operations += 1;
            let answers = self.writer.serve(&group);
            for answer in &answers {
                assert!(matches!(answer, Ok(_) | Err(StoreError::Taken(_) | StoreError::Exists { .. })), "{answer:?}");
            }
            answers.iter().map(Result::is_ok).collect()
        }

        fn hint(&self, value: &str) -> (Lookup, Hint) {
            self.shared.recent.hints(vec![Lookup::Holder(key(value))]).remove(0)
        }

        /// Who holds it now, as somebody finds out who took this hint.
        fn by(&self, (lookup, hint): &(Lookup, Hint)) -> Option<Record> {
            let reader = open::open_reader(&self.folder.path().join(open::LEDGER)).unwrap();
            reads::look_up(&reader, lookup, *hint).unwrap()
        }

        fn holder(&self, value: &str) -> Option<String> {
            self.by(&self.hint(value)).map(|record| record.id)
        }
    }

    fn new() -> Bench {
        bench(tempfile::tempdir().unwrap())
    }

    #[test]
    fn a_holder_is_found_by_a_hint_of_any_age() {
        let mut bench = new();
        let before = bench.hint("k");
        assert_eq!(bench.by(&before), None);
        assert_eq!(bench.write(vec![create("a", &["k", "other"])]), [true]);
        let recent = bench.hint("k");
        assert_eq!(recent.1.holder, Some(1));
        bench.writer.end();
        let settled = bench.hint("k");
        assert_eq!(settled.1.holder, None, "the table has it");
        assert_eq!(bench.write(vec![create("b", &["later"])]), [true]);
        let hints = [before, recent, settled];
        assert!(hints.iter().all(|hint| bench.by(hint).is_some_and(|record| record.id == "a")));
        assert_eq!(bench.write(vec![replace(1, &["other"])]), [true]);
        assert!(hints.iter().all(|hint| bench.by(hint).is_none()));
        assert_eq!(bench.write(vec![create("c", &["k"])]), [true]);
        assert!(hints.iter().all(|hint| bench.by(hint).is_some_and(|record| record.id == "c")));
    }

    #[test]
    fn a_key_of_the_tail_is_taken_until_it_is_given_up() {
        let mut bench = new();
        let group = vec![create("a", &["k"]), create("b", &["k"]), create("c", &["free", "k"]), create("d", &["free"])];
        assert_eq!(bench.write(group), [true, false, false, true], "who is refused takes no key along");
        assert_eq!(bench.write(vec![create("e", &["k"]), create("a", &["new"])]), [false, false]);
        assert_eq!(bench.write(vec![create("e", &["new"]), replace(1, &[]), create("f", &["k"])]), [true; 3]);
        assert_eq!(bench.write(vec![Step::Remove { number: 2, expected: None }, create("g", &["free"])]), [true; 2]);
        let holders = ["k", "free", "new"].map(|value| bench.holder(value));
        assert_eq!(holders.map(|id| id.unwrap()), ["f", "g", "e"]);
        bench.writer.end();
        let holders = ["k", "free", "new"].map(|value| bench.holder(value));
        assert_eq!(holders.map(|id| id.unwrap()), ["f", "g", "e"]);
    }

    #[test]
    fn a_claim_that_is_taken_back_gives_the_key_to_whoever_had_it() {
        let mut claims = Claims { committed: Arc::default(), pending: HashMap::new(), replaced: Vec::new() };
        claims.claim(key("k"), 1);
        // Within a transaction the first is settled and lets go, and two others take it in turn.
        claims.claim(key("k"), 2);
        claims.claim(key("k"), 3);
        assert!(claims.are_of(&key("k"), 3) && !claims.are_of(&key("k"), 4));
        claims.take_back(3);
        assert!(claims.are_of(&key("k"), 2) && !claims.are_of(&key("k"), 3));
        claims.claim(key("k"), 3);
        claims.take_back(2);
        assert!(claims.are_of(&key("k"), 1) && !claims.are_of(&key("k"), 2));
        claims.take_back(1);
        assert!(!claims.are_of(&key("k"), 1));
    }

    #[test]
    fn whoever_opens_a_ledger_that_was_left_settles_it() {
        let mut left = new();
        assert_eq!(left.write(vec![create("a", &["k"])]), [true]);
        let Bench { writer, folder, operations, .. } = left;
        drop(writer);
        let mut bench = Bench { operations, ..bench(folder) };
        assert_eq!(bench.hint("k").1, Hint { holder: None, next_number: 2 });
        assert_eq!(bench.holder("k").as_deref(), Some("a"));
        assert_eq!(bench.write(vec![create("b", &["k"])]), [false]);
    }
}
