//! The front door of identity providers: SCIM 2.0 (RFC 7643, 7644).
//!
//! A request comes in by [`Scim::router`], is tied to a connection by its token ([`caller`], the only way in), and
//! ends as one [`store::Transaction`](crate::store::Transaction). Which rights a document gives is decided in
//! [`image`] alone; which names a person keeps in [`life`]. The language of SCIM (schemas, filters, PATCH) is pure and
//! knows nothing of the rest. This room knows no policies, no gateways and no SQL.

pub mod alarm;
mod bulk;
mod caller;
pub mod connection;
mod content;
pub mod conversation;
mod cursor;
pub mod dialect;
mod discovery;
pub mod error;
mod event;
pub mod filter;
mod groups;
pub mod image;
mod joining;
mod json;
mod life;
mod list;
mod members;
mod notes;
pub mod operator;
mod password;
pub mod patch;
mod query;
mod rate;
mod respond;
mod roles;
pub mod schema;
mod search;
mod state;
#[cfg(test)]
mod tests;
mod undo;
mod users;
mod view;
mod watch;

use std::sync::Arc;

use serde_json::Value;
use tokio::sync::{Mutex, MutexGuard};

pub use self::password::StoredPasswords;
pub use error::ScimError;
pub use event::{EventPage, EventRetention, EventSearch};
pub use image::{Mark, MarkReason};
pub use operator::{Imported, Users};
pub use respond::{MEDIA_TYPE, REVISION_HEADER};
pub use roles::RoleSource;
pub use undo::{Since, Undone};
pub use watch::{OutcomeClass, Risk, Standing};

use self::caller::{Caller, Connections};
use self::cursor::Cursors;
use self::event::Waiting;
use self::list::Span;
use self::respond::failure;
use self::roles::Grantable;
use self::schema::{ResourceKind, Schemas};
use self::watch::Watch;
use crate::clock::Sources;
use crate::domain::{Number, Revision};
use crate::http::header::{self, HeaderValue};
use crate::http::{Handling, Method, Request, Response, Router, later};
use crate::store::{Committed, Kind, Record, Step, Store, StoreError, Transaction};
use crate::telemetry::Metrics;
use crate::token::PasswordHashes;

/// How often a read-modify-write is tried when others write in between.
const ATTEMPTS: usize = 8;
/// How many members of groups, and groups of people, an answer holds in memory at most: about 12 MB.
const MOST_MEMBERS: usize = 20_000;
/// How many writes to different resources run side by side in this process.
const STRIPES: usize = 256;

/// The service: everything that its endpoints need.
pub struct Scim {
    store: Arc<dyn Store>,
    connections: Connections,
    schemas: Schemas,
    sources: Sources,
    base_url: String,
    /// Writers of one resource wait here instead of racing; the version decides all the same, for other nodes.
    stripes: Vec<Mutex<()>>,
    /// Held while a group joins a group, so that two joins cannot close a ring together.
    nesting: Mutex<()>,
    cursors: Cursors,
    hashes: PasswordHashes,
    metrics: Option<Arc<Metrics>>,
    /// What `/Roles` lists.
    roles: Option<RoleSource>,
    watch: Arc<Watch>,
    waiting: Waiting,
    retention: EventRetention,
    /// How many members an answer holds in memory.
    most_members: usize,
}

impl Operation {
    /// The label in metrics.
    const fn name(self) -> &'static str {
        match self {
            Self::Create(ResourceKind::User) => "create user",
            Self::Create(ResourceKind::Group) => "create group",
            Self::List(Span::Type(ResourceKind::User)) | Self::Search(Span::Type(ResourceKind::User)) => "list users",
            Self::List(Span::Type(ResourceKind::Group)) | Self::Search(Span::Type(ResourceKind::Group)) => {
                "list groups"
            }
            Self::List(Span::Root) | Self::Search(Span::Root) => "list all",
            Self::Read(ResourceKind::User) => "get user",
            Self::Read(ResourceKind::Group) => "get group",
            Self::Replace(ResourceKind::User) => "put user",
            Self::Replace(ResourceKind::Group) => "put group",
            Self::Patch(ResourceKind::User) => "patch user",
            Self::Patch(ResourceKind::Group) => "patch group",
            Self::Delete(ResourceKind::User) => "delete user",
            Self::Delete(ResourceKind::Group) => "delete group",
            Self::Bulk => "bulk",
            Self::ServiceProviderConfig
            | Self::ResourceTypes
            | Self::ResourceType
            | Self::Schemas
            | Self::Schema
            | Self::Grantables(_)
            | Self::OneGrantable(_) => "discovery",
            Self::NotAllowed(_) | Self::Me | Self::Unknown => "other",
        }
    }
}

