//! Who calls: the one place that turns a token into a [`Caller`]. Every endpoint needs one, and nothing else makes one.

use super::connection::{Connection, Settings, TOKEN_SCOPE};
use super::dialect::{Dialect, Patched};
use super::error::ScimError;
use super::image::Limits;
use super::schema::{ResourceKind, Tolerance};
use super::store_failure;
use crate::domain::{Number, Timestamp};
use crate::http::Request;
use crate::store::{Kind, Store, UniqueKey};
use crate::token::Secret;

/// The organization that a request works in. Scopes every access to the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wall {
    /// Its id.
    pub id: String,
    /// Its number.
    pub number: Number,
}

impl Wall {
    /// Looks an organization up.
    ///
    /// # Errors
    /// 404 where there is none; 503 and 500 from the store.
    pub async fn find(store: &dyn Store, id: &str) -> Result<Self, ScimError> {
        match store.get(Kind::Organization, id).await.map_err(store_failure)? {
            Some(record) if !record.deleted => Ok(Self { id: record.id, number: record.number }),
            Some(_) | None => Err(ScimError::not_found("there is no such organization")),
        }
    }
}

/// A connection whose token was verified for this request.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    wall: Wall,
    connection: Connection,
}

impl Caller {
    /// Verifies the token of a request.
    ///
    /// # Errors
    /// 401 with what to do about it; 503 and 500 from the store.
    pub async fn admit(store: &dyn Store, now: Timestamp, request: &Request) -> Result<Self, ScimError> {
        let Some(token) = request.bearer() else {
            return Err(ScimError::unauthorized("send the connection's token as `Authorization: Bearer <token>`"));
        };
        let presented = Secret::parse(token).map_err(|fault| ScimError::unauthorized(fault.to_string()))?;
        let key = UniqueKey { scope: TOKEN_SCOPE.to_owned(), value: presented.id.clone() };
        let record = store.holder(key).await.map_err(store_failure)?;
        let Some(record) = record.filter(|record| record.kind == Kind::Connection && !record.deleted) else {
            return Err(ScimError::unauthorized(super::connection::TokenRefused::Unknown.to_string()));
        };
        let connection = Connection::from_record(&record).map_err(|fault| {
            tracing::error!(connection = %record.id, %fault, "a connection cannot be read");
            ScimError::internal("the connection cannot be read; the server's log says why")
        })?;
        connection.admit(&presented, now).map_err(|refused| ScimError::unauthorized(refused.to_string()))?;
        let wall = Wall::find(store, &connection.organization).await.map_err(|error| {
            if error.status == crate::http::StatusCode::NOT_FOUND {
                ScimError::unauthorized("the connection's organization is gone")
            } else {
                error
            }
        })?;
        Ok(Self { wall, connection })
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
