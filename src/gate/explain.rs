//! Why, and who else: `POST /v1/explain` beside every decision, and the searches for operators.
//!
//! Not for gateways: an explanation tells what policies look like and what other people hold, so every request
//! carries the operator token. The work is done off the async runtime, since none of it is quick.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{native, refuse};
use crate::authz::{Authz, Considered, Explained, Explanation, Found, Outcome, Page, Seen, State, Step};
use crate::domain::{Asked, Channel, ContextValue, EntityName, Subject, Verdict};
use crate::http::{Method, Refusal, Request, Response, Router, StatusCode, later, respond};
use crate::token::SharedToken;

use super::Gate;
use super::credentials::Dialect;

/// The most policies that one explanation shows; the ones that say most come first.
const MOST_POLICIES: usize = 50;
/// The most ids in one part of a search.
const LARGEST_PART: usize = 10_000;

/// Explains and searches for whoever holds the operator token.
pub struct Explain {
    authz: Arc<Authz>,
    operator: SharedToken,
}

type Endpoint = fn(&Authz, &[u8]) -> Result<Value, Refusal>;

impl Explain {
    /// Over the decisions; `operator_token` is what every request must carry.
    pub fn new(authz: Arc<Authz>, operator_token: &str) -> Self {
        Self { authz, operator: SharedToken::new(operator_token) }
    }

    /// What stands on the gate: a gateway whose settings let it may ask as well.
    pub fn gate_routes(self: &Arc<Self>, gate: &Arc<Gate>) -> Router {
        let (this, gate) = (Arc::clone(self), Arc::clone(gate));
        let handler = move |request: Request| {
            let may = gate.admit(Dialect::Native, &request).is_ok_and(|manner| manner.explain);
            let this = Arc::clone(&this);
            async move { this.answer(request, explain, may).await.unwrap_or_else(|refusal| refusal.to_response()) }
        };
        Router::new().route(Method::POST, "/v1/explain", later(handler))
    }

    /// What stands on the operators' listener.
    pub fn operator_routes(self: &Arc<Self>) -> Router {
        let router = self.route(Router::new(), "/v1/explain", explain);
        let router = self.route(router, "/v1/search/subjects", subjects);
        let router = self.route(router, "/v1/search/resources", resources);
        let router = self.route(router, "/v1/search/actions", actions);
        self.route(router, "/v1/directory", directory)
    }

    fn route(self: &Arc<Self>, router: Router, path: &'static str, endpoint: Endpoint) -> Router {
        let this = Arc::clone(self);
        let handler = move |request: Request| {
            let this = Arc::clone(&this);
            async move { this.answer(request, endpoint, false).await.unwrap_or_else(|refusal| refusal.to_response()) }
        };
        router.route(Method::POST, path, later(handler))
    }

    async fn answer(self: Arc<Self>, request: Request, endpoint: Endpoint, may: bool) -> Result<Response, Refusal> {
        if !may && !request.bearer().is_some_and(|presented| self.operator.matches(presented)) {
            return Err(Refusal::unauthenticated(
                "explanations and searches need `Authorization: Bearer <operator token>`; it stands in `operator.token` in the data folder",
            ));
        }
        let work = tokio::task::spawn_blocking(move || endpoint(&self.authz, &request.body));
        let answer = work.await.map_err(|_| Refusal::internal("the question broke off"))??;
        Ok(respond(StatusCode::OK, "application/json", answer.to_string()))
    }
}

/// `POST /v1/explain`: the question of `POST /v1/authorize`.
fn explain(authz: &Authz, body: &[u8]) -> Result<Value, Refusal> {
    native::with_question(body, Channel::Api, |question| {
        let explained = authz.view().explain(question).map_err(|failure| refuse(&failure))?;
        Ok(render(&explained))
    })
}

fn render(explained: &Explained) -> Value {
    let decision = &explained.decision;
    let entity = |name: &crate::domain::ResourceName| json!({"type": &*name.kind, "id": name.id});
    let permits = decision.verdict() == Verdict::Permit;
    let mut answer = json!({
        "decision": if permits { "permit" } else { "deny" },
        "reason": {"code": decision.reason.code(), "message": &*decision.message},
        "policies": decision.policies.iter().map(|id| &**id).collect::<Vec<_>>(),
        "action": decision.action.as_deref(),
        "resource": decision.resource.as_ref().map(entity),
        "about": explained.about.as_ref().map(entity),
        "revision": decision.revision.to_string(),
        "bundle": &*decision.bundle,
    });
    if let (Some(explanation), Some(members)) = (&explained.explanation, answer.as_object_mut()) {
        let speaking = |permits: bool| -> Vec<&str> {
            let all = explanation.policies.iter();
            let all = all.filter(|policy| policy.permits == permits && policy.outcome == Outcome::Speaks);
            all.map(|policy| &*policy.id).collect()
        };
        members.insert("forbids".into(), json!(speaking(false)));
        members.insert("permits".into(), json!(speaking(true)));
        let grants = explanation
            .grants
            .iter()
            .map(|grant| json!({"policy": &*grant.policy, "title": &*grant.title, "missing": steps(&grant.steps)}));
        members.insert("nearest".into(), grants.collect());
        members.insert("undoneBy".into(), steps(&explanation.undone_by));
        members.insert("considered".into(), ordered(explanation).map(policy).collect());
    }
    answer
}

fn steps(steps: &[Step]) -> Value {
    let show = |step: &Step| json!({"what": step.what, "by": step.by, "administrators": step.administrators});
    steps.iter().map(show).collect()
}