/// What an endpoint does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Create(ResourceKind),
    List(Span),
    Search(Span),
    Read(ResourceKind),
    Replace(ResourceKind),
    Patch(ResourceKind),
    Delete(ResourceKind),
    Bulk,
    ServiceProviderConfig,
    ResourceTypes,
    ResourceType,
    Schemas,
    Schema,
    Grantables(Grantable),
    OneGrantable(Grantable),
    /// The endpoint is there and takes other methods.
    NotAllowed(&'static str),
    /// The caller's own resource: a connection has none.
    Me,
    /// Nothing is there.
    Unknown,
}

/// What came of an attempt to write.
enum Failure {
    /// Somebody else wrote in between: look again.
    Raced,
    /// It will not work.
    Refused(ScimError),
}

impl From<ScimError> for Failure {
    fn from(error: ScimError) -> Self {
        Self::Refused(error)
    }
}

/// A resource as it is after a write: a group's [`Record`], or a [`Person`](content::Person).
#[derive(Clone, Debug)]
struct Written<Resource> {
    resource: Resource,
    revision: Revision,
}

impl Scim {
    /// The service on a store. `base_url` is the public URL of the front listener, without a path; it is never
    /// taken from a request.
    pub fn new(store: Arc<dyn Store>, schemas: Schemas, sources: Sources, base_url: &str) -> Self {
        let cursors = Cursors::new(&*sources.random);
        let hashes = PasswordHashes::new(Arc::clone(&sources.random));
        Self {
            store,
            connections: Connections::default(),
            schemas,
            sources,
            base_url: base_url.trim_end_matches('/').to_owned(),
            stripes: (0..STRIPES).map(|_| Mutex::new(())).collect(),
            nesting: Mutex::new(()),
            cursors,
            hashes,
            metrics: None,
            roles: None,
            watch: Arc::default(),
            waiting: Waiting::default(),
            retention: EventRetention::default(),
            most_members: MOST_MEMBERS,
        }
    }

    /// Holds so many members of groups (or groups of people) in an answer at most: pages with more become shorter, and
    /// the members of one larger group are streamed. 20,000 where nothing is said.
    pub const fn holding(mut self, most_members: usize) -> Self {
        self.most_members = most_members;
        self
    }

    /// Keeps so much of the provisioning log.
    pub const fn retaining(mut self, retention: EventRetention) -> Self {
        self.retention = retention;
        self
    }

    /// Counts every request from now on.
    pub fn counted_by(mut self, metrics: Arc<Metrics>) -> Self {
        self.metrics = Some(metrics);
        self
    }

    /// Lists these roles at `/Roles`; without them it is empty.
    pub fn with_roles(mut self, roles: RoleSource) -> Self {
        self.roles = Some(roles);
        self
    }

