//! The provisioning log: what each request of a connection came to.
//!
//! A write's event is committed in the write's own transaction, so that neither is there without the other. Failures,
//! and writes that changed nothing, are logged beside the answer, [`MOST_WAITING`] at a time; a loss is counted.
//! Successful reads are counted and not logged. Nothing secret enters: see [`difference`].

mod difference;
mod effect;
mod note;
mod read;
mod record;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

pub(super) use note::Reversal;
pub use read::{EventPage, EventSearch};
pub(super) use record::Known;

use super::Scim;
use super::alarm::AlarmRule;
use super::caller::Caller;
use super::error::ScimError;
use super::image::Mark;
use super::state::json_text;
use crate::domain::Timestamp;
use crate::http::Request;
use crate::store::{Event, Retention, Step, Transaction};

/// Events that are written beside their answers at a time; more than these are lost and counted.
pub(super) const MOST_WAITING: usize = 256;
/// The longest client name and path that are kept, in characters.
const LONGEST_TEXT: usize = 200;

/// How much of the log stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventRetention {
    /// The newest events of each connection that stay.
    pub count: u64,
    /// How many days any event stays.
    pub days: u32,
}

impl Default for EventRetention {
    fn default() -> Self {
        Self { count: 100_000, days: 90 }
    }
}

/// What sort of entry an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum EventKind {
    /// A request of the identity provider.
    Request,
    /// Too many deactivations.
    Alarm,
    /// An operator settled an alarm: the deactivations were meant.
    Settled,
    /// An operator took a deactivation back.
    Undo,
}

impl EventKind {
    /// The word in the store and in answers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Alarm => "alarm",
            Self::Settled => "settled",
            Self::Undo => "undo",
        }
    }
}

/// Where the writes of one request are entered; the default one enters nothing (operators' own writes).
#[derive(Clone, Debug, Default)]
pub(super) struct Journal(Option<Arc<Entry>>);

/// What is known of a request before it is done.
#[derive(Debug)]
pub(super) struct Entry {
    /// The event's id.
    pub id: String,
    /// Whose log.
    pub connection: String,
    /// What sort.
    pub kind: EventKind,
    /// When it came.
    pub at: Timestamp,
    /// The status of its success.
    pub status: u16,
    /// When deactivations are too many.
    pub rule: AlarmRule,
    request: Option<Described>,
    marks: Mutex<Vec<Mark>>,
    written: AtomicBool,
}

impl Journal {
    /// For a request of a connection. `success` is the status that it answers with where all goes well.
    pub fn of_request(id: String, caller: &Caller, request: &Request, success: u16, at: Timestamp) -> Self {
        let entry = Entry {
            id,
            connection: caller.connection().to_owned(),
            kind: EventKind::Request,
            at,
            status: success,
            rule: caller.settings().deactivation_alarm,
            request: Some(Described::of(request)),
            marks: Mutex::default(),
            written: AtomicBool::new(false),
        };
        Self(Some(Arc::new(entry)))
    }

    /// For what an operator does to a connection's people.
    pub fn of_undo(id: String, connection: &str, at: Timestamp) -> Self {
        let entry = Entry {
            id,
            connection: connection.to_owned(),
            kind: EventKind::Undo,
            at,
            status: 200,
            rule: AlarmRule::off(),
            request: None,
            marks: Mutex::default(),
            written: AtomicBool::new(false),
        };
        Self(Some(Arc::new(entry)))
    }

    /// The entry, where there is one.
    pub fn entry(&self) -> Option<&Entry> {
        self.0.as_deref()
    }

    /// Takes note of what was stored and grants nothing; the last attempt counts.
    pub fn mark(&self, marks: &[Mark]) {
        if let Some(entry) = self.entry() {
            *entry.marks.lock().unwrap_or_else(PoisonError::into_inner) = marks.to_vec();
        }
    }
}

impl Entry {
    /// The event was committed with its write.
    pub fn set_written(&self) {
        self.written.store(true, Ordering::Release);
    }

    /// Whether it was.
    pub fn is_written(&self) -> bool {
        self.written.load(Ordering::Acquire)
    }

    /// An event with these facts in its body, an object, beside the request and the marks.
    fn event(&self, status: u16, resource: &str, facts: &impl Serialize) -> Event {
        let marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
        let shown =
            |mark: &Mark| json!({"attribute": mark.attribute, "value": mark.value, "message": mark.to_string()});
        let marks = if status < 400 { marks.iter().map(shown).collect() } else { Vec::new() };
        Event {
            id: self.id.clone(),
            connection: self.connection.clone(),
            at: self.at,
            kind: self.kind.name().to_owned(),
            status,
            resource: resource.to_owned(),
            body: json_text(&Body { facts, request: self.request.as_ref(), marks }),
            before: None,
        }
    }
}

/// The body of an event.
#[derive(Serialize)]
struct Body<'a, Facts: Serialize> {
    #[serde(flatten)]
    facts: &'a Facts,
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<&'a Described>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    marks: Vec<Value>,
}

/// What the log shows of a request. Its query is left out: filters hold names and addresses of people.
#[derive(Debug, Serialize)]
struct Described {
    method: String,
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<String>,
}

