//! The provisioning log as operators read it.

use serde_json::{Map, Value, json};

use super::super::error::ScimError;
use super::super::respond::date_time;
use super::super::{Scim, store_failure};
use crate::domain::Timestamp;
use crate::store::{EventQuery, LoggedEvent};

/// Which entries are wanted; all conditions hold together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventSearch {
    /// Successes or failures only.
    pub success: Option<bool>,
    /// Entries of this kind: `request`, `alarm`, `settled`, `undo`.
    pub kind: Option<String>,
    /// Entries about this resource.
    pub resource: Option<String>,
    /// Not before this moment.
    pub since: Option<Timestamp>,
    /// Before this moment.
    pub until: Option<Timestamp>,
    /// Only what came after this place.
    pub after: Option<u64>,
    /// The next page, as [`EventPage::next`] says.
    pub below: Option<u64>,
    /// How many at most.
    pub count: u64,
}

/// A page of the log, newest first.
#[derive(Clone, Debug, PartialEq)]
pub struct EventPage {
    /// The entries, each `{"id", "number", "at", "connection", "kind", "status", …}`.
    pub items: Vec<Value>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<u64>,
}

impl Scim {
    /// A connection's log. What was logged before this call is there.
    ///
    /// # Errors
    /// 503 and 500 from the store.
    pub async fn events(&self, connection: &str, search: EventSearch) -> Result<EventPage, ScimError> {
        self.settle_log().await;
        let count = search.count;
        let query = EventQuery {
            connection: Some(connection.to_owned()),
            id: None,
            kind: search.kind,
            success: search.success,
            resource: search.resource,
            since: search.since,
            until: search.until,
            reversible: false,
            after: search.after,
            below: search.below,
            limit: count.saturating_add(1),
        };
        let mut found = self.store.events(query).await.map_err(store_failure)?;
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let more = found.len() > count;
        found.truncate(count);
        let next = found.last().filter(|_| more).map(|last| last.number);
        Ok(EventPage { items: found.iter().map(shown).collect(), next })
    }

    /// One entry by its id, whosever it is.
    ///
    /// # Errors
    /// 404; 503 and 500 from the store.
    pub async fn event(&self, id: &str) -> Result<Value, ScimError> {
        self.settle_log().await;
        let query = EventQuery { id: Some(id.to_owned()), limit: 1, ..EventQuery::default() };
        let found = self.store.events(query).await.map_err(store_failure)?;
        found.first().map(shown).ok_or_else(|| {
            ScimError::not_found(
                "there is no such event; it may be older than what is kept, or belong to another server",
            )
        })
    }
}

/// What the columns say, then what the body says.
fn shown(LoggedEvent { number, event }: &LoggedEvent) -> Value {
    let mut shown = Map::new();
    shown.insert("id".to_owned(), json!(event.id));
    shown.insert("number".to_owned(), json!(number));
    shown.insert("at".to_owned(), json!(date_time(event.at)));
    shown.insert("connection".to_owned(), json!(event.connection));
    shown.insert("kind".to_owned(), json!(event.kind));
    shown.insert("status".to_owned(), json!(event.status));
    let body: Map<String, Value> = serde_json::from_str(&event.body).unwrap_or_default();
    let named = body.contains_key("resource");
    shown.extend(body);
    if !named && !event.resource.is_empty() {
        shown.insert("resource".to_owned(), json!({"id": event.resource}));
    }
    shown.insert("undoable".to_owned(), json!(event.before.is_some()));
    Value::Object(shown)
}
