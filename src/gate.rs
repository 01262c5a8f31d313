//! Where gateways ask: one dialect, one file, each a pure pair of wire to question and decision to wire.
//!
//! The gate knows no store, no SCIM and no Cedar. A refusal is never a permit: each dialect writes its
//! fail-closed answer once. No option is ever read from a client's query. A gateway dialect has one way through:
//! admitted by a credential ([`credentials`]), its request read ([`original`]), judged, answered ([`answer`]).

pub mod answer;
pub mod answers;
pub mod auth_request;
pub mod authzen;
pub mod credentials;
pub mod envoy_grpc;
pub mod envoy_http;
pub mod explain;
pub mod forward_auth;
mod json;
pub mod native;
pub mod opa;
pub mod original;
#[cfg(test)]
mod tests;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::authz::{Authz, Failure, PersonName};
use crate::domain::{Decision, Question, Reason, Revision, Subject};
use crate::http::{Handling, HeadHandler, Method, Peer, Refusal, Reply, Request, Response, Router, here};
use crate::telemetry::{Laps, Stage};
use crate::token::Proof;
use answer::{Judged, verdict_name};
use answers::{Answers, ROOM};
use credentials::{Dialect, GateConfig, Manner};
use original::{HeaderFault, Original};

/// Who may ask, and whom the answers come from.
pub struct Gate {
    authz: Arc<Authz>,
    config: GateConfig,
    /// Answers of our own dialect, by their texts.
    answers: Answers<(), ROOM>,
    /// Decisions that the other dialects write each in its own way, by their questions.
    judgements: Answers<Judgement, 0>,
}

/// A decision, and whom it judged.
type Judgement = (Decision, Option<Arc<PersonName>>);

/// How long a question waits for the revision that it asks for.
const FRESHNESS_WAIT: Duration = Duration::from_millis(50);
const FRESHNESS_STEP: Duration = Duration::from_millis(2);

impl Gate {
    /// A gate over the decisions.
    pub fn new(authz: Arc<Authz>, config: GateConfig) -> Self {
        Self { authz, config, answers: Answers::new(), judgements: Answers::new() }
    }

    /// Every endpoint of the gate. Refusals from outside of the handlers (overload, bodies too large, a handler that
    /// failed) are rendered by the same functions as the handlers' own.
    pub fn routes(self: &Arc<Self>) -> Router {
        Router::new()
            .route(Method::POST, "/v1/authorize", self.authorize())
            .alike(Method::POST, "/v1/authorize", self.authorize_alike())
            .route(Method::POST, "/v1/authorize/batch", self.handler(authorize_batch))
            .any("/forward-auth", self.handler(forward_auth))
            .refusals("/forward-auth", Arc::new(forward_auth::refuse))
            .any("/auth-request", self.handler(auth_request))
            .refusals("/auth-request", Arc::new(auth_request::refuse))
            .prefix("/envoy/", self.handler(envoy_http))
            .refusals("/envoy/", Arc::new(envoy_http::refuse))
            .route(Method::POST, envoy_grpc::PATH, self.handler(envoy_grpc))
            .refusals(envoy_grpc::PATH, Arc::new(envoy_grpc::refuse))
            .route(Method::POST, opa::PATH, self.handler(opa))
            .refusals(opa::PATH, Arc::new(opa::refuse))
    }

    /// The decisions behind the gate.
    pub const fn authz(&self) -> &Arc<Authz> {
        &self.authz
    }

    /// How this gateway's questions are read, where it proved who it is.
    fn admit(&self, dialect: Dialect, request: &Request) -> Result<&Manner, Refusal> {
        credentials::admit(&self.config, dialect, request)
    }

    /// An answer that was given before is given at once.
    fn authorize(self: &Arc<Self>) -> Handling {
        let gate = Arc::clone(self);
        here(move |request| match native::again(&gate, &request) {
            Ok(response) => Reply::Now(response),
            Err(laps) => {
                let gate = Arc::clone(&gate);
                Reply::Later(Box::pin(async move { native::authorize(&gate, &request, laps.as_ref()).await }))
            }
        })
    }

    fn authorize_alike(self: &Arc<Self>) -> HeadHandler {
        let gate = Arc::clone(self);
        Arc::new(move |request| native::alike(&gate, request))
    }

