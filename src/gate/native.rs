//! Our own dialect: `POST /v1/authorize` and `/v1/authorize/batch`, JSON in and out.
//!
//! Always 200 for a decision, permit or deny; 400 for what cannot be read, 401 for a gateway that did not
//! authenticate, 503 for `not-fresh`. The fail-closed answer is the refusal's own status: never 200; in a batch an
//! `error` stands in the place of the question that got no decision.

mod batch;

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;

use super::answer::{DECISION_NAMES, TIMING, decision_headers, decision_words, verdict_name, write_timing};
use super::answers::{Kept, LONGEST_ANSWER, Place, ROOM, basis};
use super::credentials::{Dialect, Manner};
use super::json::{self, Members};
use super::{Gate, refuse};
use crate::authz::{Basis, DecisionId};
use crate::domain::{Asked, Channel, ContextValue, Decision, EntityName, Question, Reason, Revision, Subject};
use crate::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use crate::http::plain::Plain;
use crate::http::{AlikeHandler, Refusal, Request, Response, StatusCode, respond};
use crate::telemetry::{Laps, Stage};
use crate::token::Basic;

pub(super) use batch::pause;
pub use batch::{LARGEST_BATCH, authorize_batch};

/// Room for an answer of usual length, in bytes.
const USUAL_ANSWER: usize = 640;
/// Room for a decision's id and the end of an answer, in bytes.
const ID: usize = 40;
/// The end of an answer, behind its decision's id.
const END: &[u8] = b"\"}";

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
    #[serde(borrow)]
    context: Option<&'a RawValue>,
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

#[derive(Serialize)]
struct DecisionBody<'a> {
    decision: &'static str,
    reason: ReasonBody<'a>,
    policies: &'a [Arc<str>],
    #[serde(skip_serializing_if = "Option::is_none")]
    action: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource: Option<ResourceAnswer<'a>>,
    #[serde(serialize_with = "display")]
    revision: Revision,
    bundle: &'a str,
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

/// An answer that was given, up to its id.
type Text = Kept<(), ROOM>;

/// What a batch gives to questions that do not say it themselves.
#[derive(Default)]
struct Defaults<'a> {
    subject: Option<&'a SubjectBody<'a>>,
    channel: Option<&'a str>,
    context: Option<&'a Members>,
}

impl Defaults<'_> {
    /// What the gateway's settings give.
    const fn of(channel: Channel) -> Self {
        Self { subject: None, channel: Some(channel.name()), context: None }
    }
}

/// The answer that was given to this very question on this very state of the world; `Err` where there is none, with
/// what measures the question from now on.
pub fn again(gate: &Gate, request: &Request) -> Result<Response, Option<Laps>> {
    let Ok(manner) = gate.admit(Dialect::Native, request) else { return Err(None) };
    let laps = measure(gate, manner, request);
    let Some((kept, id)) = kept(gate, &request.body, manner.channel, laps.as_ref()) else { return Err(laps) };
    let mut text = Vec::with_capacity(kept.text().len() + ID);
    text.extend_from_slice(kept.text());
    Ok(respond_with(gate, kept.basis.reason(), &id, text, laps.as_ref()))
}

/// What was answered to this very question, where it holds, with the id of a new decision.
fn kept(gate: &Gate, body: &[u8], channel: Channel, laps: Option<&Laps>) -> Option<(Arc<Text>, DecisionId)> {
    let place = gate.answers.place(body, channel);
    let kept = place.and_then(|place| gate.answers.find(&place));
    let repeated = kept.and_then(|kept| {
        let view = gate.authz.view().timed(laps).of_one_moment();
        let repeats = kept.holds(&view) && view.repeat(&kept.basis);
        repeats.then(|| (kept, view.decision_id()))
    });
    lap(laps, Stage::Cache);
    repeated
}