/// The policies that say most first: forbids that spoke or erred, permits that spoke, the nearest ones, the rest.
fn ordered(explanation: &Explanation) -> impl Iterator<Item = &Considered> {
    let rank = |policy: &&Considered| {
        let near = explanation.grants.iter().position(|grant| grant.policy == policy.id);
        let lacking = policy.conditions.iter().filter(|one| one.state != State::True).count();
        let quiet = policy.outcome == Outcome::Silent;
        (quiet, policy.permits && !quiet, near.unwrap_or(usize::MAX), !policy.permits, lacking)
    };
    let mut all: Vec<&Considered> = explanation.policies.iter().collect();
    all.sort_by_key(rank);
    all.into_iter().take(MOST_POLICIES)
}

fn policy(policy: &Considered) -> Value {
    let outcome = match policy.outcome {
        Outcome::Speaks => "speaks",
        Outcome::Silent => "silent",
        Outcome::Errs => "errs",
    };
    json!({
        "policy": &*policy.id,
        "effect": if policy.permits { "permit" } else { "forbid" },
        "title": &*policy.title,
        "advice": policy.advice.as_deref(),
        "outcome": outcome,
        "conditions": policy.conditions.iter().map(condition).collect::<Vec<_>>(),
    })
}

fn condition(seen: &Seen) -> Value {
    let mut shown = json!({"clause": seen.clause.name(), "condition": seen.text, "holds": seen.state.name()});
    if let (State::Error(error), Some(members)) = (&seen.state, shown.as_object_mut()) {
        members.insert("error".into(), json!(error));
    }
    shown
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RequestBody {
    method: String,
    host: Option<String>,
    path: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EntityBody {
    #[serde(rename = "type")]
    kind: String,
    id: String,
}

/// A question with one part left open.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SearchBody {
    user: Option<String>,
    request: Option<RequestBody>,
    action: Option<String>,
    resource: Option<EntityBody>,
    /// The entity type that is looked for.
    #[serde(rename = "type")]
    kind: Option<String>,
    channel: Option<String>,
    /// The account that is meant, for requests without one in their path.
    account: Option<String>,
    after: Option<String>,
    limit: Option<usize>,
}

impl SearchBody {
    fn read(body: &[u8]) -> Result<Self, Refusal> {
        native::parse(body)
    }

    fn channel(&self) -> Result<Channel, Refusal> {
        native::channel(self.channel.as_deref())
    }

    fn context(&self) -> Vec<(String, ContextValue)> {
        self.account.iter().map(|id| ("account".to_owned(), ContextValue::Text(id.clone()))).collect()
    }

    fn page(&self) -> Page<'_> {
        Page { after: self.after.as_deref(), limit: self.limit.unwrap_or(LARGEST_PART).min(LARGEST_PART) }
    }

    fn resource(&self) -> Option<EntityName<'_>> {
        self.resource.as_ref().map(|entity| EntityName::new(&entity.kind, &entity.id))
    }

    fn asked(&self) -> Result<Asked<'_>, Refusal> {
        match (&self.request, &self.action) {
            (Some(request), None) => {
                Ok(Asked::Request { method: &request.method, host: request.host.as_deref(), path: &request.path })
            }
            (None, Some(action)) => Ok(Asked::Action { action, properties: &[], resource: self.resource() }),
            (Some(_), Some(_)) | (None, None) => Err(Refusal::bad_request("give either `request` or `action`")),
        }
    }

    fn user(&self) -> Result<&str, Refusal> {
        self.user.as_deref().ok_or_else(|| Refusal::bad_request("`user` is missing"))
    }
}

fn found(found: &Found) -> Value {
    json!({"items": found.ids, "next": found.next})
}

/// Who can do this.
fn subjects(authz: &Authz, body: &[u8]) -> Result<Value, Refusal> {
    let body = SearchBody::read(body)?;
    let kind = body.kind.as_deref().unwrap_or("User");
    let answer = authz.view().subjects(kind, &body.asked()?, body.channel()?, &body.context(), body.page());
    Ok(found(&answer.map_err(|failure| refuse(&failure))?))
}

/// On what can somebody do this.
fn resources(authz: &Authz, body: &[u8]) -> Result<Value, Refusal> {
    let body = SearchBody::read(body)?;
    let action = body.action.as_deref().ok_or_else(|| Refusal::bad_request("`action` is missing"))?;
    let (kind, subject) = (body.kind.as_deref().unwrap_or("Account"), Subject::User(body.user()?));
    let (channel, context) = (body.channel()?, body.context());
    let answer = authz.view().resources(subject, action, &[], kind, channel, &context, body.page());
    Ok(found(&answer.map_err(|failure| refuse(&failure))?))
}

/// What can somebody do here. An unknown person is a fault: an empty list would look like an answer.
fn actions(authz: &Authz, body: &[u8]) -> Result<Value, Refusal> {
    let body = SearchBody::read(body)?;
    let view = authz.view();
    let user = body.user()?;
    if !view.knows(user) {
        return Err(Refusal {
            status: StatusCode::NOT_FOUND,
            grpc: 5,
            code: "unknown-user",
            message: format!("nobody is provisioned under the name {user}"),
        });
    }
    let answer = view.actions(Subject::User(user), body.resource(), body.channel()?, &body.context(), body.page());
    Ok(found(&answer.map_err(|failure| refuse(&failure))?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PartBody {
    after: Option<String>,
}

/// What decisions read of everybody, in parts: for comparing policies on it elsewhere.
fn directory(authz: &Authz, body: &[u8]) -> Result<Value, Refusal> {
    let wrong = |_| Refusal::bad_request("`after` is where the part before ended, as its `next` said");
    let body: PartBody = native::parse(body)?;
    let after = body.after.map(|after| after.parse().map_err(wrong)).transpose()?;
    let (changes, next) = authz.view().directory(after, LARGEST_PART);
    Ok(json!({"items": changes, "next": next.map(|number| number.to_string())}))
}
