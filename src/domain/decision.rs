//! The answer: a verdict with its reason and what it rests on.

use std::sync::Arc;

use super::change::Revision;
use super::person::Timestamp;
use super::reason::Reason;

/// Permit or deny; there is no third.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Let the request through.
    Permit,
    /// Do not.
    Deny,
}

/// The resource that was judged: entity type and id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceName {
    /// `Account`, `User`, `Organization` or `Dashboard` in the dashboard's bundle.
    pub kind: Arc<str>,
    /// The id within the type.
    pub id: Arc<str>,
}

/// One decision. The verdict follows from the reason, so the two can never disagree.
#[derive(Clone, Debug)]
pub struct Decision {
    /// Why.
    pub reason: Reason,
    /// A sentence for a person: what happened and what would change it.
    pub message: Arc<str>,
    /// Ids of the policies that determined it, sorted; empty where none did.
    pub policies: Arc<[Arc<str>]>,
    /// The action, where one was recognised.
    pub action: Option<Arc<str>>,
    /// The resource, where one was recognised.
    pub resource: Option<ResourceName>,
    /// The ledger's state that it rests on.
    pub revision: Revision,
    /// The policy bundle that it rests on.
    pub bundle: Arc<str>,
    /// The moment that it was made for.
    pub at: Timestamp,
    /// On the same state and under the same bundle the same question has this decision from [`Self::at`] until then;
    /// `None`: for ever. Says nothing of the caller's credential, which has a life of its own.
    pub until: Option<Timestamp>,
}

impl Decision {
    /// Whether both say the same, on whichever state and for whichever moment they were made.
    pub fn says_the_same_as(&self, other: &Self) -> bool {
        let said = |one: &Self| (one.reason, one.action.clone(), one.resource.clone());
        said(self) == said(other) && self.message == other.message && self.policies == other.policies
    }

    /// Permit exactly when the reason is one of a permit.
    pub const fn verdict(&self) -> Verdict {
        if self.reason.permits() { Verdict::Permit } else { Verdict::Deny }
    }
}
