//! The ledger's contract: what every store promises, in prose and in types.
//!
//! A store keeps **resources** (organizations, accounts, connections, users, groups), an **attribute
//! index** that SCIM filters run on, **unique keys**, **memberships**, and the **change log** that
//! decisions are folded from. SQL stays in this room. Nothing here knows SCIM, HTTP or Cedar: documents
//! and states are opaque text, paths of the index are names that the caller chose.
//!
//! Promises, each held by the contract suite against every implementation:
//!
//! 1. A [`Transaction`] happens whole or not at all; once [`Store::commit`] answers, it survives a kill.
//! 2. Each transaction takes the next [`Revision`]: no gaps, in commit order. Its changes, with their
//!    post-images, stand in the change log in the same commit, chained by hash.
//! 3. The **apply hook** is called once for each committed transaction, in revision order, after the
//!    commit and before [`Store::commit`] answers.
//! 4. A unique key belongs to one resource at a time; the constraint decides, not a look before.
//! 5. A resource's version goes up by one with each write to it (its members included), and an expected version that
//!    does not match changes nothing.
//! 6. The same operation id commits once; a repetition answers with the first outcome's revision.
//! 7. Events of the provisioning log that come with a write are committed with it. A transaction of [`Step::Event`],
//!    [`Step::ForgetEvents`] and [`Step::Note`] alone takes no revision: it answers with the one that the ledger stands at.
//! 8. After an I/O error at a commit nothing is acknowledged any more until the process starts anew.

pub mod events;
mod limits;
pub mod memory;
mod search;
pub mod sqlite;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::domain::{Change, Image, Number, Revision, Timestamp};

pub use events::{Event, EventQuery, LoggedEvent, Retention};
pub use limits::{MAX_ABOVE, MAX_DEPTH, MAX_STEPS, MAX_TERMS};
pub use search::{Above, Found, Lookup, Page, Position};

/// A future that can be stored and sent.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Called in commit order with each committed revision and its changes. Runs between the commit and its answer, so it
/// must be quick and must not call the store.
pub type ApplyHook = Arc<dyn Fn(Revision, &[Change]) + Send + Sync>;

/// What a resource is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A wall.
    Organization,
    /// An account with products.
    Account,
    /// One identity provider of one organization, with its tokens.
    Connection,
    /// A person.
    User,
    /// A group of people and groups.
    Group,
}

impl Kind {
    /// Every kind, in the order of their declaration.
    pub const ALL: [Self; 5] = [Self::Organization, Self::Account, Self::Connection, Self::User, Self::Group];

    /// The name in tables and messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Organization => "organization",
            Self::Account => "account",
            Self::Connection => "connection",
            Self::User => "user",
            Self::Group => "group",
        }
    }

    /// Reads a name exactly as [`Self::name`] writes it.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// A resource as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The store's own number; dense, never reused, common to all kinds.
    pub number: Number,
    /// What it is.
    pub kind: Kind,
    /// Unique within its kind.
    pub id: String,
    /// The id of the owning organization; empty for organizations themselves.
    pub organization: String,
    /// Starts at 1.
    pub version: u64,
    /// The public document (JSON text); opaque to the store.
    pub document: String,
    /// The owner's private facts beside it (JSON text); opaque to the store.
    pub state: String,
    /// Deleted but kept: invisible to [`Store::query`], still found by [`Store::get`].
    pub deleted: bool,
    /// When it was created.
    pub created: Timestamp,
    /// When its document or its members last changed.
    pub modified: Timestamp,
}

/// One searchable value of a resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct IndexEntry {
    /// The attribute's path, as its owner names it, for example `emails.value`.
    pub path: String,
    /// Which element of a multi-valued attribute; 0 for single ones. Value paths match within one element.
    pub element: u32,
    /// The comparable form: folded unless case matters, order-preserving for numbers and dates. Text
    /// is compared by Unicode code points.
    pub value: String,
}

/// A value that at most one resource may hold within its scope.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UniqueKey {
    /// Where it must be unique, for example `username` or `token`.
    pub scope: String,
    /// The comparable form.
    pub value: String,
}

