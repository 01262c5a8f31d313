//! Who calls: the one place that turns a token into a [`Caller`]. Every endpoint needs one, and nothing else makes one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::alarm::AlarmRule;
use super::connection::{Connection, Settings, TOKEN_SCOPE, TokenRefused};
use super::dialect::{Dialect, Patched};
use super::error::ScimError;
use super::event::Journal;
use super::image::Limits;
use super::schema::{ResourceKind, Tolerance};
use super::store_failure;
use crate::domain::{Number, Timestamp};
use crate::http::Request;
use crate::store::{Kind, Lookup, Record, Store, UniqueKey};
use crate::token::Secret;

/// What a request without a token hears.
const NO_TOKEN: &str =
    "send the connection's token as `Authorization: Bearer <token>`; `cedargate connection rotate` makes one";

/// The organization that a request works in. Scopes every access to the store, and holds the journal that every write
/// within it is entered into.
#[derive(Clone, Debug)]
pub(super) struct Wall {
    /// Its id.
    pub id: String,
    /// Its number.
    pub number: Number,
    /// Where writes are entered.
    pub journal: Journal,
}

impl Wall {
    /// Looks an organization up.
    ///
    /// # Errors
    /// 404 where there is none; 503 and 500 from the store.
    pub async fn find(store: &dyn Store, id: &str) -> Result<Self, ScimError> {
        let record = store.get(Kind::Organization, id).await.map_err(store_failure)?;
        Self::around(record).ok_or_else(|| ScimError::not_found("there is no such organization"))
    }

    /// Around an organization that is there.
    fn around(organization: Option<Record>) -> Option<Self> {
        let record = organization.filter(|record| !record.deleted)?;
        Some(Self { id: record.id, number: record.number, journal: Journal::default() })
    }
}

/// A connection whose token was verified for this request.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    wall: Wall,
    connection: Arc<Connection>,
    token: String,
}

/// The connections of tokens that were presented lately, as they stand in the store: each is kept with the store's
/// stamps of before it was read, and counts only while these stay. Tokens are verified at each request all the same.
#[derive(Default)]
pub(super) struct Connections(Mutex<HashMap<String, Known>>);

/// Most tokens whose connections are kept; then all are read anew.
const MOST_KNOWN: usize = 1_024;

/// What a token's id leads to.
#[derive(Clone)]
struct Known {
    stamps: [u64; 2],
    connection: Arc<Connection>,
    /// `None` where the organization is gone.
    wall: Option<Wall>,
}

impl Connections {
    /// The connection of a token's id.
    async fn find(&self, store: &dyn Store, token: &str) -> Result<Known, ScimError> {
        let stamps = [Kind::Connection, Kind::Organization].map(|kind| store.stamp(kind));
        let known = self.lock().get(token).filter(|known| known.stamps == stamps).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let key = UniqueKey { scope: TOKEN_SCOPE.to_owned(), value: token.to_owned() };
        let wanted = vec![Lookup::OrganizationOfHolder(key.clone()), Lookup::Holder(key)];
        let mut found = store.find(wanted).await.map_err(store_failure)?;
        let (record, organization) = (found.pop().flatten(), found.pop().flatten());
        let Some(record) = record.filter(|record| record.kind == Kind::Connection && !record.deleted) else {
            return Err(ScimError::unauthorized(TokenRefused::Unknown.to_string()));
        };
        let connection = Connection::from_record(&record).map_err(|fault| {
            tracing::error!(connection = %record.id, %fault, "a connection cannot be read");
            ScimError::internal("the connection cannot be read; the server's log says why")
        })?;
        let known = Known { stamps, connection: Arc::new(connection), wall: Wall::around(organization) };
        let mut all = self.lock();
        if all.len() >= MOST_KNOWN {
            all.clear();
        }
        all.insert(token.to_owned(), known.clone());
        Ok(known)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a request did not get in.
#[derive(Debug)]
pub(super) struct NotAdmitted {
    /// For the client.
    pub error: ScimError,
    /// The connection whose own token, by now ended, was presented.
    pub connection: Option<String>,
}

impl From<ScimError> for NotAdmitted {
    fn from(error: ScimError) -> Self {
        Self { error, connection: None }
    }
}

impl Caller {
    /// Verifies the token of a request.
    ///
    /// # Errors
    /// 401 with what to do about it; 503 and 500 from the store.
    pub async fn admit(
        store: &dyn Store,
        connections: &Connections,
        now: Timestamp,
        request: &Request,
    ) -> Result<Self, NotAdmitted> {
        let Some(token) = request.bearer() else {
            return Err(ScimError::unauthorized(NO_TOKEN).into());
        };
        let presented = Secret::parse(token).map_err(|fault| ScimError::unauthorized(fault.to_string()))?;
        let Known { connection, wall, .. } = connections.find(store, &presented.id).await?;
        connection.admit(&presented, now).map_err(|refused| {
            let own = match refused {
                TokenRefused::Unknown => None,
                TokenRefused::Expired | TokenRefused::Revoked => Some(connection.id.clone()),
            };
            NotAdmitted { error: ScimError::unauthorized(refused.to_string()), connection: own }
        })?;
        let wall = wall.ok_or_else(|| {
            ScimError::unauthorized("the connection's organization is gone; make a connection in another one")
        })?;
        Ok(Self { wall, connection, token: presented.id })
    }

    /// The same caller, whose writes are entered into this journal.
    pub fn noting(&self, journal: Journal) -> Self {
        let mut noting = self.clone();
        noting.wall.journal = journal;
        noting
    }

    /// The same caller, whose deactivations raise no alarm and wait for none: for what the server itself takes back.
    pub fn unwatched(&self) -> Self {
        let mut unwatched = self.clone();
        Arc::make_mut(&mut unwatched.connection).settings.deactivation_alarm = AlarmRule::off();
        unwatched
    }

    /// The id of the token.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// The organization of the token.
    pub fn wall(&self) -> &Wall {
        &self.wall
    }

    /// The connection's id.
    pub fn connection(&self) -> &str {
        &self.connection.id
    }

    /// What the connection may do.
    pub fn settings(&self) -> &Settings {
        &self.connection.settings
    }

    /// What the connection may grant.
    pub fn limits(&self) -> Limits {
        Limits::of(&self.connection)
    }

    /// What the connection's profile changes.
    pub fn dialect(&self) -> Dialect {
        Dialect::of(self.connection.profile)
    }

    /// What the connection's client is forgiven.
    pub fn tolerance(&self) -> Tolerance {
        self.dialect().forgives
    }

    /// Whether a PATCH of a resource of this type answers 204.
    pub fn patches_without_body(&self, kind: ResourceKind) -> bool {
        let patched = match kind {
            ResourceKind::User => self.dialect().patched_user,
            ResourceKind::Group => self.dialect().patched_group,
        };
        self.settings().patch_without_body || patched == Patched::NoBody
    }
}
