//! Where gateways ask: one dialect, one file, each a pure pair of wire to question and decision to wire.
//!
//! The gate knows no store, no SCIM and no Cedar. A refusal is never a permit: each dialect writes its
//! fail-closed answer once. No option is ever read from a client's query.

pub mod native;

use std::sync::Arc;
use std::time::Duration;

use crate::authz::{Authz, Failure};
use crate::domain::{Decision, Question};
use crate::http::{Refusal, Request};
use crate::token::SharedToken;

/// Who may ask, and whom the answers come from.
pub struct Gate {
    authz: Arc<Authz>,
    /// The token that gateways present; `None` admits whoever can connect (loopback or Unix socket only).
    credential: Option<SharedToken>,
}

/// How long a question waits for the revision that it asks for.
const FRESHNESS_WAIT: Duration = Duration::from_millis(50);
const FRESHNESS_STEP: Duration = Duration::from_millis(2);

impl Gate {
    /// A gate over the decisions; `credential` is the token that gateways must present.
    pub fn new(authz: Arc<Authz>, credential: Option<&str>) -> Self {
        Self { authz, credential: credential.map(SharedToken::new) }
    }

    /// The decisions behind the gate.
    pub const fn authz(&self) -> &Arc<Authz> {
        &self.authz
    }

    /// Whether the gateway proved who it is.
    fn admit(&self, request: &Request) -> Result<(), Refusal> {
        let Some(wanted) = &self.credential else { return Ok(()) };
        match request.bearer() {
            Some(token) if wanted.matches(token) => Ok(()),
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