/// Everything that a create or a replace says of a resource.
#[derive(Clone, Debug, Default)]
pub struct Content {
    /// See [`Record::document`].
    pub document: String,
    /// See [`Record::state`].
    pub state: String,
    /// All searchable values, a set; replaces those before.
    pub index: Vec<IndexEntry>,
    /// All unique keys, a set; replaces those before.
    pub unique: Vec<UniqueKey>,
    /// The post-image for the change log; `None` where decisions read nothing of it (connections). Where there
    /// was an image before, `None` ends it as [`Step::Remove`] does: [`Image::Gone`] is written and the memberships in
    /// both directions end. Never [`Image::Members`] or [`Image::Gone`] themselves.
    pub image: Option<Image>,
    /// See [`Record::deleted`]. Whoever is deleted is in no group and has no members: a replace to it ends them, with
    /// an [`Image::Members`] change and a new version for each group that loses somebody.
    pub deleted: bool,
}

/// Stands in [`Step::Members`] for the resource that this transaction created last, whose number nobody knows yet.
/// Real numbers begin at 1.
pub const CREATED: Number = 0;

/// One step of a transaction. Steps run in order and see those before them.
#[derive(Clone, Debug)]
pub enum Step {
    /// A new resource; its id must be free within its kind.
    Create {
        /// What it is.
        kind: Kind,
        /// Its id.
        id: String,
        /// The owning organization's id.
        organization: String,
        /// What it says.
        content: Content,
    },
    /// New content for a resource that exists (deleted ones too).
    Replace {
        /// Which.
        number: Number,
        /// The version that it must have; `None` takes any.
        expected: Option<u64>,
        /// What it says from now on.
        content: Content,
    },
    /// Members join and leave a group. Sets: joining twice and leaving as a stranger change nothing, and
    /// where nothing changes at all the version and the time stay, too. Writes the [`Image::Members`] change itself:
    /// the difference between before and after, in the order of numbers.
    Members {
        /// The group; [`CREATED`] for the one that the nearest create before this step made.
        group: Number,
        /// The version that it must have; `None` takes any.
        expected: Option<u64>,
        /// Who joins; neither they nor the group may be deleted ([`StoreError::NotFound`]).
        add: Vec<Number>,
        /// Who leaves; applied before `add`.
        remove: Vec<Number>,
    },
    /// The resource goes for good, with its index, keys and memberships in both directions; the groups that lose it
    /// as a member take a new version. Writes one [`Image::Gone`] where the resource had an image or a membership:
    /// whoever folds the log drops its memberships in both directions, too. Answers the version that it had.
    Remove {
        /// Which.
        number: Number,
        /// The version that it must have; `None` takes any.
        expected: Option<u64>,
    },
    /// An entry for the provisioning log. Concerns no resource, so that its outcome names none (0) and changes nothing.
    Event(Event),
    /// Old entries of the provisioning log go, a bounded number at a time. Its outcome is that of an event.
    ForgetEvents(Retention),
    /// A small fact beside the ledger that no decision reads; `None` takes it away. Its outcome is that of an event.
    Note {
        /// Its name; facts that belong together begin alike.
        key: String,
        /// What it is from now on.
        value: Option<String>,
    },
}

/// A write: at most [`MAX_STEPS`] steps that happen together, at a stated time. It takes a revision even where no step
/// changes anything.
#[derive(Clone, Debug)]
pub struct Transaction {
    /// A unique id, not empty; the same one commits once.
    pub operation: String,
    /// The time that the resources and the log take.
    pub at: Timestamp,
    /// What happens.
    pub steps: Vec<Step>,
}

/// What became of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The resource.
    pub number: Number,
    /// Its version now.
    pub version: u64,
    /// When it was created.
    pub created: Timestamp,
    /// When it last changed.
    pub modified: Timestamp,
    /// Whether the step changed anything.
    pub changed: bool,
}

/// A transaction that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Its place in the ledger.
    pub revision: Revision,
    /// One for each step.
    pub outcomes: Vec<Outcome>,
}

/// How a value is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// Equal.
    Equal,
    /// Contains.
    Contains,
    /// Starts with.
    StartsWith,
    /// Ends with.
    EndsWith,
    /// Greater, by code points.
    Greater,
    /// Greater or equal.
    GreaterOrEqual,
    /// Less.
    Less,
    /// Less or equal.
    LessOrEqual,
}

