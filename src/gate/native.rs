//! Our own dialect: `POST /v1/authorize` and `/v1/authorize/batch`, JSON in and out.
//!
//! Always 200 for a decision, permit or deny; 400 for what cannot be read, 401 for a gateway that did not
//! authenticate, 503 for `not-fresh`. The fail-closed answer is the refusal's own status: never 200.

use std::borrow::Cow;
use std::sync::Arc;

use crate::http::header::{HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{Gate, refuse};
use crate::domain::{Asked, Channel, ContextValue, Decision, EntityName, Question, Revision, Subject, Verdict};
use crate::http::{Refusal, Request, Response, StatusCode, respond};

/// The most questions in one batch.
pub const LARGEST_BATCH: usize = 1000;

/// A JSON object.
type Members = serde_json::Map<String, serde_json::Value>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct QuestionBody<'a> {
    #[serde(borrow)]
    subject: Option<SubjectBody<'a>>,
    #[serde(borrow)]
    request: Option<RequestBody<'a>>,
    #[serde(borrow)]
    action: Option<Cow<'a, str>>,
    #[serde(borrow)]
    resource: Option<ResourceBody<'a>>,
    #[serde(borrow)]
    channel: Option<Cow<'a, str>>,
    context: Option<Members>,
    #[serde(borrow)]
    min_revision: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SubjectBody<'a> {
    #[serde(borrow)]
    user: Option<Cow<'a, str>>,
    #[serde(borrow)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    authorization: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RequestBody<'a> {
    #[serde(borrow)]
    method: Cow<'a, str>,
    #[serde(borrow)]
    host: Option<Cow<'a, str>>,
    #[serde(borrow)]
    path: Cow<'a, str>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ResourceBody<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    id: Cow<'a, str>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BatchBody<'a> {
    #[serde(borrow)]
    subject: Option<&'a RawValue>,
    #[serde(borrow)]
    channel: Option<Cow<'a, str>>,
    context: Option<Members>,
    #[serde(borrow)]
    questions: Vec<&'a RawValue>,
}

#[derive(Serialize)]
struct DecisionBody<'a> {
    decision: &'static str,
    reason: ReasonBody<'a>,
    policies: &'a [Arc<str>],
    #[serde(skip_serializing_if = "Option::is_none")]
    action: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource: Option<ResourceAnswer<'a>>,
    revision: String,
    bundle: &'a str,
    id: &'a str,
}

#[derive(Serialize)]
struct ReasonBody<'a> {
    code: &'static str,
    message: &'a str,
}

#[derive(Serialize)]
struct ResourceAnswer<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    id: &'a str,
}

/// What a batch gives to questions that do not say it themselves.
#[derive(Default)]
struct Defaults<'a> {
    subject: Option<&'a SubjectBody<'a>>,
    channel: Option<&'a str>,
    context: Option<&'a Members>,
}

/// `POST /v1/authorize`.
pub async fn authorize(gate: &Gate, request: &Request) -> Response {
    match answer(gate, request).await {
        Ok(response) => response,
        Err(refusal) => refusal.to_response(),
    }
}

async fn answer(gate: &Gate, request: &Request) -> Result<Response, Refusal> {
    gate.admit(request)?;
    let body: QuestionBody<'_> = parse(&request.body)?;
    let context = context(body.context.as_ref(), None);
    let question = question(&body, &Defaults::default(), &context)?;
    let decision = gate.decide(&question).await.map_err(|failure| refuse(&failure))?;
    let id = gate.authz.decision_id();
    let mut response = respond(StatusCode::OK, "application/json", to_json(&decision, &id)?);
    let headers = response.headers_mut();
    headers.insert(
        HeaderName::from_static("cedargate-decision"),
        HeaderValue::from_static(verdict_name(decision.verdict())),
    );
    headers.insert(HeaderName::from_static("cedargate-reason"), HeaderValue::from_static(decision.reason.code()));
    if let Ok(id) = HeaderValue::from_str(&id) {
        headers.insert(HeaderName::from_static("cedargate-decision-id"), id);
    }
    Ok(response)
}

/// `POST /v1/authorize/batch`: every question on one state of the world.
pub fn authorize_batch(gate: &Gate, request: &Request) -> Response {
    match answer_batch(gate, request) {
        Ok(response) => response,
        Err(refusal) => refusal.to_response(),
    }
}

fn answer_batch(gate: &Gate, request: &Request) -> Result<Response, Refusal> {
    gate.admit(request)?;
    let body: BatchBody<'_> = parse(&request.body)?;
    if body.questions.len() > LARGEST_BATCH {
        let message = format!("{} questions; a batch holds at most {LARGEST_BATCH}", body.questions.len());
        return Err(Refusal::bad_request(message));
    }
    let subject: Option<SubjectBody<'_>> = body.subject.map(|raw| parse(raw.get().as_bytes())).transpose()?;
    let defaults =
        Defaults { subject: subject.as_ref(), channel: body.channel.as_deref(), context: body.context.as_ref() };
    let view = gate.authz.view();
    let mut out = String::with_capacity(64 + body.questions.len() * 320);
    out.push_str("{\"decisions\":[");
    for (at, raw) in body.questions.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        let one = || -> Result<String, Refusal> {
            let body: QuestionBody<'_> = parse(raw.get().as_bytes())?;
            let context = context(body.context.as_ref(), defaults.context);
            let question = question(&body, &defaults, &context)?;
            let decision = view.decide(&question).map_err(|failure| refuse(&failure))?;
            to_json(&decision, &gate.authz.decision_id())
        };
        match one() {
            Ok(text) => out.push_str(&text),
            Err(refusal) => {
                let error = serde_json::json!({"error": {"code": refusal.code, "message": refusal.message}});
                out.push_str(&error.to_string());
            }
        }
    }
    out.push_str("]}");
    Ok(respond(StatusCode::OK, "application/json", out))
}

