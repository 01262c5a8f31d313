//! The private facts beside a document: what the server knows of a person or a group and no client writes directly.

use std::collections::{BTreeMap, BTreeSet};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::error::ScimError;
use crate::domain::Timestamp;
use crate::store::Record;

/// A right that a document names: who wrote it there, and whether that writer may give it. A later writer who only
/// repeats it changes neither, so that nobody's limits are stretched by somebody else's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Claim {
    /// The id of a connection, or an operator's name.
    pub by: String,
    /// Whether the writer's limits allow it.
    pub granted: bool,
    /// Means nothing at present: there is no such account, or another attribute counts. Whose it is stands all the
    /// same, so that it comes to life under the limits of whoever wrote it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dormant: bool,
}

impl Claim {
    /// Whether decisions see it.
    pub const fn counts(&self) -> bool {
        self.granted && !self.dormant
    }
}

/// The claims of a document: one for each right that it names. What has none grants nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Claims {
    /// The level Account Admin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin: Option<Claim>,
    /// Roles by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub roles: BTreeMap<String, Claim>,
    /// Accounts of our extension by id.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub accounts: BTreeMap<String, Claim>,
    /// Accounts of a person's entitlements by id.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub entitlements: BTreeMap<String, Claim>,
}

impl Claims {
    /// Whether the level Account Admin is given.
    pub fn is_admin(&self) -> bool {
        self.admin.as_ref().is_some_and(Claim::counts)
    }

    /// The names of the roles that are given.
    pub fn given_roles(&self) -> impl Iterator<Item = &str> {
        self.roles.iter().filter(|(_, claim)| claim.counts()).map(|(name, _)| name.as_str())
    }

    /// The ids of the accounts that are given.
    pub fn given_accounts(&self) -> impl Iterator<Item = &str> {
        let named = self.accounts.iter().chain(&self.entitlements);
        named.filter(|(_, claim)| claim.counts()).map(|(id, _)| id.as_str())
    }
}

/// What is kept of a person beside the document.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct UserState {
    /// The first `userName`, as it was sent. Never changes.
    pub username: String,
    /// Every other login that the person ever had, the present one included, folded.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub logins: BTreeSet<String>,
    /// Who made the record.
    pub creator: String,
    /// `externalId` by connection.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub external: BTreeMap<String, String>,
    /// Effective `active`. The document's may be absent.
    pub active: bool,
    /// The request that ended the access of somebody inactive or deleted: what an undo may take back. `None` where an
    /// operator did, and once anybody else has said that this person is inactive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Ended>,
    /// The administrative lock; operators only.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub locked: bool,
    /// Operators only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_changed_at: Option<Timestamp>,
    /// The hash of the password in PHC form, of no use to anybody who lacks the password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// Set once a create linked to this record again: tokens that were issued before this moment are void.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub linked_again: Option<Timestamp>,
    /// Who wrote which right, and what is granted.
    #[serde(default)]
    pub claims: Claims,
}

/// A connection's request that deactivated or deleted somebody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ended {
    /// Whose.
    pub connection: String,
    /// Its event.
    pub event: String,
}

/// What is kept of a group beside the document.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct GroupState {
    /// Who made the record.
    pub creator: String,
    /// `externalId` by connection.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub external: BTreeMap<String, String>,
    /// Who wrote which right, and what is granted.
    #[serde(default)]
    pub claims: Claims,
}

/// Reads a record's state.
///
/// # Errors
/// 500 where it is not what this room wrote; the cause goes to the log.
pub(super) fn read_state<T: DeserializeOwned>(record: &Record) -> Result<T, ScimError> {
    serde_json::from_str(&record.state).map_err(|error| damaged(record, &error))
}

/// Reads a record's document.
///
/// # Errors
/// As [`read_state`].
pub(super) fn read_document(record: &Record) -> Result<Map<String, Value>, ScimError> {
    serde_json::from_str(&record.document).map_err(|error| damaged(record, &error))
}

/// JSON text of what is JSON by its shape. Straight into bytes, which takes half of what a formatter takes.
pub(super) fn json_text(value: &impl Serialize) -> String {
    // Maps of JSON have texts as keys, and memory does not fail: the empty text never comes.
    serde_json::to_string(value).unwrap_or_default()
}

/// Writes a state or a document.
///
/// # Errors
/// 500 where it cannot be JSON.
pub(super) fn write_text<T: Serialize>(value: &T) -> Result<String, ScimError> {
    serde_json::to_string(value).map_err(|error| {
        tracing::error!(%error, "a document cannot be written as JSON");
        ScimError::internal("the resource cannot be stored; the server's log says why")
    })
}

fn damaged(record: &Record, error: &serde_json::Error) -> ScimError {
    tracing::error!(kind = record.kind.name(), id = %record.id, %error, "a stored resource cannot be read");
    ScimError::internal("the stored resource cannot be read; the server's log says why")
}