    /// Every endpoint, below `/scim/v2`. Names of resource types match without case. Paths without an endpoint are
    /// answered here, too, so that nobody learns anything without a token.
    pub fn router(self: &Arc<Self>) -> Router {
        use Operation::{
            Bulk, Create, Delete, Grantables, List, Me, NotAllowed, OneGrantable, Patch, Read, Replace, ResourceType,
            ResourceTypes, Schema, Schemas, Search, ServiceProviderConfig, Unknown,
        };
        let on = |operation| self.handling(operation);
        let mut router = Router::new();
        let types = [
            (ResourceKind::User, "/scim/v2/Users", "/scim/v2/Users/{id}"),
            (ResourceKind::Group, "/scim/v2/Groups", "/scim/v2/Groups/{id}"),
        ];
        for (kind, many, one) in types {
            router = router
                .route(Method::GET, many, on(List(Span::Type(kind))))
                .route(Method::POST, many, on(Create(kind)))
                .any(many, on(NotAllowed("GET, POST")))
                .route(Method::GET, one, on(Read(kind)))
                .route(Method::PUT, one, on(Replace(kind)))
                .route(Method::PATCH, one, on(Patch(kind)))
                .route(Method::DELETE, one, on(Delete(kind)))
                .any(one, on(NotAllowed("GET, PUT, PATCH, DELETE")));
        }
        let discovery = [
            ("/scim/v2/ServiceProviderConfig", ServiceProviderConfig),
            ("/scim/v2/ResourceTypes", ResourceTypes),
            ("/scim/v2/ResourceTypes/{id}", ResourceType),
            ("/scim/v2/Schemas", Schemas),
            ("/scim/v2/Schemas/{id}", Schema),
            ("/scim/v2/Roles", Grantables(Grantable::Role)),
            ("/scim/v2/Roles/{id}", OneGrantable(Grantable::Role)),
            ("/scim/v2/Entitlements", Grantables(Grantable::Entitlement)),
            ("/scim/v2/Entitlements/{id}", OneGrantable(Grantable::Entitlement)),
        ];
        for (template, operation) in discovery {
            router = router.route(Method::GET, template, on(operation)).any(template, on(NotAllowed("GET")));
        }
        let searches = [
            ("/scim/v2/Users/.search", Span::Type(ResourceKind::User)),
            ("/scim/v2/Groups/.search", Span::Type(ResourceKind::Group)),
            ("/scim/v2/.search", Span::Root),
        ];
        for (template, span) in searches {
            router = router.route(Method::POST, template, on(Search(span))).any(template, on(NotAllowed("POST")));
        }
        router
            .route(Method::POST, "/scim/v2/Bulk", on(Bulk))
            .any("/scim/v2/Bulk", on(NotAllowed("POST")))
            .any("/scim/v2/Me", on(Me))
            .prefix("/scim/v2/", on(Unknown))
            .route(Method::GET, "/scim/v2", on(List(Span::Root)))
            .any("/scim/v2", on(NotAllowed("GET")))
            .route(Method::GET, "/scim/v2/", on(List(Span::Root)))
            .any("/scim/v2/", on(NotAllowed("GET")))
            .ignore_case("/scim/v2/")
            .refusals("/scim/v2", respond::renderer())
    }

    fn handling(self: &Arc<Self>, operation: Operation) -> Handling {
        let scim = Arc::clone(self);
        // The listener runs it to its end, whether or not the client still listens.
        later(move |request| {
            let scim = Arc::clone(&scim);
            async move { scim.perform(operation, &request).await }
        })
    }

    /// The token first, whatever is asked for.
    async fn perform(&self, operation: Operation, request: &Request) -> Response {
        let caller = match Caller::admit(&*self.store, &self.connections, self.sources.clock.now(), request).await {
            Ok(caller) => caller,
            Err(refused) => {
                let status = refused.error.status.as_u16();
                tracing::info!(request = %request.id, status, "a SCIM request was not admitted");
                return failure(&self.not_admitted(refused, request));
            }
        };
        let answered = self.recorded(operation, &caller, request).await;
        let mut response = answered.unwrap_or_else(|error| failure(&error));
        if let Operation::NotAllowed(allow) = operation {
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allow));
        }
        tracing::info!(
            request = %request.id,
            connection = caller.connection(),
            ?operation,
            status = response.status().as_u16(),
            "SCIM request"
        );
        if let Some(metrics) = &self.metrics {
            metrics.scim_request(operation.name(), response.status().as_u16());
        }
        response
    }

    async fn dispatch(&self, operation: Operation, caller: &Caller, request: &Request) -> Result<Response, ScimError> {
        use ResourceKind::{Group, User};
        match operation {
            Operation::Create(User) => self.post_user(caller, request).await,
            Operation::Create(Group) => self.post_group(caller, request).await,
            Operation::Replace(User) => self.put_user(caller, request).await,
            Operation::Replace(Group) => self.put_group(caller, request).await,
            Operation::Patch(User) => self.patch_user_request(caller, request).await,
            Operation::Patch(Group) => self.patch_group(caller, request).await,
            Operation::Delete(User) => self.delete_user(caller, request).await,
            Operation::Delete(Group) => self.delete_group(caller, request).await,
            Operation::Bulk => self.bulk(caller, request).await,
            Operation::List(span) => self.list(caller, span, request).await,
            Operation::Search(span) => self.search(caller, span, request).await,
            Operation::Read(kind) => self.read(caller, kind, request).await,
            Operation::ServiceProviderConfig => self.service_provider_config(request),
            Operation::ResourceTypes => self.resource_types(caller, request),
            Operation::ResourceType => self.resource_type(caller, request),
            Operation::Schemas => self.schema_documents(caller, request),
            Operation::Schema => self.schema_document(caller, request),
            Operation::Grantables(kind) => self.grantables(caller, kind, request).await,
            Operation::OneGrantable(kind) => self.grantable(caller, kind, request).await,
            Operation::NotAllowed(allow) => {
                Err(ScimError::method_not_allowed(format!("this endpoint takes {allow} only")))
            }
            Operation::Me => Err(ScimError::not_implemented(
                "a connection's token stands for an identity provider, not for a person, so there is no /Me; use /Users",
            )),
            Operation::Unknown => {
                Err(ScimError::not_found("there is no such endpoint; use /scim/v2/Users or /scim/v2/Groups"))
            }
        }
    }

    async fn commit_steps(&self, steps: Vec<Step>) -> Result<Committed, Failure> {
        let transaction = Transaction { operation: self.sources.identifier(), at: self.sources.clock.now(), steps };
        self.store.commit(transaction).await.map_err(|error| match error {
            StoreError::VersionMismatch { .. } | StoreError::NotFound(_) => Failure::Raced,
            StoreError::Taken(key) => Failure::Refused(life::taken(&key)),
            StoreError::Exists { .. }
            | StoreError::Unavailable(_)
            | StoreError::Damaged(_)
            | StoreError::TooComplex(_)
            | StoreError::Invalid(_) => Failure::Refused(store_failure(error)),
        })
    }

    /// Where the ledger stands, for a write that had nothing to change.
    async fn revision(&self) -> Result<Revision, ScimError> {
        Ok(self.store.head().await.map_err(store_failure)?.revision)
    }

    /// A resource of this organization that is not deleted.
    async fn living(&self, wall: &caller::Wall, kind: Kind, id: &str) -> Result<Record, ScimError> {
        let record = self.store.get(kind, id).await.map_err(store_failure)?;
        record
            .filter(|record| !record.deleted && record.organization == wall.id)
            .ok_or_else(|| ScimError::not_found(format!("there is no such {}; look it up by a filter", kind.name())))
    }

    async fn stripe(&self, number: Number) -> Option<MutexGuard<'_, ()>> {
        match self.stripes.get(number as usize % STRIPES) {
            Some(stripe) => Some(stripe.lock().await),
            None => None,
        }
    }

    /// Where a resource is.
    fn location(&self, kind: ResourceKind, id: &str) -> String {
        format!("{}/scim/v2{}/{id}", self.base_url, self.schemas.definition(kind).endpoint())
    }
}