impl Described {
    fn of(request: &Request) -> Self {
        let short = |text: &str| {
            if text.len() <= LONGEST_TEXT && !text.bytes().any(|byte| byte.is_ascii_control()) && text.is_ascii() {
                return text.to_owned();
            }
            text.chars().filter(|c| !c.is_control()).take(LONGEST_TEXT).collect()
        };
        let client = request.header("user-agent").map(short);
        Self { method: request.method.as_str().to_owned(), path: short(&request.path), client }
    }
}

/// What is being written beside answers.
pub(super) struct Waiting {
    turns: Arc<Semaphore>,
    generation: Mutex<Generation>,
    /// Held by whoever waits for the writes so far.
    settling: tokio::sync::Mutex<()>,
}

/// Writes that began within the same time: each holds a clone of the sender, so that the channel closes with the last.
struct Generation {
    alive: mpsc::Sender<()>,
    ended: mpsc::Receiver<()>,
}

impl Default for Generation {
    fn default() -> Self {
        let (alive, ended) = mpsc::channel(1);
        Self { alive, ended }
    }
}

impl Default for Waiting {
    fn default() -> Self {
        let turns = Arc::new(Semaphore::new(MOST_WAITING));
        Self { turns, generation: Mutex::default(), settling: tokio::sync::Mutex::default() }
    }
}

impl Waiting {
    /// A turn, to be held while writing; `None` where too many write.
    fn turn(&self) -> Option<(OwnedSemaphorePermit, mpsc::Sender<()>)> {
        let permit = Arc::clone(&self.turns).try_acquire_owned().ok()?;
        let generation = self.generation.lock().unwrap_or_else(PoisonError::into_inner);
        Some((permit, generation.alive.clone()))
    }

    /// Waits until every write that has begun is done; those that begin meanwhile are not held up.
    async fn settle(&self) {
        let _alone = self.settling.lock().await;
        let Generation { alive, mut ended } =
            std::mem::take(&mut *self.generation.lock().unwrap_or_else(PoisonError::into_inner));
        drop(alive);
        // Nothing is ever sent: it ends when the last sender is gone.
        ended.recv().await;
    }
}

impl Scim {
    /// A failed request.
    pub(super) fn log_failure(&self, entry: &Entry, request: &Request, error: &ScimError) {
        let mut facts = json!({"detail": error.detail});
        if let (Some(scim_type), Some(facts)) = (error.scim_type, facts.as_object_mut()) {
            facts.insert("scimType".to_owned(), Value::from(scim_type));
        }
        let event = entry.event(error.status.as_u16(), request.parameter("id"), &facts);
        self.log_beside(&entry.connection, Step::Event(event));
    }

    /// A write that had nothing to change.
    pub(super) fn log_unchanged(&self, entry: &Entry, request: &Request) {
        let event = entry.event(entry.status, request.parameter("id"), &json!({"changes": []}));
        self.log_beside(&entry.connection, Step::Event(event));
    }

    /// A request with an ended token of the connection. Only the first of a minute is logged; answers its event's id.
    pub(super) fn log_refused_token(&self, connection: &str, request: &Request, error: &ScimError) -> Option<String> {
        let now = self.sources.clock.now();
        if !self.watch.log_refused_token(connection, now) {
            return None;
        }
        let id = self.sources.identifier();
        let body = json!({"request": Described::of(request), "detail": error.detail});
        let event = Event {
            id: id.clone(),
            connection: connection.to_owned(),
            at: now,
            kind: EventKind::Request.name().to_owned(),
            status: error.status.as_u16(),
            resource: String::new(),
            body: json_text(&body),
            before: None,
        };
        self.log_beside(connection, Step::Event(event));
        Some(id)
    }

    /// Something beside the ledger, without anybody waiting for it. Lost, and counted, where too many wait.
    pub(super) fn log_beside(&self, connection: &str, step: Step) {
        let Some(turn) = self.waiting.turn() else {
            self.watch.lose();
            return;
        };
        let mut steps = vec![step];
        steps.extend(self.cut(connection));
        let transaction = Transaction { operation: self.sources.identifier(), at: self.sources.clock.now(), steps };
        let (store, watch) = (Arc::clone(&self.store), Arc::clone(&self.watch));
        tokio::spawn(async move {
            if let Err(error) = store.commit(transaction).await {
                watch.lose();
                tracing::warn!(%error, "an event of the provisioning log was lost");
            }
            drop(turn);
        });
    }

    /// The step that cuts a connection's log, now and then.
    pub(super) fn cut(&self, connection: &str) -> Option<Step> {
        self.watch.is_cut_due(connection).then(|| {
            let age = i64::from(self.retention.days) * 86_400_000;
            let before = Timestamp(self.sources.clock.now().0 - age);
            Step::ForgetEvents(Retention { connection: connection.to_owned(), keep: self.retention.count, before })
        })
    }

    /// Waits until what was logged beside its answer so far is there to be read.
    pub(super) async fn settle_log(&self) {
        self.waiting.settle().await;
    }
}