    fn handler<F>(self: &Arc<Self>, dialect: fn(Arc<Self>, Request) -> F) -> Handling
    where
        F: Future<Output = Response> + Send + 'static,
    {
        let gate = Arc::clone(self);
        here(move |request| Reply::Later(Box::pin(dialect(Arc::clone(&gate), request))))
    }

    /// Decides, waiting a little for a revision, for a password that has to be compared, or for an issuer's keys that
    /// are still on their way. With the token that said who asks.
    async fn decide(
        &self,
        question: &Question<'_>,
        peer: &Peer,
        laps: Option<&Laps>,
    ) -> Result<(Decision, Option<Proof>), Failure> {
        let decide = || {
            let proof = OnceLock::new();
            let decision = self.authz.view().timed(laps).proving(&proof).decide(question)?;
            Ok((decision, proof.into_inner()))
        };
        self.ask(question, peer, laps, decide, |(decision, _)| decision.reason).await
    }

    async fn ask<T>(
        &self,
        question: &Question<'_>,
        peer: &Peer,
        laps: Option<&Laps>,
        decide: impl Fn() -> Result<T, Failure>,
        reason: fn(&T) -> Reason,
    ) -> Result<T, Failure> {
        let lap = |stage| laps.into_iter().for_each(|laps| laps.lap(stage));
        if let Some(wanted) = question.least_revision {
            self.catch_up(wanted).await;
            lap(Stage::Wait);
        }
        if matches!(question.subject, Subject::Authorization(_)) {
            self.authz.prepare(&question.subject, peer.address.map(|address| address.ip())).await;
            lap(Stage::Token);
        }
        let mut decided = decide();
        // Once for a fetch that was under way, which may have begun too early, and once for one of its own.
        for _ in 0..2 {
            let refused = decided.as_ref().is_ok_and(|decided| reason(decided) == Reason::Unauthenticated);
            let Some(newer) = refused.then(|| self.authz.newer_keys(&question.subject)).flatten() else { break };
            newer.await;
            lap(Stage::Token);
            decided = decide();
        }
        decided
    }

    /// Waits a little for a revision that is still on its way.
    async fn catch_up(&self, wanted: Revision) {
        let mut waited = Duration::ZERO;
        while waited < FRESHNESS_WAIT {
            let have = self.authz.revision();
            if have.epoch != wanted.epoch || have >= wanted {
                return;
            }
            tokio::time::sleep(FRESHNESS_STEP).await;
            waited += FRESHNESS_STEP;
        }
    }

    /// Decides on what a gateway asks about, and says whom it is about.
    async fn judge(
        &self,
        dialect: Dialect,
        manner: &Manner,
        original: &Original<'_>,
        peer: &Peer,
    ) -> Result<Judged, Refusal> {
        let question = original.question(manner.channel);
        let laps = self.authz.sample();
        let judged = self.judge_question(&question, peer, laps.as_ref()).await;
        if let Some(laps) = &laps {
            self.authz.measured(laps);
        }
        let (decision, person) = judged.map_err(|failure| refuse(&failure))?;
        let challenge = answer::challenge(manner, self.authz.schemes());
        let judged = Judged { decision, id: self.authz.decision_id(), person, challenge };
        tracing::debug!(
            dialect = dialect.name(),
            method = original.method,
            host = original.host.unwrap_or(""),
            // Queries may hold secrets.
            path = original.path.split('?').next().unwrap_or(""),
            decision = verdict_name(judged.decision.verdict()),
            reason = judged.decision.reason.code(),
            id = &*judged.id,
            user = judged.person.as_ref().map_or("", |person| &*person.username),
            request_id = original.request_id.unwrap_or(""),
            "decided"
        );
        Ok(judged)
    }
}

