//! Marks: what a document says that grants nothing, and why. For the provisioning log.

use std::fmt;

/// Why something that was sent grants nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MarkReason {
    /// The connection's settings do not allow it.
    NotAllowed,
    /// The organization has no such account.
    NoSuchAccount,
    /// Nobody in the organization has this id: left out, because the connection's settings say so.
    NoSuchMember,
    /// Not a value that means anything here.
    NotUnderstood,
    /// Another attribute says the same, and that one counts.
    Overridden,
    /// No schema has the attribute: it was not even stored.
    UnknownAttribute,
}

/// The longest text of a mark, in characters.
const LONGEST: usize = 100;

/// Something that grants nothing: stored and echoed, unless its reason says otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The attribute that it stands in, shortened.
    pub attribute: String,
    /// The value as sent, shortened; empty where the attribute is unknown.
    pub value: String,
    /// Why.
    pub reason: MarkReason,
}

impl Mark {
    pub(in crate::scim) fn new(attribute: &str, value: &str, reason: MarkReason) -> Self {
        let short = |text: &str| text.chars().take(LONGEST).collect();
        Self { attribute: short(attribute), value: short(value), reason }
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = match self.reason {
            MarkReason::NotAllowed => {
                "it is not among those that may be given here (the connection's settings, or the roles of the catalogue)"
            }
            MarkReason::NoSuchAccount => "the organization has no such account",
            MarkReason::NotUnderstood => "it means nothing here",
            MarkReason::Overridden => "`accounts` names accounts as well, and only that counts",
            MarkReason::NoSuchMember => {
                let value = self.value.escape_debug();
                return write!(f, "the member `{value}` was left out: nobody in the organization has this id");
            }
            MarkReason::UnknownAttribute => {
                return write!(f, "{} was left out: no schema has it", self.attribute.escape_debug());
            }
        };
        write!(f, "{} `{}` grants nothing: {why}", self.attribute.escape_debug(), self.value.escape_debug())
    }
}