/// What answers the questions of a gateway that says the same about itself each time, by their bodies: those that need
/// neither a wait nor a refusal. `None` for one that must be looked at each time.
pub fn alike(gate: &Arc<Gate>, request: &Request) -> Option<AlikeHandler> {
    let manner = gate.admit(Dialect::Native, request).ok()?;
    if request.headers.contains_key(&TIMING) {
        return None;
    }
    let (gate, channel) = (Arc::clone(gate), manner.channel);
    Some(Arc::new(move |body, plain| {
        let laps = gate.authz.sample();
        let given = match kept(&gate, body, channel, laps.as_ref()) {
            Some((kept, id)) => {
                write_plain(plain, kept.basis.reason(), &id, kept.text());
                true
            }
            None => at_once(&gate, body, channel, laps.as_ref())
                .map(|(decision, text)| write_plain(plain, decision.reason, &gate.authz.decision_id(), &text))
                .is_some(),
        };
        if let (Some(laps), true) = (laps, given) {
            laps.lap(Stage::Write);
            gate.authz.measured(&laps);
        }
        given
    }))
}

fn write_plain(plain: &mut Plain<'_>, reason: Reason, id: &str, text: &[u8]) {
    let ([decision_name, reason_name, id_name], [verdict, code]) = (&DECISION_NAMES, decision_words(reason));
    let headers = [
        (&CONTENT_TYPE, "application/json"),
        (&CACHE_CONTROL, "no-store"),
        (decision_name, verdict),
        (reason_name, code),
        (id_name, id),
    ];
    plain.write(StatusCode::OK, headers.map(|(name, value)| (name, value.as_bytes())), &[text, id.as_bytes(), END]);
}

/// What measures a question: a gateway may ask for its times, else one now and then is measured.
fn measure(gate: &Gate, manner: &Manner, request: &Request) -> Option<Laps> {
    // Whoever may not learn why an answer is what it is may not learn from its times what others have asked.
    if manner.explain && request.headers.get(&TIMING).is_some_and(|asked| asked == "1") {
        return Some(Laps::asked());
    }
    gate.authz.sample()
}

fn lap(laps: Option<&Laps>, stage: Stage) {
    if let Some(laps) = laps {
        laps.lap(stage);
    }
}

/// `POST /v1/authorize`, judged anew.
pub async fn authorize(gate: &Gate, request: &Request, laps: Option<&Laps>) -> Response {
    match answer(gate, request, laps).await {
        Ok(response) => response,
        Err(refusal) => refusal.to_response(),
    }
}

async fn answer(gate: &Gate, request: &Request, laps: Option<&Laps>) -> Result<Response, Refusal> {
    let manner = gate.admit(Dialect::Native, request)?;
    let body: QuestionBody<'_> = parse(&request.body)?;
    let own = members(body.context)?;
    let context = context(own.as_ref(), None);
    let question = question(&body, &Defaults::of(manner.channel), &context)?;
    lap(laps, Stage::Parse);
    let doubts = gate.authz.doubts();
    let decided = gate.decide(&question, &request.peer, laps).await;
    let (decision, proof) = decided.map_err(|failure| refuse(&failure))?;
    let basis = basis(&question, &decision, doubts, proof);
    let text = write_and_keep(gate, &request.body, manner.channel, &decision, basis)?;
    Ok(respond_with(gate, decision.reason, &gate.authz.decision_id(), text, laps))
}

/// The decision on a question, with the answer up to its id; `None` where there is something to wait for, or to refuse.
fn at_once(gate: &Gate, body: &[u8], channel: Channel, laps: Option<&Laps>) -> Option<(Decision, Vec<u8>)> {
    let decided = with_question(body, channel, |question| Ok(decide_at_once(gate, question, laps)));
    let (decision, basis) = decided.ok()??;
    let text = write_and_keep(gate, body, channel, &decision, basis).ok()?;
    Some((decision, text))
}

/// The decision on a question that waits for nothing, with what it rests on where it may be kept.
fn decide_at_once(gate: &Gate, question: &Question<'_>, laps: Option<&Laps>) -> Option<(Decision, Option<Basis>)> {
    let waits = match question.subject {
        Subject::User(_) | Subject::Id(_) => false,
        // A password is compared where there is time.
        Subject::Authorization(header) => Basic::read(header).is_some(),
        Subject::Claims(_) | Subject::Principal(_) | Subject::Entity(_) => true,
    };
    if waits || question.least_revision.is_some() {
        return None;
    }
    lap(laps, Stage::Parse);
    let (doubts, proof) = (gate.authz.doubts(), OnceLock::new());
    let decision = gate.authz.view().timed(laps).proving(&proof).decide(question).ok()?;
    if decision.reason == Reason::Unauthenticated && gate.authz.lacks_key(&question.subject) {
        return None;
    }
    let basis = basis(question, &decision, doubts, proof.into_inner());
    Some((decision, basis))
}

