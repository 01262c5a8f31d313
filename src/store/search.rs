//! What is looked up, parts of what a search finds, and places in its order for walks. Knows no store.

use std::cmp::Ordering;

use super::{Kind, Record, UniqueKey};
use crate::domain::Number;

/// One resource that [`Store::find`](super::Store::find) looks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// By kind and id.
    Id(Kind, String),
    /// The holder of a unique key.
    Holder(UniqueKey),
    /// The organization of the holder of a unique key.
    OrganizationOfHolder(UniqueKey),
}

/// Where a walk through a result stands: behind one resource, whatever has become of it since. The same query with
/// the same order finds what comes after it at the cost of a first page, and a resource that nobody touches
/// meanwhile is met exactly once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// What the resource was sorted by ([`Found::keys`]); `None` where it had no such value, or nothing is sorted.
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

/// Which part of the result is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// How many to leave out at the beginning.
    pub offset: u64,
    /// How many at most.
    pub count: u64,
    /// Only what comes after this position.
    pub after: Option<Position>,
}

/// What a search found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The part that was asked for.
    pub records: Vec<Record>,
    /// What each of them is sorted by, for a [`Position`].
    pub keys: Vec<Option<String>>,
    /// How many there are in all, whatever the page. `None` where the page comes after a position: a walk counts
    /// once, when it begins.
    pub total: Option<u64>,
    /// Whether more come after the last of them.
    pub more: bool,
}

/// A group that somebody is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Above {
    /// Who.
    pub member: Number,
    /// The group.
    pub group: Number,
    /// Whether as a member of it, or only through other groups.
    pub direct: bool,
}