impl Gate {
    /// What was judged before on this state of the world, else anew.
    async fn judge_question(
        &self,
        question: &Question<'_>,
        peer: &Peer,
        laps: Option<&Laps>,
    ) -> Result<Judgement, Failure> {
        let key = answers::key(question);
        let place = key.as_ref().and_then(|key| self.judgements.place(key, question.channel));
        let before = place.and_then(|place| self.judgements.find(&place));
        if let Some(before) = &before {
            let view = self.authz.view().timed(laps);
            if before.holds(&view) && view.repeat(&before.basis) {
                return Ok(before.answer.clone());
            }
        }
        let doubts = self.authz.doubts();
        let decide = || {
            let proof = OnceLock::new();
            let (decision, person) = self.authz.view().timed(laps).proving(&proof).decide_naming(question)?;
            Ok(((decision, person.map(Arc::new)), proof.into_inner()))
        };
        let decided = self.ask(question, peer, laps, decide, |((decision, _), _)| decision.reason).await;
        let (judgement, proof) = decided?;
        if let (Some(place), Some(basis)) = (place, answers::basis(question, &judgement.0, doubts, proof)) {
            let differs = |kept: &Judgement| kept.1 != judgement.1 || !kept.0.says_the_same_as(&judgement.0);
            if before.is_some_and(|kept| kept.basis.agrees_with(&basis) && differs(&kept.answer)) {
                self.authz.distrust_answers(judgement.0.action.as_deref());
            }
            self.judgements.keep(&place, basis, &[], || judgement.clone());
        }
        Ok(judgement)
    }
}

async fn authorize_batch(gate: Arc<Gate>, request: Request) -> Response {
    native::authorize_batch(&gate, &request).await
}

async fn opa(gate: Arc<Gate>, request: Request) -> Response {
    let answer = async {
        let manner = gate.admit(Dialect::Opa, &request)?;
        let body = json::parse(&request.body)?;
        let asks = opa::read(&body, manner)?;
        Ok(opa::write(&asks, &gate.judge(Dialect::Opa, manner, &asks.original(), &request.peer).await?))
    };
    answer.await.unwrap_or_else(|refusal: Refusal| opa::refuse(&refusal))
}

async fn forward_auth(gate: Arc<Gate>, request: Request) -> Response {
    let answer = async {
        let manner = gate.admit(Dialect::ForwardAuth, &request)?;
        let original = forward_auth::read(&request, manner)?;
        Ok(forward_auth::write(&gate.judge(Dialect::ForwardAuth, manner, &original, &request.peer).await?))
    };
    answer.await.unwrap_or_else(|refusal: Refusal| forward_auth::refuse(&refusal))
}

async fn auth_request(gate: Arc<Gate>, request: Request) -> Response {
    let answer = async {
        let manner = gate.admit(Dialect::AuthRequest, &request)?;
        let original = auth_request::read(&request, manner)?;
        Ok(auth_request::write(&gate.judge(Dialect::AuthRequest, manner, &original, &request.peer).await?))
    };
    answer.await.unwrap_or_else(|refusal: Refusal| auth_request::refuse(&refusal))
}

async fn envoy_http(gate: Arc<Gate>, request: Request) -> Response {
    let answer = async {
        let manner = gate.admit(Dialect::EnvoyHttp, &request)?;
        let target = match &request.query {
            Some(query) => format!("{}?{query}", request.path),
            None => request.path.clone(),
        };
        let original = envoy_http::read(&request, &target, manner)?;
        Ok(envoy_http::write(&gate.judge(Dialect::EnvoyHttp, manner, &original, &request.peer).await?, &gate.config))
    };
    answer.await.unwrap_or_else(|refusal: Refusal| envoy_http::refuse(&refusal))
}

async fn envoy_grpc(gate: Arc<Gate>, request: Request) -> Response {
    let answer = async {
        let manner = gate.admit(Dialect::EnvoyGrpc, &request)?;
        let check = envoy_grpc::parse(&request)?;
        let (headers, claims) = (envoy_grpc::headers(&check)?, envoy_grpc::claims(&check, manner));
        let original = envoy_grpc::read(&check, &headers, claims.as_deref(), manner)?;
        Ok(envoy_grpc::write(
            &gate.judge(Dialect::EnvoyGrpc, manner, &original, &request.peer).await?,
            &headers,
            &gate.config,
        ))
    };
    answer.await.unwrap_or_else(|refusal: Refusal| envoy_grpc::refuse(&refusal))
}

/// A failure as every dialect starts from it.
fn refuse(failure: &Failure) -> Refusal {
    match failure {
        Failure::NotFresh { .. } => Refusal::unavailable("not-fresh", failure.to_string()),
        Failure::Context(_) => Refusal::bad_request(failure.to_string()),
        Failure::Internal => Refusal::internal(failure.to_string()),
    }
}

impl From<HeaderFault> for Refusal {
    fn from(fault: HeaderFault) -> Self {
        tracing::debug!(%fault, "a gateway's request cannot be read in one way only");
        Self { code: "malformed-request", ..Self::bad_request(fault.to_string()) }
    }
}