/// A condition on resources. Paths beside those of the index: `id`, `meta.created` and `meta.lastmodified`
/// (in the order-preserving text form of [`time_key`]). A path lies below another where that one and a `.` or `:`
/// begin it. At most [`MAX_TERMS`] conditions, nested at most [`MAX_DEPTH`] deep.
#[derive(Clone, Debug, PartialEq)]
pub enum Predicate {
    /// All of them.
    All(Vec<Predicate>),
    /// Any of them.
    Any(Vec<Predicate>),
    /// Not this.
    Not(Box<Predicate>),
    /// Some value at the path compares so.
    Compare {
        /// The path.
        path: String,
        /// How.
        comparison: Comparison,
        /// With what, in comparable form.
        value: String,
    },
    /// There is a value at the path, or at a path below it.
    Present {
        /// The path.
        path: String,
    },
    /// One and the same element of the multi-valued attribute fulfils the inner condition, whose paths are
    /// full paths of the index and which holds no `Member`, `MemberOf`, `HasMembers`, `HasGroups` or nested `Element`.
    /// A `Not` inside asks for an element that exists.
    Element {
        /// The multi-valued attribute.
        path: String,
        /// The condition on its sub-attributes.
        inner: Box<Predicate>,
    },
    /// The group has this member (directly).
    Member(Number),
    /// The resource is a member of this group (directly).
    MemberOf(Number),
    /// The group has any member.
    HasMembers,
    /// The resource is a member of any group.
    HasGroups,
}

/// A search over one kind within one organization.
#[derive(Clone, Debug)]
pub struct Query {
    /// What.
    pub kind: Kind,
    /// Whose; `None` searches all organizations (operators only).
    pub organization: Option<String>,
    /// Which; `None` takes all.
    pub predicate: Option<Predicate>,
    /// The path to sort by (as in [`Predicate`]), and whether descending. Of several values the least one of the first
    /// element counts. Resources without a value come last ascending, first descending. Ties, and no sort at all,
    /// go by number, ascending.
    pub sort: Option<(String, bool)>,
    /// Which part.
    pub page: Page,
}

/// A member as listings show it: its number, kind and id.
pub type Member = (Number, Kind, String);

/// Where the ledger stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The newest revision.
    pub revision: Revision,
    /// The hash that the chain has reached.
    pub hash: [u8; 32],
}

/// One committed revision, read back.
#[derive(Clone, Debug, PartialEq)]
pub struct LogEntry {
    /// Which.
    pub revision: Revision,
    /// The hash of the chain after it.
    pub hash: [u8; 32],
    /// When.
    pub at: Timestamp,
    /// What changed.
    pub changes: Vec<Change>,
}

/// Receives the state at one revision, for a start. Several threads may walk it side by side, a stretch each.
pub trait Projection: Sync {
    /// Begins a stretch: what one thread walks.
    fn stretch(&self) -> Box<dyn Stretch + '_>;
}

/// Part of a projection, on one thread.
pub trait Stretch {
    /// A resource's newest image, with the groups that it is a direct member of, in the order of their numbers.
    /// What has no image has no place here, nor in groups. Within a stretch, resources come in the order of their
    /// numbers; each comes in one stretch.
    fn resource(&mut self, number: Number, image: Image, groups: &[Number]);

    /// No more come.
    fn end(self: Box<Self>);
}

/// Why a store could not do it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The key belongs to another resource; names the scope, never the holder.
    #[error("{} is taken", .0.scope)]
    Taken(UniqueKey),
    /// The id is in use within its kind.
    #[error("{} `{id}` exists already", kind.name())]
    Exists {
        /// The kind.
        kind: Kind,
        /// The id.
        id: String,
    },
    /// The version is another.
    #[error("the resource has version {current}, not the expected one")]
    VersionMismatch {
        /// What it is.
        current: u64,
    },
    /// No resource of this number.
    #[error("there is no resource {0}")]
    NotFound(Number),
    /// The store cannot be reached, is full, or stopped after an I/O error.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// What was read back cannot be true.
    #[error("the store is damaged: {0}")]
    Damaged(String),
    /// The query or the transaction is larger than the store's limits.
    #[error("too complex: {0}")]
    TooComplex(String),
    /// The caller broke the contract.
    #[error("the store does not take this: {0}")]
    Invalid(&'static str),
}

/// The ledger. See the module for its promises.
pub trait Store: Send + Sync {
    /// Writes. Answers once the commit is durable and the apply hook has run. A small write may be done on the caller's
    /// thread, where the runtime has others.
    fn commit(&self, transaction: Transaction) -> BoxFuture<'_, Result<Committed, StoreError>>;

