//! One decision, and many: AuthZEN's Access Evaluation and Access Evaluations APIs.

use std::sync::Arc;

use serde::Serialize;

use super::question::{asked, subject};
use super::request::{Keys, Place};
use super::{AuthZen, answer};
use crate::authz::View;
use crate::domain::{Channel, Decision, Question, Verdict};
use crate::gate::answer::decision_headers;
use crate::gate::json::{Members, member, object, text};
use crate::gate::{native, refuse};
use crate::http::{Refusal, Request, Response};

/// The most evaluations in one request.
const LARGEST_BATCH: usize = native::LARGEST_BATCH;

/// When a batch stops early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Semantic {
    ExecuteAll,
    DenyOnFirstDeny,
    PermitOnFirstPermit,
}

#[derive(Serialize)]
struct EvaluationBody<'a> {
    decision: bool,
    context: ContextBody<'a>,
}

/// What peers see beside the verdict.
#[derive(Serialize)]
struct ContextBody<'a> {
    id: &'a str,
    reason: ReasonBody<'a>,
    policies: &'a [Arc<str>],
    revision: String,
    bundle: &'a str,
}

#[derive(Serialize)]
struct ReasonBody<'a> {
    code: &'static str,
    message: &'a str,
}

/// `POST /access/v1/evaluation`.
pub(super) fn evaluation(dialect: &AuthZen, request: &Request) -> Result<Response, Refusal> {
    let (body, manner) = dialect.body(request)?;
    one(dialect, &body, manner.channel)
}

/// `POST /access/v1/evaluations`: every item on one state of the world, in order.
pub(super) async fn evaluations(dialect: &AuthZen, request: &Request) -> Result<Response, Refusal> {
    let (body, manner) = dialect.body(request)?;
    let items = match member(&body, "evaluations") {
        None => return one(dialect, &body, manner.channel),
        Some(items) => {
            items.as_array().ok_or_else(|| Refusal::bad_request("`evaluations` must be an array of objects"))?
        }
    };
    if items.is_empty() {
        return one(dialect, &body, manner.channel);
    }
    if items.len() > LARGEST_BATCH {
        let message = format!("{} evaluations; a request holds at most {LARGEST_BATCH}", items.len());
        return Err(Refusal::bad_request(message));
    }
    let semantic = semantic(&body)?;
    let defaults = Keys::read(&body)?;
    let view = dialect.gate.authz().view();
    let mut out = String::with_capacity(64 + items.len() * 256);
    out.push_str("{\"evaluations\":[");
    for (at, item) in items.iter().enumerate() {
        native::pause(at).await;
        if at > 0 {
            out.push(',');
        }
        let decided = item
            .as_object()
            .ok_or_else(|| Refusal::bad_request("an evaluation must be an object"))
            .and_then(Keys::read)
            .and_then(|keys| decide(&view, manner.channel, &keys, &defaults));
        let (text, permits) = match decided {
            Ok(decision) => {
                let text = to_json(&decision, &dialect.gate.authz().decision_id())?;
                (text, decision.verdict() == Verdict::Permit)
            }
            Err(refusal) => {
                let error = serde_json::json!({"status": refusal.status.as_u16(), "message": refusal.message});
                (serde_json::json!({"decision": false, "context": {"error": error}}).to_string(), false)
            }
        };
        out.push_str(&text);
        if semantic.stops_after(permits) {
            break;
        }
    }
    out.push_str("]}");
    Ok(crate::http::respond(crate::http::StatusCode::OK, "application/json", out))
}

fn one(dialect: &AuthZen, body: &Members, channel: Channel) -> Result<Response, Refusal> {
    let authz = dialect.gate.authz();
    let decision = decide(&authz.view(), channel, &Keys::read(body)?, &Keys::default())?;
    let id = authz.decision_id();
    let mut response = answer(&evaluation_body(&decision, &id))?;
    decision_headers(response.headers_mut(), decision.reason, &id);
    Ok(response)
}

fn decide(view: &View<'_>, channel: Channel, keys: &Keys<'_>, defaults: &Keys<'_>) -> Result<Decision, Refusal> {
    let who = keys.entity(Place::Subject, defaults)?;
    let action = keys.action(defaults)?;
    let resource = keys.entity(Place::Resource, defaults)?;
    let context = keys.context(defaults);
    let question = Question {
        subject: subject(&who),
        asked: asked(view, &action, &resource)?,
        channel,
        context: &context,
        least_revision: None,
    };
    view.decide_sampled(&question).map_err(|failure| refuse(&failure))
}

fn semantic(body: &Members) -> Result<Semantic, Refusal> {
    let Some(options) = object(body, "options", "options")? else { return Ok(Semantic::ExecuteAll) };
    match text(options, "evaluations_semantic", "options.evaluations_semantic")? {
        None | Some("execute_all") => Ok(Semantic::ExecuteAll),
        Some("deny_on_first_deny") => Ok(Semantic::DenyOnFirstDeny),
        Some("permit_on_first_permit") => Ok(Semantic::PermitOnFirstPermit),
        Some(_) => Err(Refusal::bad_request(
            "`options.evaluations_semantic` is `execute_all`, `deny_on_first_deny` or `permit_on_first_permit`",
        )),
    }
}

impl Semantic {
    /// Whether a decision of this verdict is the last one.
    const fn stops_after(self, permits: bool) -> bool {
        match self {
            Self::ExecuteAll => false,
            Self::DenyOnFirstDeny => !permits,
            Self::PermitOnFirstPermit => permits,
        }
    }
}

fn evaluation_body<'a>(decision: &'a Decision, id: &'a str) -> EvaluationBody<'a> {
    EvaluationBody {
        decision: decision.verdict() == Verdict::Permit,
        context: ContextBody {
            id,
            reason: ReasonBody { code: decision.reason.code(), message: &decision.message },
            policies: &decision.policies,
            revision: decision.revision.to_string(),
            bundle: &decision.bundle,
        },
    }
}

fn to_json(decision: &Decision, id: &str) -> Result<String, Refusal> {
    serde_json::to_string(&evaluation_body(decision, id))
        .map_err(|_| Refusal::internal("the decision could not be written"))
}
