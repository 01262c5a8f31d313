//! `POST /v1/authorize/batch`: many questions, answered on one state of the world and for one moment.
//!
//! A batch that holds nothing but questions is gone through once: what was answered before is known by its text
//! ([`Texts`]), and only the others are parsed.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    Defaults, QuestionBody, SubjectBody, Text, USUAL_ANSWER, before_id, channel, context, keep, members, parse,
    question, write_id,
};
use crate::authz::View;
use crate::domain::{Channel, Revision, Subject};
use crate::gate::answers::{Place, basis};
use crate::gate::credentials::Dialect;
use crate::gate::{Gate, refuse};
use crate::http::{Refusal, Request, Response, StatusCode, respond};
use crate::token::Basic;

/// The most questions in one batch.
pub const LARGEST_BATCH: usize = 1000;
/// Questions that are answered in one go, before others on the same thread have their turn.
const IN_ONE_GO: usize = 16;
/// The same for answers that were kept, which are so much quicker.
const KEPT_IN_ONE_GO: usize = 256;
/// Different passwords that are compared for one batch.
const MOST_PASSWORDS: usize = 8;
/// A question is hardly ever shorter, in bytes.
const SHORT: usize = 64;
/// Ends of a question that are tried before it is parsed.
const GUESSES: usize = 4;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BatchBody<'a> {
    #[serde(borrow)]
    subject: Option<&'a RawValue>,
    #[serde(borrow)]
    channel: Option<Cow<'a, str>>,
    #[serde(borrow)]
    context: Option<&'a RawValue>,
    #[serde(borrow)]
    questions: Vec<&'a RawValue>,
}

/// `POST /v1/authorize/batch`: every question on one state of the world, no older than any of them asks for.
pub async fn authorize_batch(gate: &Gate, request: &Request) -> Response {
    match answer(gate, request).await {
        Ok(response) => response,
        Err(refusal) => refusal.to_response(),
    }
}

async fn answer(gate: &Gate, request: &Request) -> Result<Response, Refusal> {
    let manner = gate.admit(Dialect::Native, request)?;
    let mut view = gate.authz.view().of_one_moment();
    let defaults = Defaults { channel: Some(manner.channel.name()), ..Defaults::default() };
    if let Some(items) = Texts::of(&request.body).and_then(|texts| texts.read(gate, &view, manner.channel))
        && newer(&view, &items).is_none()
        && passwords(&defaults, &items).is_empty()
    {
        return Ok(answer_all(gate, &view, &defaults, &items).await);
    }
    let body: BatchBody<'_> = parse(&request.body)?;
    if body.questions.len() > LARGEST_BATCH {
        let message = format!("{} questions; a batch holds at most {LARGEST_BATCH}", body.questions.len());
        return Err(Refusal::bad_request(message));
    }
    let subject: Option<SubjectBody<'_>> = body.subject.map(|raw| parse(raw.get().as_bytes())).transpose()?;
    let common = members(body.context)?;
    let defaults = Defaults {
        subject: subject.as_ref(),
        channel: body.channel.as_deref().or(defaults.channel),
        context: common.as_ref(),
    };
    // What the batch gives to its questions is no part of their own text: then nothing is kept.
    let keeps = body.subject.is_none() && common.is_none();
    let channel = channel(defaults.channel)?;
    let read = |view: &View<'_>| -> Vec<Item<'_>> {
        let questions = body.questions.iter();
        questions.map(|raw| Item::read(gate, view, raw.get(), keeps.then_some(channel))).collect()
    };
    let mut items = read(&view);
    if let Some(wanted) = newer(&view, &items) {
        gate.catch_up(wanted).await;
        view = gate.authz.view().of_one_moment();
        items = read(&view);
    }
    if prepare_all(gate, request, &defaults, &items).await {
        view = gate.authz.view().of_one_moment();
        items = read(&view);
    }
    Ok(answer_all(gate, &view, &defaults, &items).await)
}

