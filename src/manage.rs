//! The operators' API under `/manage/v1/` on the ops listener: organizations, accounts, connections, people,
//! import, reload. The command line's noun verbs are its clients.
//!
//! Every endpoint goes through [`Manage::guarded`], so that none can be reached without the operator token.
//! Knows nothing of SCIM's rules (asks `scim`), of policies (asks the catalogue) and of SQL.

mod accounts;
mod connections;
mod import;
mod organizations;
mod respond;
#[cfg(test)]
pub(crate) mod tests;
mod users;

use std::sync::Arc;

use crate::clock::Sources;
use crate::domain::Revision;
use crate::http::{Answer, BodyReader, Handler, Method, Refusal, Request, Response, Router, StreamHandler};
use crate::scim::Scim;
use crate::store::{BoxFuture, Step, Store, StoreError, Transaction};
use crate::token::SharedToken;

/// What the operators' API needs. Built once by `app`, shared by every endpoint.
pub struct Manage {
    /// The ledger.
    pub store: Arc<dyn Store>,
    /// Who knows the rules of people and groups.
    pub scim: Arc<Scim>,
    /// Time, ids and secrets.
    pub sources: Sources,
    /// What every request must carry.
    pub operator_token: OperatorToken,
    /// The names that may be used, from the present policy bundle.
    pub catalogue: CatalogueSource,
    /// Loads the policies anew.
    pub reload: Reload,
}

/// Roles and products by name, each with a sentence on what it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalogue {
    /// Role names and descriptions.
    pub roles: Vec<(String, String)>,
    /// Product and feature names and descriptions.
    pub products: Vec<(String, String)>,
}

/// Gives the catalogue of the bundle in force.
pub type CatalogueSource = Arc<dyn Fn() -> Catalogue + Send + Sync>;

/// Loads the policies anew: the id of the bundle now in force, or a sentence on why the one before stays.
pub type Reload = Arc<dyn Fn() -> BoxFuture<'static, Result<String, String>> + Send + Sync>;

/// The operator token, kept as its hash so that comparing takes the same time whatever is presented.
#[derive(Clone)]
pub struct OperatorToken(SharedToken);

/// Why a text cannot be the operator token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "an operator token has {} to {} visible ASCII characters; this one does not",
    OperatorToken::SHORTEST,
    OperatorToken::LONGEST
)]
pub struct NoOperatorToken;

impl OperatorToken {
    /// The fewest characters.
    pub const SHORTEST: usize = 20;
    /// The most characters.
    pub const LONGEST: usize = 512;

    /// Takes a text that is long enough not to be guessed. Blanks around it (a file's last line feed) are dropped.
    ///
    /// # Errors
    /// [`NoOperatorToken`], above all for an empty one, which would open the API to everybody.
    pub fn new(text: &str) -> Result<Self, NoOperatorToken> {
        let text = text.trim();
        let fits =
            (Self::SHORTEST..=Self::LONGEST).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        if fits { Ok(Self(SharedToken::new(text))) } else { Err(NoOperatorToken) }
    }

    fn admits(&self, presented: &str) -> bool {
        self.0.matches(presented)
    }
}

impl std::fmt::Debug for OperatorToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OperatorToken(…)")
    }
}