/// The store's kind of a resource type.
const fn kind_of(kind: ResourceKind) -> Kind {
    match kind {
        ResourceKind::User => Kind::User,
        ResourceKind::Group => Kind::Group,
    }
}

/// What a client learns of the store's failures. The cause goes to the log.
fn store_failure(error: StoreError) -> ScimError {
    match error {
        StoreError::Unavailable(_) => {
            tracing::error!(%error, "the store did not answer a SCIM request");
            ScimError::unavailable("the store cannot be reached; try again later")
        }
        StoreError::TooComplex(reason) => ScimError::too_large(format!("the request is too large: {reason}")),
        StoreError::Taken(key) => life::taken(&key),
        StoreError::VersionMismatch { .. } => busy(),
        StoreError::NotFound(_) => ScimError::not_found("the resource is gone"),
        StoreError::Exists { .. } | StoreError::Damaged(_) | StoreError::Invalid(_) => {
            tracing::error!(%error, "the store refused a SCIM request");
            ScimError::internal("the request failed inside the server; its log says why")
        }
    }
}

/// The store's answers have an outcome for each step.
fn no_outcome() -> ScimError {
    ScimError::internal("the store answered without an outcome")
}

/// After [`ATTEMPTS`] tries.
fn busy() -> ScimError {
    ScimError::unavailable("the resource is being changed by others all the time; try again")
}

/// The JSON of a request.
///
/// # Errors
/// 415 for another media type, 400 `invalidSyntax` for anything but JSON.
fn json_body(request: &Request) -> Result<Value, ScimError> {
    if request.headers.contains_key("content-type") {
        let media_type = request.header("content-type").unwrap_or_default();
        let essence = media_type.split(';').next().unwrap_or_default().trim();
        if !essence.eq_ignore_ascii_case(MEDIA_TYPE) && !essence.eq_ignore_ascii_case("application/json") {
            return Err(ScimError::new(
                crate::http::StatusCode::UNSUPPORTED_MEDIA_TYPE,
                format!("send the body as {MEDIA_TYPE}"),
            ));
        }
    }
    json::parse(&request.body).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        let what = if error.is_data() { "gives a member of an object twice" } else { "is not JSON" };
        ScimError::invalid_syntax(format!("the body {what}: see line {line}, column {column}"))
    })
}