/// Writes every decision in its place.
async fn answer_all(gate: &Gate, view: &View<'_>, defaults: &Defaults<'_>, items: &[Item<'_>]) -> Response {
    let mut out = Vec::with_capacity(64 + items.len() * USUAL_ANSWER);
    out.extend_from_slice(b"{\"decisions\":[");
    let mut work = 0;
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        if work >= KEPT_IN_ONE_GO {
            work = 0;
            tokio::task::yield_now().await;
        }
        work += if matches!(item, Item::Kept(_)) { 1 } else { KEPT_IN_ONE_GO / IN_ONE_GO };
        let decided;
        let text = match item {
            Item::Kept(kept) if view.repeat(&kept.basis) => Ok(kept.text()),
            Item::Kept(kept) => {
                decided = again(gate, view, defaults, kept);
                decided.as_deref()
            }
            Item::Asked(body, place) => {
                decided = decide(gate, view, defaults, body, *place);
                decided.as_deref()
            }
            Item::Refused(refusal) => Err(refusal),
        };
        match text {
            Ok(text) => {
                out.extend_from_slice(text);
                write_id(&mut out, &view.decision_id());
            }
            Err(refusal) => {
                let error = serde_json::json!({"error": {"code": refusal.code, "message": refusal.message}});
                out.extend_from_slice(error.to_string().as_bytes());
            }
        }
    }
    out.extend_from_slice(b"]}");
    respond(StatusCode::OK, "application/json", out)
}

/// The answer to one question up to its id, made anew.
fn decide(
    gate: &Gate,
    view: &View<'_>,
    defaults: &Defaults<'_>,
    body: &QuestionBody<'_>,
    place: Option<Place<'_>>,
) -> Result<Vec<u8>, Refusal> {
    let own = members(body.context)?;
    let context = context(own.as_ref(), defaults.context);
    let question = question(body, defaults, &context)?;
    let doubts = gate.authz.doubts();
    let decision = view.decide_sampled(&question).map_err(|failure| refuse(&failure))?;
    let text = before_id(&decision)?;
    if let (Some(place), Some(basis)) = (place, basis(&question, &decision, doubts, None)) {
        keep(gate, &place, gate.answers.find(&place).as_deref(), &decision, basis, &text);
    }
    Ok(text)
}

/// As [`decide`], of a question that was answered before.
fn again(gate: &Gate, view: &View<'_>, defaults: &Defaults<'_>, kept: &Text) -> Result<Vec<u8>, Refusal> {
    let place = gate.answers.place(kept.question(), kept.channel());
    decide(gate, view, defaults, &parse(kept.question())?, place)
}

/// One question of a batch.
enum Item<'a> {
    /// Answered before, on this state.
    Kept(Arc<Text>),
    Asked(Box<QuestionBody<'a>>, Option<Place<'a>>),
    Refused(Refusal),
}

impl<'a> Item<'a> {
    /// `channel` is that of the batch, where answers to its questions are kept.
    fn read(gate: &Gate, view: &View<'_>, text: &'a str, channel: Option<Channel>) -> Self {
        let place = channel.and_then(|channel| gate.answers.place(text.as_bytes(), channel));
        let kept = place.and_then(|place| gate.answers.find(&place)).filter(|kept| kept.holds(view));
        match kept {
            Some(kept) => Self::Kept(kept),
            None => match parse(text.as_bytes()) {
                Ok(body) => Self::Asked(Box::new(body), place),
                Err(refusal) => Self::Refused(refusal),
            },
        }
    }

    fn asked(&self) -> Option<&QuestionBody<'a>> {
        if let Self::Asked(body, _) = self { Some(body) } else { None }
    }

    fn least_revision(&self) -> Option<Revision> {
        self.asked()?.min_revision.as_deref()?.parse().ok()
    }
}

/// The texts of a batch's questions from the first one on, where the batch gives them nothing in common. Where one ends
/// is not known yet.
struct Texts<'a>(&'a str);

impl<'a> Texts<'a> {
    /// `None` where the batch does not begin with its questions.
    fn of(body: &'a [u8]) -> Option<Self> {
        let body = std::str::from_utf8(body).ok()?;
        ["{", "\"questions\"", ":", "["].into_iter().try_fold(body, after).map(Self)
    }

