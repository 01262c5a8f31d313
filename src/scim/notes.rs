//! Small facts that the store keeps beside the ledger for connections: when a token was last used, that an alarm stands.
//! What they are about may go; they go with it, so that there are never more than there are tokens to show.

use std::collections::{BTreeMap, BTreeSet};

use super::alarm::Alarm;
use super::connection::Connection;
use super::error::ScimError;
use super::{Failure, Scim, busy, store_failure};
use crate::store::{Kind, Step};

/// What the keys of all these notes begin with.
const PREFIX: &str = "connection/";

/// The note of a token's last use.
pub(super) fn token_note(connection: &str, token: &str) -> String {
    format!("{PREFIX}{connection}/token/{token}")
}

/// The note of a raised alarm.
pub(super) fn alarm_note(connection: &str) -> String {
    format!("{PREFIX}{connection}/alarm")
}

impl Scim {
    /// Alarms of an earlier process stand on, and what is noted of connections and tokens that are gone is dropped. To
    /// be called once, before anything serves.
    ///
    /// # Errors
    /// 503 and 500 from the store.
    pub async fn recover(&self) -> Result<(), ScimError> {
        let mut connections = BTreeSet::new();
        for (key, value) in self.store.notes(PREFIX).await.map_err(store_failure)? {
            let Some((connection, rest)) = key.strip_prefix(PREFIX).and_then(|rest| rest.split_once('/')) else {
                continue;
            };
            connections.insert(connection.to_owned());
            if let ("alarm", Ok(alarm)) = (rest, serde_json::from_str::<Alarm>(&value)) {
                self.watch.raise(connection, alarm);
            }
        }
        let mut stale = Vec::new();
        for id in connections {
            match self.store.get(Kind::Connection, &id).await.map_err(store_failure)? {
                Some(record) => {
                    if let Ok(connection) = Connection::from_record(&record) {
                        stale.extend(self.forget_ended_tokens(&connection).await?);
                    }
                }
                None => stale.extend(self.forget_connection(&id).await?),
            }
        }
        if stale.is_empty() {
            return Ok(());
        }
        match self.commit_steps(stale).await {
            Ok(_) => Ok(()),
            Err(Failure::Refused(error)) => Err(error),
            Err(Failure::Raced) => Err(busy()),
        }
    }

    /// Steps that drop what is noted of a connection that goes.
    ///
    /// # Errors
    /// 503 and 500 from the store.
    pub async fn forget_connection(&self, connection: &str) -> Result<Vec<Step>, ScimError> {
        self.watch.forget(connection);
        let notes = self.store.notes(&format!("{PREFIX}{connection}/")).await.map_err(store_failure)?;
        Ok(notes.into_iter().map(|(key, _)| Step::Note { key, value: None }).collect())
    }

    /// Steps that drop what is noted of tokens which this connection, as it is to be, does not remember any more.
    ///
    /// # Errors
    /// 503 and 500 from the store.
    pub async fn forget_ended_tokens(&self, connection: &Connection) -> Result<Vec<Step>, ScimError> {
        let prefix = token_note(&connection.id, "");
        let notes: BTreeMap<String, String> =
            self.store.notes(&prefix).await.map_err(store_failure)?.into_iter().collect();
        let known = |key: &str| connection.tokens.iter().any(|token| key.strip_prefix(&prefix) == Some(&token.id));
        let gone = notes.into_keys().filter(|key| !known(key));
        Ok(gone.map(|key| Step::Note { key, value: None }).collect())
    }
}
