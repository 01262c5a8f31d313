//! The nouns of the house: who asks, what is asked, what is answered, and what the ledger records.
//!
//! Knows nothing of I/O, HTTP, Cedar or SQL. Everything here is plain data with its invariants; the
//! only encoding is the ledger's own (`serde` on [`Image`]), never a wire format.

mod change;
mod decision;
mod person;
mod question;
mod reason;

pub use change::{AccountImage, Change, GroupImage, Image, MemberChange, OrganizationImage, Revision, UserImage};
pub use decision::{Decision, ResourceName, Verdict};
pub use person::{AccessMethods, AdministrationLevel, Channel, Number, Timestamp, fold, folded};
pub use question::{Asked, ContextValue, EntityName, Question, Subject};
pub use reason::Reason;
