//! Places in the order of a search, for walks. Knows no store.

use std::cmp::Ordering;

use crate::domain::Number;

/// Where a walk through a result stands: behind one resource, whatever has become of it since. The same query with
/// the same order finds what comes after it at the cost of a first page, and a resource that nobody touches
/// meanwhile is met exactly once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// What the resource was sorted by ([`Found::keys`](super::Found::keys)); `None` where it had no such value, or nothing is sorted.
    pub key: Option<String>,
    /// Its number.
    pub number: Number,
}

impl Position {
    /// Which comes first: those without a key last, or first where descending; ties by number, ascending.
    pub fn compare(&self, other: &Self, descending: bool) -> Ordering {
        let keys = match (&self.key, &other.key) {
            (Some(one), Some(other)) => one.cmp(other),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => Ordering::Equal,
        };
        let keys = if descending { keys.reverse() } else { keys };
        keys.then(self.number.cmp(&other.number))
    }
}

impl From<Number> for Position {
    /// In an unsorted result.
    fn from(number: Number) -> Self {
        Self { key: None, number }
    }
}
