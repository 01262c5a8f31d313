//! What a connection does and how it fares: its standing, its provisioning log, its alarm, and the undo of its
//! deactivations.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::super::Manage;
use super::super::respond::{self, Parameters, body, quoted};
use super::super::users::refused as scim_refused;
use super::find;
use crate::domain::Timestamp;
use crate::http::{self, Refusal, Request, Response, StatusCode};
use crate::scim::{EventSearch, Since, Standing};

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Undo {
    /// An event's id or a time; the alarm's beginning where it is left out.
    since: Option<String>,
    #[serde(default)]
    dry_run: bool,
}

/// `GET connections/{id}/events`, newest first: `?outcome=success|failure`, `?kind=`, `?resource=`, `?since=`,
/// `?until=` (RFC 3339), `?after=` (a number: what came since). A connection that is gone may still have a log.
pub(in crate::manage) async fn events(manage: Arc<Manage>, request: Request) -> Result<Response, Refusal> {
    let known = ["cursor", "count", "outcome", "kind", "resource", "since", "until", "after"];
    let parameters = Parameters::read(&request, &known)?;
    let count = parameters.count()?;
    let success = match parameters.get("outcome") {
        None => None,
        Some("success") => Some(true),
        Some("failure") => Some(false),
        Some(other) => {
            return Err(Refusal::bad_request(format!("{} is no outcome; use success or failure", quoted(other))));
        }
    };
    let kind = match parameters.get("kind") {
        Some(kind) if !["request", "alarm", "settled", "undo"].contains(&kind) => {
            let message = format!("{} is no kind of event; use request, alarm, settled or undo", quoted(kind));
            return Err(Refusal::bad_request(message));
        }
        kind => kind.map(str::to_owned),
    };
    let number = |name: &str, prefix: &str| match parameters.get(name) {
        None => Ok(None),
        Some(text) => text
            .strip_prefix(prefix)
            .and_then(|digits| digits.parse::<u64>().ok())
            .map(Some)
            .ok_or_else(|| Refusal::bad_request(format!("{} is no {name} of this list", quoted(text)))),
    };
    let search = EventSearch {
        success,
        kind,
        resource: parameters.get("resource").map(str::to_owned),
        since: parameters.get("since").map(moment).transpose()?,
        until: parameters.get("until").map(moment).transpose()?,
        after: number("after", "")?,
        below: number("cursor", "e")?,
        count,
    };
    let id = request.parameter("id");
    let page = manage.scim.events(id, search).await.map_err(scim_refused)?;
    if page.items.is_empty() {
        // Nothing found is an answer, a misspelt id is none.
        find(&manage, id).await?;
    }
    Ok(respond::list(page.items, page.next.map(|number| format!("e{number}"))))
}

/// `GET events/{event}`: the one that an error's `detail` names.
pub(in crate::manage) async fn event(manage: Arc<Manage>, request: Request) -> Result<Response, Refusal> {
    Parameters::read(&request, &[])?;
    let event = manage.scim.event(request.parameter("event")).await.map_err(scim_refused)?;
    Ok(http::json(StatusCode::OK, &event))
}

/// `POST connections/{id}/undo` (`{"since"?, "dryRun"?}`): gives back what deactivations took. Safe to run again.
pub(in crate::manage) async fn undo(manage: Arc<Manage>, request: Request) -> Result<Response, Refusal> {
    Parameters::read(&request, &[])?;
    let asked: Undo = if request.body.is_empty() { Undo::default() } else { body(&request)? };
    let (_, connection) = find(&manage, request.parameter("id")).await?;
    let since = match asked.since {
        None => Since::Alarm,
        Some(text) => match text.parse::<jiff::Timestamp>() {
            Ok(time) => Since::Time(Timestamp(time.as_millisecond())),
            Err(_) => Since::Event(text),
        },
    };
    let undone = manage.scim.undo(&connection, &since, asked.dry_run).await.map_err(scim_refused)?;
    let mut answer = undone.to_json();
    if let Some(members) = answer.as_object_mut() {
        members.insert("dryRun".to_owned(), json!(asked.dry_run));
    }
    Ok(http::json(StatusCode::OK, &answer))
}

/// `DELETE connections/{id}/alarm`: the deactivations were meant. 404 where no alarm stands.
pub(in crate::manage) async fn settle(manage: Arc<Manage>, request: Request) -> Result<Response, Refusal> {
    Parameters::read(&request, &[])?;
    let (_, connection) = find(&manage, request.parameter("id")).await?;
    if manage.scim.settle(&connection.id).await.map_err(scim_refused)? {
        Ok(http::empty(StatusCode::NO_CONTENT))
    } else {
        Err(Refusal::not_found("no alarm stands for this connection"))
    }
}

/// A connection's standing for answers.
pub(super) fn standing(standing: &Standing) -> Value {
    let counts: Map<String, Value> =
        standing.counts.iter().map(|(class, count)| (class.name().to_owned(), json!(count))).collect();
    json!({
        "lastRequest": standing.last_request.map(respond::rfc3339),
        "lastSuccess": standing.last_success.map(respond::rfc3339),
        "client": standing.client,
        "requests": counts,
        "quarantine": {
            "state": standing.risk.name(),
            "windowMinutes": Standing::WINDOW_MINUTES,
            "requests": standing.requests,
            "failures": standing.failures,
            "failureRatio": (standing.failure_ratio() * 10_000.0).round() / 10_000.0,
        },
        "alarm": standing.alarm.as_ref().map(|alarm| json!({
            "at": respond::rfc3339(alarm.at),
            "since": alarm.since,
            "sinceTime": respond::rfc3339(alarm.since_time),
            "deactivated": alarm.deactivated,
            "of": alarm.of,
        })),
    })
}

fn moment(text: &str) -> Result<Timestamp, Refusal> {
    text.parse::<jiff::Timestamp>().map(|time| Timestamp(time.as_millisecond())).map_err(|_| {
        Refusal::bad_request(format!("{} is no RFC 3339 time such as `2030-01-31T00:00:00Z`", quoted(text)))
    })
}