/// The answer up to its id, kept for whoever asks the same.
fn write_and_keep(
    gate: &Gate,
    body: &[u8],
    channel: Channel,
    decision: &Decision,
    basis: Option<Basis>,
) -> Result<Vec<u8>, Refusal> {
    let text = before_id(decision)?;
    if let (Some(place), Some(basis)) = (gate.answers.place(body, channel), basis) {
        keep(gate, &place, gate.answers.find(&place).as_deref(), decision, basis, &text);
    }
    Ok(text)
}

fn respond_with(gate: &Gate, reason: Reason, id: &DecisionId, mut text: Vec<u8>, laps: Option<&Laps>) -> Response {
    write_id(&mut text, id);
    let mut response = respond(StatusCode::OK, "application/json", text);
    decision_headers(response.headers_mut(), reason, id);
    if let Some(laps) = laps {
        laps.lap(Stage::Write);
        if laps.is_asked() {
            write_timing(response.headers_mut(), laps);
        } else {
            gate.authz.measured(laps);
        }
    }
    response
}

/// Keeps an answer for whoever asks the same. `before` is what was kept and not given: made on the same state it must say
/// the same.
fn keep(gate: &Gate, place: &Place<'_>, before: Option<&Text>, decision: &Decision, basis: Basis, text: &[u8]) {
    if before.is_some_and(|kept| kept.basis.agrees_with(&basis) && kept.text() != text) {
        gate.authz.distrust_answers(decision.action.as_deref());
    }
    if text.len() <= LONGEST_ANSWER {
        gate.answers.keep(place, basis, text, || ());
    }
}

/// Reads the body of one question and hands the question over.
pub(super) fn with_question<T>(
    body: &[u8],
    channel: Channel,
    answer: impl FnOnce(&Question<'_>) -> Result<T, Refusal>,
) -> Result<T, Refusal> {
    let body: QuestionBody<'_> = parse(body)?;
    let own = members(body.context)?;
    let context = context(own.as_ref(), None);
    answer(&question(&body, &Defaults::of(channel), &context)?)
}

pub(super) fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|error| Refusal::bad_request(format!("the body cannot be read: {error}")))
}

/// A context within the limits of [`json::parse`]; null counts as left out.
fn members(raw: Option<&RawValue>) -> Result<Option<Members>, Refusal> {
    let Some(raw) = raw else { return Ok(None) };
    match json::parse(raw.get().as_bytes())? {
        Value::Null => Ok(None),
        Value::Object(members) => Ok(Some(members)),
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Err(Refusal::bad_request("`context` must be an object"))
        }
    }
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
    all.filter_map(|(key, value)| Some((key.clone(), json::value_of(value)?))).collect()
}

/// The answer up to its id.
fn before_id(decision: &Decision) -> Result<Vec<u8>, Refusal> {
    let body = DecisionBody {
        decision: verdict_name(decision.verdict()),
        reason: ReasonBody { code: decision.reason.code(), message: &decision.message },
        policies: &decision.policies,
        action: decision.action.as_deref(),
        resource: decision.resource.as_ref().map(|resource| ResourceAnswer { kind: &resource.kind, id: &resource.id }),
        revision: decision.revision,
        bundle: &decision.bundle,
    };
    let mut text = Vec::with_capacity(USUAL_ANSWER);
    serde_json::to_writer(&mut text, &body).map_err(|_| Refusal::internal("the decision could not be written"))?;
    // The id is the last member, so that all before it can be kept.
    text.pop();
    text.extend_from_slice(b",\"id\":\"");
    Ok(text)
}

/// Ends the text of [`before_id`].
fn write_id(text: &mut Vec<u8>, id: &str) {
    text.extend_from_slice(id.as_bytes());
    text.extend_from_slice(END);
}

fn display<S: Serializer>(value: &Revision, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}
