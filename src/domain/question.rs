//! What a gateway asks, whatever dialect it speaks.

use super::change::Revision;
use super::person::Channel;

/// An entity as a question names it.
#[derive(Clone, Copy, Debug)]
pub struct EntityName<'a> {
    /// The entity type, as declared in the schema or as the bundle's table of names translates it.
    pub kind: &'a str,
    /// The id within the type.
    pub id: &'a str,
    /// Attributes that the question gives. Only those are read that the schema leaves to requests; what SCIM or the
    /// bundle's static entities own is never overridden.
    pub properties: &'a [(String, ContextValue)],
}

impl<'a> EntityName<'a> {
    /// An entity named without properties.
    pub const fn new(kind: &'a str, id: &'a str) -> Self {
        Self { kind, id, properties: &[] }
    }
}

/// Whom the question is about.
#[derive(Clone, Copy, Debug)]
pub enum Subject<'a> {
    /// A dashboard username or a present login, compared without case.
    User(&'a str),
    /// A SCIM id.
    Id(&'a str),
    /// The caller's `Authorization` header, still to be verified.
    Authorization(&'a str),
    /// The claims of a token, a JSON object as text, that a trusted gateway has verified. Never from a header.
    Claims(&'a str),
    /// A name in a client certificate that a trusted gateway, or this server itself, has verified.
    Principal(&'a str),
    /// An entity of any type of the bundle's schema (AuthZEN). In the dashboard's bundle a `User` is found by id,
    /// username or login.
    Entity(EntityName<'a>),
}

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub enum Asked<'a> {
    /// An HTTP request, judged by the routes of the bundle.
    Request {
        /// Exactly as sent; methods are case-sensitive.
        method: &'a str,
        /// The host that the client asked, with or without a port.
        host: Option<&'a str>,
        /// Path and query exactly as sent, undecoded.
        path: &'a str,
    },
    /// An action by its name.
    Action {
        /// As declared in the routes or the schema.
        action: &'a str,
        /// Properties of the action (AuthZEN); read where the schema declares `context.action`.
        properties: &'a [(String, ContextValue)],
        /// Absent for actions that need none.
        resource: Option<EntityName<'a>>,
    },
}

/// A value of the question's context, before the schema gave it a type.
#[derive(Clone, Debug, PartialEq)]
pub enum ContextValue {
    /// Text; also the id where the schema wants an entity.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// A truth value.
    Boolean(bool),
    /// A set of values.
    Set(Vec<ContextValue>),
    /// A record of values.
    Record(Vec<(String, ContextValue)>),
    /// A number that is no 64-bit integer, as it was written: a fraction, or one beyond that range. Read where the
    /// schema wants a decimal or text.
    OtherNumber(String),
}

/// One question.
#[derive(Clone, Debug)]
pub struct Question<'a> {
    /// Whom it is about.
    pub subject: Subject<'a>,
    /// What is asked.
    pub asked: Asked<'a>,
    /// Where it comes from; the gateway's configuration says so, never the client.
    pub channel: Channel,
    /// Further facts; only keys that the schema declares are read, and what the server knows wins.
    pub context: &'a [(String, ContextValue)],
    /// The least revision that the answer must rest on.
    pub least_revision: Option<Revision>,
}
