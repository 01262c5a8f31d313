//! Where gateways ask: one dialect, one file, each a pure pair of wire to question and decision to wire.
//!
//! The gate knows no store, no SCIM and no Cedar. A refusal is never a permit: each dialect writes its
//! fail-closed answer once. No option is ever read from a client's query.

pub mod explain;
pub mod native;

use std::sync::Arc;
use std::time::Duration;

use crate::authz::{Authz, Failure};
use crate::domain::{Decision, Question};
use crate::http::{Method, Refusal, Request, Router, later, now};
use crate::token::SharedToken;

/// Who may ask, and whom the answers come from.
pub struct Gate {
    authz: Arc<Authz>,
    /// The tokens that gateways present; none admits whoever can connect (loopback or Unix socket only).
    credentials: Vec<SharedToken>,
}

/// How long a question waits for the revision that it asks for.
const FRESHNESS_WAIT: Duration = Duration::from_millis(50);
const FRESHNESS_STEP: Duration = Duration::from_millis(2);

impl Gate {
    /// A gate over the decisions; `credentials` are the tokens of which a gateway must present one.
    pub fn new(authz: Arc<Authz>, credentials: &[&str]) -> Self {
        Self { authz, credentials: credentials.iter().map(|token| SharedToken::new(token)).collect() }
    }

    /// Every endpoint of the gate.
    pub fn routes(self: &Arc<Self>) -> Router {
        let (one, many) = (Arc::clone(self), Arc::clone(self));
        Router::new()
            .route(
                Method::POST,
                "/v1/authorize",
                later(move |request| {
                    let gate = Arc::clone(&one);
                    async move { native::authorize(&gate, &request).await }
                }),
            )
            .route(Method::POST, "/v1/authorize/batch", now(move |request| native::authorize_batch(&many, &request)))
    }

    /// The decisions behind the gate.
    pub const fn authz(&self) -> &Arc<Authz> {
        &self.authz
    }

    /// Whether the gateway proved who it is.
    fn admit(&self, request: &Request) -> Result<(), Refusal> {
        if self.credentials.is_empty() {
            return Ok(());
        }
        match request.bearer() {
            // Every token is compared, so that the time tells nothing of which one came close.
            Some(token) if self.credentials.iter().fold(false, |met, known| met | known.matches(token)) => Ok(()),
            Some(_) | None => {
                Err(Refusal::unauthenticated("this gate wants the gateway's token as `Authorization: Bearer`"))
            }
        }
    }

    /// Decides, waiting a little for a revision that is still on its way.
    async fn decide(&self, question: &Question<'_>) -> Result<Decision, Failure> {
        let mut waited = Duration::ZERO;
        loop {
            match self.authz.decide(question) {
                Err(Failure::NotFresh { have, want }) if have.epoch == want.epoch && waited < FRESHNESS_WAIT => {
                    tokio::time::sleep(FRESHNESS_STEP).await;
                    waited += FRESHNESS_STEP;
                }
                settled => return settled,
            }
        }
    }
}

/// A failure as every dialect starts from it.
fn refuse(failure: &Failure) -> Refusal {
    match failure {
        Failure::NotFresh { .. } => Refusal::unavailable("not-fresh", failure.to_string()),
        Failure::Context(_) => Refusal::bad_request(failure.to_string()),
        Failure::Internal => Refusal::internal(failure.to_string()),
    }
}
