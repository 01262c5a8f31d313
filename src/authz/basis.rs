//! What an answer that is kept rests on. Knows neither where it is kept nor what it is about.

use std::sync::Arc;

use crate::domain::{Decision, Reason, Revision, Timestamp};
use crate::token::Proof;

/// What a decision rests on beside its question, and what it says: enough to know when it may be given again.
#[derive(Clone, Debug)]
pub struct Basis {
    revision: Revision,
    bundle: Arc<str>,
    at: Timestamp,
    until: Option<Timestamp>,
    reason: Reason,
    /// How often the caches had been dropped.
    doubts: u64,
    /// The token that said who asks.
    proof: Option<Proof>,
}

impl Basis {
    /// Of a decision; `doubts` are those from before it was made ([`Authz::doubts`](super::Authz::doubts)).
    pub fn of(decision: &Decision, doubts: u64) -> Self {
        let Decision { revision, at, until, reason, .. } = *decision;
        Self { revision, bundle: Arc::clone(&decision.bundle), at, until, reason, doubts, proof: None }
    }

    /// The same, for no longer than this token holds ([`View::proving`](super::View::proving)).
    #[must_use]
    pub fn proved_by(self, proof: Proof) -> Self {
        Self { proof: Some(proof), ..self }
    }

    /// The decision's reason.
    pub const fn reason(&self) -> Reason {
        self.reason
    }

    /// The state that it rests on, as a mark: others mostly have another one.
    #[expect(clippy::cast_possible_truncation, reason = "a mark")]
    pub const fn mark(&self) -> u32 {
        self.revision.number as u32
    }

    /// Whether it rests on this state.
    pub(super) fn rests_on(&self, revision: Revision, bundle: &str, doubts: u64) -> bool {
        self.revision == revision && *self.bundle == *bundle && self.doubts == doubts
    }

    /// Whether the moment lies within its time, and the token that it believed is still to be believed.
    pub(super) fn may_be_told_at(&self, moment: Timestamp) -> bool {
        self.holds_at(moment) && self.proof.as_ref().is_none_or(|proof| proof.holds(moment))
    }

    /// Whether both rest on the same state of directory and policies.
    pub fn is_of_the_state_of(&self, other: &Self) -> bool {
        self.revision == other.revision && self.bundle == other.bundle && self.doubts == other.doubts
    }

    /// Whether both rest on the same state and bundle, and neither lies beyond the other's time: two such decisions on
    /// one question say the same.
    pub fn agrees_with(&self, other: &Self) -> bool {
        self.is_of_the_state_of(other) && (self.holds_at(other.at) || other.holds_at(self.at))
    }

    fn holds_at(&self, moment: Timestamp) -> bool {
        self.at <= moment && self.until.is_none_or(|until| moment < until)
    }
}