    /// Looks several resources up by one read of one state; answers in their order. Deleted ones are found, too.
    fn find(&self, wanted: Vec<Lookup>) -> BoxFuture<'_, Result<Vec<Option<Record>>, StoreError>>;

    /// One resource by kind and id.
    fn get(&self, kind: Kind, id: &str) -> BoxFuture<'_, Result<Option<Record>, StoreError>> {
        let found = self.find(vec![Lookup::Id(kind, id.to_owned())]);
        Box::pin(async move { Ok(found.await?.pop().flatten()) })
    }

    /// The holder of a unique key.
    fn holder(&self, key: UniqueKey) -> BoxFuture<'_, Result<Option<Record>, StoreError>> {
        let found = self.find(vec![Lookup::Holder(key)]);
        Box::pin(async move { Ok(found.await?.pop().flatten()) })
    }

    /// Changes before any commit is answered that wrote a resource of this kind, its unique keys included: what was
    /// read after asking for it is the present state for as long as it stays the same. Costs next to nothing.
    fn stamp(&self, kind: Kind) -> u64;

    /// Several resources by number, in the order of the numbers; unknown ones are left out.
    fn records(&self, numbers: Vec<Number>) -> BoxFuture<'_, Result<Vec<Record>, StoreError>>;

    /// A search. Deleted resources are not found.
    fn query(&self, query: Query) -> BoxFuture<'_, Result<Found, StoreError>>;

    /// The direct members of a group (number, kind, id), by number, from one after `after`.
    fn members(
        &self,
        group: Number,
        after: Option<Number>,
        limit: u64,
    ) -> BoxFuture<'_, Result<Vec<Member>, StoreError>>;

    /// The groups that this resource is a direct member of, by number.
    fn groups_of(&self, member: Number) -> BoxFuture<'_, Result<Vec<Record>, StoreError>>;

    /// Every group that each of these is in, directly or through other groups, by one read however many they are. By
    /// member, the direct ones first, then by number. More than [`MAX_ABOVE`] in all are [`StoreError::TooComplex`],
    /// never cut off.
    fn groups_above(&self, members: Vec<Number>) -> BoxFuture<'_, Result<Vec<Above>, StoreError>>;

    /// Which of these are direct members of the group, in the order given.
    fn members_among(&self, group: Number, of: Vec<Number>) -> BoxFuture<'_, Result<Vec<Number>, StoreError>>;

    /// Where the ledger stands.
    fn head(&self) -> BoxFuture<'_, Result<Head, StoreError>>;

    /// The change log after a revision number of the present epoch, at most `limit` entries.
    fn tail(&self, after: u64, limit: u64) -> BoxFuture<'_, Result<Vec<LogEntry>, StoreError>>;

    /// The provisioning log, newest first.
    fn events(&self, query: EventQuery) -> BoxFuture<'_, Result<Vec<LoggedEvent>, StoreError>>;

    /// The facts of [`Step::Note`] whose keys begin with this, by key.
    fn notes(&self, prefix: &str) -> BoxFuture<'_, Result<Vec<(String, String)>, StoreError>>;

    /// Walks the state of everybody at one revision, which it answers. Blocking: for the start, before anything serves.
    fn project(&self, into: &dyn Projection) -> Result<Revision, StoreError>;

    /// Reads everything and verifies the hash chain and the engine's own structures. Blocking.
    fn verify(&self) -> Result<Head, StoreError>;
}

/// The next hash of the chain: BLAKE3 over the hash before, epoch, number and body, each of fixed length or length-prefixed.
pub fn chain(before: &[u8; 32], revision: Revision, at: Timestamp, body: &str) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(before);
    hasher.update(&revision.epoch.to_be_bytes());
    hasher.update(&revision.number.to_be_bytes());
    hasher.update(&at.0.to_be_bytes());
    hasher.update(&(body.len() as u64).to_be_bytes());
    hasher.update(body.as_bytes());
    *hasher.finalize().as_bytes()
}

/// A time as text that sorts as the time does: 20 digits of milliseconds, offset so that it is never negative.
pub fn time_key(time: Timestamp) -> String {
    format!("{:020}", i128::from(time.0) + 10_000_000_000_000_000)
}