    /// All questions, in one look at the text. `None` where it is not one list of questions to its end, or a long one:
    /// whoever parses it whole says what is wrong.
    fn read(self, gate: &Gate, view: &View<'_>, channel: Channel) -> Option<Vec<Item<'a>>> {
        let mut rest = self.0;
        let mut items = Vec::with_capacity((rest.len() / SHORT).min(LARGEST_BATCH));
        let mut next = if after(rest, "]").is_some() { None } else { Some(rest) };
        while let Some(text) = next {
            if items.len() == LARGEST_BATCH {
                return None;
            }
            let text = skip_blanks(text);
            let (item, length) = match kept_at(gate, view, text, channel) {
                Some((kept, length)) => (Item::Kept(kept), length),
                None => {
                    let mut values = serde_json::Deserializer::from_str(text).into_iter::<&RawValue>();
                    let raw = values.next()?.ok()?;
                    (Item::read(gate, view, raw.get(), Some(channel)), values.byte_offset())
                }
            };
            items.push(item);
            rest = text.get(length..)?;
            next = after(rest, ",");
        }
        let end = ["]", "}"].into_iter().try_fold(rest, after)?;
        skip_blanks(end).is_empty().then_some(items)
    }
}

/// The question that the text begins with, where it was answered before and the answer holds, and its length.
///
/// Where it ends is guessed. A guess that finds something kept was right: what is kept was parsed as one whole object, and
/// no object is the beginning of another one.
fn kept_at(gate: &Gate, view: &View<'_>, text: &str, channel: Channel) -> Option<(Arc<Text>, usize)> {
    let (mut end, mut guesses) = (0, 0);
    while text.starts_with('{') && guesses < GUESSES {
        end += text.get(end..)?.find('}')? + 1;
        let rest = text.get(end..)?;
        // After an inner object comes another brace, or a comma and the name of the next member.
        let next = after(rest, ",").map(skip_blanks);
        if !next.is_some_and(|next| next.starts_with('{')) && after(rest, "]").is_none() {
            continue;
        }
        guesses += 1;
        let place = gate.answers.place(text.get(..end)?.as_bytes(), channel)?;
        if let Some(kept) = gate.answers.find(&place) {
            return kept.holds(view).then_some((kept, end));
        }
    }
    None
}

/// What follows after a token of JSON, which blanks may stand before.
fn after<'a>(text: &'a str, token: &str) -> Option<&'a str> {
    skip_blanks(text).strip_prefix(token)
}

fn skip_blanks(text: &str) -> &str {
    text.trim_start_matches([' ', '\n', '\r', '\t'])
}

/// The revision that some of these questions ask for and this view has not seen, of the same ledger.
fn newer(view: &View<'_>, items: &[Item<'_>]) -> Option<Revision> {
    let have = view.revision();
    let wanted = items.iter().filter_map(Item::least_revision).max();
    wanted.filter(|wanted| wanted.epoch == have.epoch && *wanted > have)
}

/// The different passwords among the subjects of a batch.
fn passwords<'a>(defaults: &Defaults<'a>, items: &'a [Item<'_>]) -> BTreeSet<&'a str> {
    let own = items.iter().filter_map(|item| item.asked()?.subject.as_ref());
    let headers = defaults.subject.into_iter().chain(own).filter_map(|subject| subject.authorization.as_deref());
    headers.filter(|header| Basic::read(header).is_some()).collect()
}

/// Compares the passwords among the subjects of a batch, each once and only so many of them: the rest do not hold.
/// Says whether there were any, and so time has passed.
async fn prepare_all(gate: &Gate, request: &Request, defaults: &Defaults<'_>, items: &[Item<'_>]) -> bool {
    let passwords = passwords(defaults, items);
    let peer = request.peer.address.map(|address| address.ip());
    let any = !passwords.is_empty();
    for header in passwords.into_iter().take(MOST_PASSWORDS) {
        gate.authz.prepare(&Subject::Authorization(header), peer).await;
    }
    any
}

/// Lets others on the same thread have their turn before every [`IN_ONE_GO`]th question of a batch but the first.
pub(in crate::gate) async fn pause(at: usize) {
    if at > 0 && at.is_multiple_of(IN_ONE_GO) {
        tokio::task::yield_now().await;
    }
}