impl Manage {
    /// Every endpoint.
    pub fn routes(self: &Arc<Self>) -> Router {
        Router::new()
            .route(Method::GET, "/manage/v1/organizations", self.guarded(organizations::list))
            .route(Method::PUT, "/manage/v1/organizations/{id}", self.guarded(organizations::put))
            .route(Method::GET, "/manage/v1/organizations/{id}", self.guarded(organizations::get))
            .route(Method::DELETE, "/manage/v1/organizations/{id}", self.guarded(organizations::delete))
            .route(Method::GET, "/manage/v1/accounts", self.guarded(accounts::list))
            .route(Method::PUT, "/manage/v1/accounts/{id}", self.guarded(accounts::put))
            .route(Method::GET, "/manage/v1/accounts/{id}", self.guarded(accounts::get))
            .route(Method::GET, "/manage/v1/products", self.guarded(accounts::products))
            .route(Method::GET, "/manage/v1/roles", self.guarded(accounts::roles))
            .route(Method::GET, "/manage/v1/connections", self.guarded(connections::list))
            .route(Method::POST, "/manage/v1/connections", self.guarded(connections::create))
            .route(Method::GET, "/manage/v1/connections/{id}", self.guarded(connections::get))
            .route(Method::PATCH, "/manage/v1/connections/{id}", self.guarded(connections::patch))
            .route(Method::DELETE, "/manage/v1/connections/{id}", self.guarded(connections::delete))
            .route(Method::GET, "/manage/v1/connections/{id}/events", self.guarded(connections::events))
            .route(Method::GET, "/manage/v1/events/{event}", self.guarded(connections::event))
            .route(Method::POST, "/manage/v1/connections/{id}/undo", self.guarded(connections::undo))
            .route(Method::DELETE, "/manage/v1/connections/{id}/alarm", self.guarded(connections::settle))
            .route(Method::POST, "/manage/v1/connections/{id}/tokens", self.guarded(connections::create_token))
            .route(
                Method::DELETE,
                "/manage/v1/connections/{id}/tokens/{token}",
                self.guarded(connections::revoke_token),
            )
            .route(Method::POST, "/manage/v1/import", self.guarded_stream(import::import))
            .route(Method::GET, "/manage/v1/users", self.guarded(users::list))
            .route(Method::GET, "/manage/v1/users/{id}", self.guarded(users::get))
            .route(Method::PATCH, "/manage/v1/users/{id}", self.guarded(users::patch))
            .route(Method::PUT, "/manage/v1/users/{id}/password", self.guarded(users::put_password))
            .route(Method::DELETE, "/manage/v1/users/{id}/password", self.guarded(users::delete_password))
            .route(Method::POST, "/manage/v1/policies/reload", self.guarded(reload))
    }

    /// The one way to make a handler here: the operator token first, then the endpoint.
    fn guarded<F, Fut>(self: &Arc<Self>, endpoint: F) -> Handler
    where
        F: Fn(Arc<Self>, Request) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Response, Refusal>> + Send + 'static,
    {
        let manage = Arc::clone(self);
        Arc::new(move |request| -> Answer {
            if let Err(refusal) = manage.authenticate(&request) {
                return Box::pin(std::future::ready(refusal.to_response()));
            }
            let answer = endpoint(Arc::clone(&manage), request);
            Box::pin(async move { answer.await.unwrap_or_else(|refusal| refusal.to_response()) })
        })
    }

    /// As [`Self::guarded`], for an endpoint that reads its body piece by piece.
    fn guarded_stream<F, Fut>(self: &Arc<Self>, endpoint: F) -> StreamHandler
    where
        F: Fn(Arc<Self>, Request, BodyReader) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Response, Refusal>> + Send + 'static,
    {
        let manage = Arc::clone(self);
        Arc::new(move |request, body| -> Answer {
            if let Err(refusal) = manage.authenticate(&request) {
                return Box::pin(std::future::ready(refusal.to_response()));
            }
            let answer = endpoint(Arc::clone(&manage), request, body);
            Box::pin(async move { answer.await.unwrap_or_else(|refusal| refusal.to_response()) })
        })
    }

    fn authenticate(&self, request: &Request) -> Result<(), Refusal> {
        match request.bearer() {
            Some(presented) if self.operator_token.admits(presented) => Ok(()),
            Some(_) => Err(Refusal::unauthenticated(
                "this is not the operator token; it stands in `operator.token` in the data folder",
            )),
            None => Err(Refusal::unauthenticated(
                "the operators' API needs `Authorization: Bearer <operator token>`; it stands in `operator.token` in the data folder",
            )),
        }
    }

    /// Commits the steps as one transaction.
    async fn commit(&self, steps: Vec<Step>) -> Result<Revision, StoreError> {
        let operation = self.sources.identifier();
        let committed = self.store.commit(Transaction { operation, at: self.sources.clock.now(), steps }).await?;
        Ok(committed.revision)
    }

    /// The roles that may be given.
    fn role_names(&self) -> Vec<String> {
        (self.catalogue)().roles.into_iter().map(|(name, _)| name).collect()
    }

    /// The newest revision: what a write that had nothing to change answers with.
    async fn head(&self) -> Result<Revision, Refusal> {
        Ok(self.store.head().await.map_err(respond::refused)?.revision)
    }
}

/// `POST policies/reload`: the new bundle whole, or the one before and the reason.
async fn reload(manage: Arc<Manage>, request: Request) -> Result<Response, Refusal> {
    use crate::http::{StatusCode, json};

    respond::Parameters::read(&request, &[])?;
    match (manage.reload)().await {
        Ok(bundle) => Ok(json(StatusCode::OK, &serde_json::json!({"bundle": bundle}))),
        Err(message) => {
            Err(Refusal { status: StatusCode::UNPROCESSABLE_ENTITY, grpc: 9, code: "policies-invalid", message })
        }
    }
}
