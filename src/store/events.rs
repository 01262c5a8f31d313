//! The provisioning log as stores keep it: what a connection's requests came to, beside the ledger.
//!
//! Events are no part of the hash chain and fold into nothing: losing old ones by retention loses no right. Their
//! bodies are opaque text. Knows the contract's types only.

use super::{Outcome, Step, Transaction};
use crate::domain::Timestamp;

/// Most events that one [`Retention`] deletes at a time, so that no write waits long behind it.
pub const MOST_FORGOTTEN: u32 = 2_000;

/// One entry of the provisioning log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// A UUID of version 7 by convention. Whoever makes it sees to it that it is unique; the store does not look.
    pub id: String,
    /// The id of the connection whose log it stands in. The connection may be gone.
    pub connection: String,
    /// When.
    pub at: Timestamp,
    /// What sort of entry; a word of the caller's.
    pub kind: String,
    /// The HTTP status of the answer; below 400 is a success.
    pub status: u16,
    /// The id of the resource that it is about; empty where there is none.
    pub resource: String,
    /// Everything else (JSON text).
    pub body: String,
    /// What is needed to take it back (JSON text); `None` where nothing can be.
    pub before: Option<String>,
}

/// An entry with its place: numbers grow in the order of commits and are never given twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedEvent {
    /// Its place.
    pub number: u64,
    /// The entry.
    pub event: Event,
}

/// A search of the provisioning log. All conditions hold together; newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventQuery {
    /// Whose log; `None` searches all.
    pub connection: Option<String>,
    /// The entry of this id.
    pub id: Option<String>,
    /// Entries of this kind.
    pub kind: Option<String>,
    /// Successes (`true`) or failures (`false`).
    pub success: Option<bool>,
    /// Entries about this resource.
    pub resource: Option<String>,
    /// Not before this moment.
    pub since: Option<Timestamp>,
    /// Before this moment.
    pub until: Option<Timestamp>,
    /// Entries that can be taken back.
    pub reversible: bool,
    /// Entries of a greater number: what came since.
    pub after: Option<u64>,
    /// Entries of a smaller number: the next page.
    pub below: Option<u64>,
    /// How many at most.
    pub limit: u64,
}

impl EventQuery {
    /// Whether an entry is among those sought, the limit aside.
    pub(super) fn admits(&self, LoggedEvent { number, event }: &LoggedEvent) -> bool {
        let same = |wanted: &Option<String>, found: &str| wanted.as_ref().is_none_or(|wanted| wanted == found);
        same(&self.connection, &event.connection)
            && same(&self.id, &event.id)
            && same(&self.kind, &event.kind)
            && same(&self.resource, &event.resource)
            && self.success.is_none_or(|success| success == (event.status < 400))
            && self.since.is_none_or(|since| event.at >= since)
            && self.until.is_none_or(|until| event.at < until)
            && (!self.reversible || event.before.is_some())
            && self.after.is_none_or(|after| *number > after)
            && self.below.is_none_or(|below| *number < below)
    }
}

/// How much of the provisioning log stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Whose entries are counted.
    pub connection: String,
    /// The newest of them that stay; the older ones go.
    pub keep: u64,
    /// The oldest entries of any connection go, too, up to the first that is not from before this moment.
    pub before: Timestamp,
}

impl Step {
    /// Whether it concerns the provisioning log alone.
    pub(super) const fn is_note(&self) -> bool {
        match self {
            Self::Event(_) | Self::ForgetEvents(_) | Self::Note { .. } => true,
            Self::Create { .. } | Self::Replace { .. } | Self::Members { .. } | Self::Remove { .. } => false,
        }
    }
}

impl Transaction {
    /// Whether it takes no revision.
    pub(super) fn only_notes(&self) -> bool {
        !self.steps.is_empty() && self.steps.iter().all(Step::is_note)
    }
}

impl Outcome {
    /// Of a step that concerns no resource.
    pub(super) const fn of_note(at: Timestamp) -> Self {
        Self { number: 0, version: 0, created: at, modified: at, changed: false }
    }
}