/// Reads the body of one question and hands the question over.
pub(super) fn with_question<T>(
    body: &[u8],
    answer: impl FnOnce(&Question<'_>) -> Result<T, Refusal>,
) -> Result<T, Refusal> {
    let body: QuestionBody<'_> = parse(body)?;
    let context = context(body.context.as_ref(), None);
    answer(&question(&body, &Defaults::default(), &context)?)
}

pub(super) fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|error| Refusal::bad_request(format!("the body cannot be read: {error}")))
}

fn question<'a>(
    body: &'a QuestionBody<'a>,
    defaults: &Defaults<'a>,
    context: &'a [(String, ContextValue)],
) -> Result<Question<'a>, Refusal> {
    let subject = body.subject.as_ref().or(defaults.subject);
    let subject = subject.ok_or_else(|| Refusal::bad_request("`subject` is missing"))?;
    let asked = match (&body.request, &body.action) {
        (Some(request), None) if body.resource.is_none() => {
            Asked::Request { method: &request.method, host: request.host.as_deref(), path: &request.path }
        }
        (None, Some(action)) => {
            let resource = body.resource.as_ref().map(|resource| EntityName::new(&resource.kind, &resource.id));
            Asked::Action { action, properties: &[], resource }
        }
        (Some(_), _) => {
            return Err(Refusal::bad_request("give either `request` or `action` with `resource`, not both"));
        }
        (None, None) => {
            return Err(Refusal::bad_request("give either `request` or `action`; the question has neither"));
        }
    };
    Ok(Question {
        subject: subject_of(subject)?,
        asked,
        channel: channel(body.channel.as_deref().or(defaults.channel))?,
        context,
        least_revision: body.min_revision.as_deref().map(revision).transpose()?,
    })
}

fn subject_of<'a>(body: &'a SubjectBody<'a>) -> Result<Subject<'a>, Refusal> {
    match (&body.user, &body.id, &body.authorization) {
        (Some(user), None, None) => Ok(Subject::User(user)),
        (None, Some(id), None) => Ok(Subject::Id(id)),
        (None, None, Some(authorization)) => Ok(Subject::Authorization(authorization)),
        _ => Err(Refusal::bad_request("`subject` holds exactly one of `user`, `id` and `authorization`")),
    }
}

pub(super) fn channel(text: Option<&str>) -> Result<Channel, Refusal> {
    match text {
        None | Some("api") => Ok(Channel::Api),
        Some("dashboard") => Ok(Channel::Dashboard),
        Some(_) => Err(Refusal::bad_request("`channel` is `api` or `dashboard`")),
    }
}

fn revision(text: &str) -> Result<Revision, Refusal> {
    let wrong = |()| Refusal::bad_request("`minRevision` is a revision as answers give it, such as `1-42`");
    text.parse().map_err(wrong)
}

/// The question's own keys win over the batch's, and a null takes the batch's key away.
fn context(own: Option<&Members>, default: Option<&Members>) -> Vec<(String, ContextValue)> {
    let inherited =
        default.into_iter().flatten().filter(|(key, _)| own.is_none_or(|own| !own.contains_key(key.as_str())));
    let all = own.into_iter().flatten().chain(inherited);
    all.filter_map(|(key, value)| Some((key.clone(), value_of(value)?))).collect()
}

/// Cedar has neither null nor fractions: a null counts as left out; what a declared key may hold is the schema's to say.
fn value_of(value: &serde_json::Value) -> Option<ContextValue> {
    use serde_json::Value;
    Some(match value {
        Value::Null => return None,
        Value::Bool(truth) => ContextValue::Boolean(*truth),
        Value::String(text) => ContextValue::Text(text.clone()),
        Value::Number(number) => {
            number.as_i64().map_or_else(|| ContextValue::OtherNumber(number.to_string()), ContextValue::Integer)
        }
        Value::Array(items) => ContextValue::Set(items.iter().filter_map(value_of).collect()),
        Value::Object(fields) => ContextValue::Record(
            fields.iter().filter_map(|(name, field)| Some((name.clone(), value_of(field)?))).collect(),
        ),
    })
}

const fn verdict_name(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Permit => "permit",
        Verdict::Deny => "deny",
    }
}

fn to_json(decision: &Decision, id: &str) -> Result<String, Refusal> {
    let body = DecisionBody {
        decision: verdict_name(decision.verdict()),
        reason: ReasonBody { code: decision.reason.code(), message: &decision.message },
        policies: &decision.policies,
        action: decision.action.as_deref(),
        resource: decision.resource.as_ref().map(|resource| ResourceAnswer { kind: &resource.kind, id: &resource.id }),
        revision: decision.revision.to_string(),
        bundle: &decision.bundle,
        id,
    };
    serde_json::to_string(&body).map_err(|_| Refusal::internal("the decision could not be written"))
}
