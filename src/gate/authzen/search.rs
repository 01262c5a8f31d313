//! The three searches: who may do this, on what may somebody do this, what may somebody do here.
//!
//! Each result gets a permit when evaluated by itself. What nobody knows is an empty answer, never an error.

use std::sync::Arc;

use serde_json::{Value, json};

use super::page::Page;
use super::question::{self, asked, is_route, subject};
use super::request::{Action, Entity, Keys, Place};
use super::{AuthZen, answer};
use crate::authz::{self, Failure, Found, View};
use crate::domain::{Channel, ContextValue, Question, Verdict};
use crate::gate::json::Members;
use crate::gate::refuse;
use crate::http::{Refusal, Request, Response};

/// What is searched for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Subjects of a type.
    Subject,
    /// Resources of a type.
    Resource,
    /// Actions.
    Action,
}

impl Kind {
    /// The key that holds it.
    const fn name(self) -> &'static str {
        match self {
            Self::Subject => "subject",
            Self::Resource => "resource",
            Self::Action => "action",
        }
    }
}

/// Methods that an action search tries on a route.
const METHODS: [&str; 7] = ["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"];

/// `POST /access/v1/search/…`.
pub(super) async fn search(dialect: &Arc<AuthZen>, kind: Kind, request: &Request) -> Result<Response, Refusal> {
    let (body, manner) = dialect.body(request)?;
    let channel = manner.channel;
    let stopping = || Refusal::unavailable("overloaded", "the search could not be run; try again soon");
    let turn = Arc::clone(&dialect.searches).acquire_owned().await.map_err(|_| stopping())?;
    let dialect = Arc::clone(dialect);
    // A search takes long enough to keep others on this thread waiting.
    let found = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        run(&dialect, kind, channel, &body)
    });
    answer(&found.await.map_err(|_| Refusal::internal("the search failed; the log has the cause"))??)
}

fn run(dialect: &AuthZen, kind: Kind, channel: Channel, body: &Members) -> Result<Value, Refusal> {
    let keys = Keys::read(body)?;
    let none = Keys::default();
    let context = keys.context(&none);
    let view = dialect.gate.authz().view();
    let inputs = |page: Page| Inputs { view: &view, channel, context: &context, page };
    let page = |kind: Kind| dialect.sealer.page(kind.name(), &keys, body);
    let (found, limit, wrap): (_, _, Box<dyn Fn(String) -> Value>) = match kind {
        Kind::Subject => {
            let (who, action) = (keys.of_type(Place::Subject, &none)?, keys.action(&none)?);
            let resource = keys.entity(Place::Resource, &none)?;
            let inputs = inputs(page(kind)?);
            let kind = who.kind.to_owned();
            let found = inputs.subjects(&who, &action, &resource)?;
            (found, inputs.page.limit, Box::new(move |id| json!({"type": kind, "id": id})))
        }
        Kind::Resource => {
            let (who, action) = (keys.entity(Place::Subject, &none)?, keys.action(&none)?);
            let resource = keys.of_type(Place::Resource, &none)?;
            let inputs = inputs(page(kind)?);
            let kind = resource.kind.to_owned();
            let found = inputs.resources(&who, &action, &resource)?;
            (found, inputs.page.limit, Box::new(move |id| json!({"type": kind, "id": id})))
        }
        Kind::Action => {
            let who = keys.entity(Place::Subject, &none)?;
            let resource = keys.entity(Place::Resource, &none)?;
            let inputs = inputs(page(kind)?);
            let found = inputs.actions(&who, &resource)?;
            (found, inputs.page.limit, Box::new(|name| json!({"name": name})))
        }
    };
    let next = found.next.map(|after| dialect.sealer.next(limit, &after, kind.name(), &keys)).unwrap_or_default();
    let results: Vec<Value> = found.ids.into_iter().map(wrap).collect();
    // The page stands first, so that a reader knows early whether there is more.
    Ok(json!({"page": {"next_token": next, "count": results.len()}, "results": results}))
}

/// What every search takes beside its keys.
struct Inputs<'a> {
    view: &'a View<'a>,
    channel: Channel,
    context: &'a [(String, ContextValue)],
    page: Page,
}

impl Inputs<'_> {
    fn page(&self) -> authz::Page<'_> {
        let limit = usize::try_from(self.page.limit).unwrap_or(usize::MAX);
        authz::Page { after: self.page.after.as_deref(), limit }
    }

    fn subjects(&self, who: &Entity<'_>, action: &Action<'_>, resource: &Entity<'_>) -> Result<Found, Refusal> {
        let asked = asked(self.view, action, resource)?;
        refused(self.view.subjects(who.kind, &asked, self.channel, self.context, self.page()))
    }

    fn resources(&self, who: &Entity<'_>, action: &Action<'_>, of: &Entity<'_>) -> Result<Found, Refusal> {
        let properties = &action.properties;
        let page = self.page();
        let found =
            self.view.resources(subject(who), action.name, properties, of.kind, self.channel, self.context, page);
        refused(found)
    }

    fn actions(&self, who: &Entity<'_>, resource: &Entity<'_>) -> Result<Found, Refusal> {
        if is_route(self.view, resource.kind) {
            return self.methods(who, resource);
        }
        let named = Some(question::name(resource));
        refused(self.view.actions(subject(who), named, self.channel, self.context, self.page()))
    }

    /// The methods that a route answers for somebody; few enough for one page, unless a smaller one is asked for.
    fn methods(&self, who: &Entity<'_>, route: &Entity<'_>) -> Result<Found, Refusal> {
        let mut found = Found::default();
        let limit = usize::try_from(self.page.limit).unwrap_or(usize::MAX);
        let after = self.page.after.as_deref().unwrap_or("");
        for name in METHODS.into_iter().filter(|name| *name > after) {
            if found.ids.len() == limit {
                found.next = found.ids.last().cloned();
                break;
            }
            let action = Action { name, properties: Vec::new() };
            let question = Question {
                subject: subject(who),
                asked: asked(self.view, &action, route)?,
                channel: self.channel,
                context: self.context,
                least_revision: None,
            };
            let decision = self.view.decide(&question).map_err(|failure| refuse(&failure))?;
            if decision.verdict() == Verdict::Permit {
                found.ids.push(name.to_owned());
            }
        }
        Ok(found)
    }
}

fn refused(found: Result<Found, Failure>) -> Result<Found, Refusal> {
    found.map_err(|failure| refuse(&failure))
}
