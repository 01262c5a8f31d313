//! What Cedar is asked with: a request, and the entities that it may look into. Judges nothing.
//!
//! There are two ways to the same. [`Bundle::prepare`] makes everything anew by Cedar's public constructors, with the
//! hierarchy closed by Cedar: for plain evaluations, explanations and whatever names entities of the folder's own.
//! [`Bundle::assemble`] puts together what was made before: an entity for as long as nothing of it changes
//! ([`Ready`]), and the time for as long as no policy of the action could tell it from now. Entities of the directory
//! stand below others that are never in a slice, so their hierarchy is closed as it is.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use cedar_policy::{Context, Entities, Entity, EntityUid, Request, RestrictedExpression};
use cedar_policy_core::ast::{self, EntityUIDEntry, Value};
use cedar_policy_core::entities::{Entities as Slots, NoEntitiesSchema, TCComputation};
use cedar_policy_core::evaluator::RestrictedEvaluator;
use cedar_policy_core::extensions::Extensions;

use super::action::Action;
use super::context::{self, At, ContextFault, Shape, datetime_text};
use super::entities::{self, AccountFacts, Asker, Facts, FactsFault, PrincipalFacts, ResourceFacts, account_uid};
use super::index::{Asked, Key};
use super::load::Bundle;
use crate::domain::{ContextValue, Timestamp};

/// The key of the context that holds the properties of the action.
const ACTION: &str = "action";

/// Cedar could not even be asked. Never an answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyFailure {
    /// The question's context has a wrong type.
    #[error(transparent)]
    Context(#[from] ContextFault),
    /// A property of the question has another type than the schema declares. A deny.
    #[error(transparent)]
    Property(ContextFault),
    /// The facts do not make entities or a request.
    #[error("the facts could not be put to the policies: {0}")]
    Facts(String),
}

impl From<FactsFault> for PolicyFailure {
    fn from(fault: FactsFault) -> Self {
        match fault {
            FactsFault::Property(fault) => Self::Property(fault),
            FactsFault::Ours(cause) => Self::Facts(cause),
        }
    }
}

/// An entity as Cedar takes it, with where the policies about it stand: made once by one bundle, for that bundle.
#[derive(Clone, Debug)]
pub struct Ready {
    uid: Arc<ast::EntityUID>,
    entity: Arc<ast::Entity>,
    keys: Box<[Key]>,
}

/// Entities of a question that were made before, of the same facts; what is missing is made.
#[derive(Clone, Copy, Debug, Default)]
pub struct Slice<'a> {
    /// The person who asks.
    pub principal: Option<&'a Ready>,
    /// The account or person acted on.
    pub resource: Option<&'a Ready>,
    /// The account that the context names.
    pub account: Option<&'a Ready>,
}

/// A moment, and what Cedar calls it.
#[derive(Debug)]
pub(super) struct Moment {
    at: Timestamp,
    value: Value,
}

/// A question put together.
pub(super) struct Assembled<'a> {
    request: ast::Request,
    entities: Slots,
    principal: Cow<'a, [Key]>,
    resource: Cow<'a, [Key]>,
}

impl Assembled<'_> {
    pub(super) fn asked(&self) -> Asked<'_> {
        let Self { request, entities, principal, resource } = self;
        Asked { request: request.clone(), entities, principal, resource }
    }
}

/// One side of a question.
struct Part<'a> {
    uid: Arc<ast::EntityUID>,
    entity: Option<Arc<ast::Entity>>,
    keys: Cow<'a, [Key]>,
}

impl<'a> From<&'a Ready> for Part<'a> {
    fn from(ready: &'a Ready) -> Self {
        let entity = Some(Arc::clone(&ready.entity));
        Self { uid: Arc::clone(&ready.uid), entity, keys: Cow::Borrowed(&ready.keys) }
    }
}

impl From<Ready> for Part<'_> {
    fn from(ready: Ready) -> Self {
        Self { uid: ready.uid, entity: Some(ready.entity), keys: Cow::Owned(ready.keys.into_vec()) }
    }
}

fn failure(cause: impl std::fmt::Display) -> PolicyFailure {
    PolicyFailure::Facts(cause.to_string())
}

impl Bundle {
    /// A person made ready for questions that they ask or that are about them.
    ///
    /// # Errors
    /// The facts make no entity.
    pub fn ready_person(&self, person: &PrincipalFacts<'_>) -> Result<Ready, PolicyFailure> {
        person.made().map(|entity| self.ready(entity)).map_err(PolicyFailure::Facts)
    }

    /// An account made ready.
    pub fn ready_account(&self, account: &AccountFacts<'_>) -> Ready {
        self.ready(account.made())
    }

    fn ready(&self, entity: ast::Entity) -> Ready {
        let keys = self.index.keys(entity.uid(), entity.ancestors()).into();
        Ready { uid: Arc::new(entity.uid().clone()), entity: Arc::new(entity), keys }
    }

    /// Everything that Cedar is asked with, from what was made before.
    pub(super) fn assemble<'a>(
        &self,
        action: &Action,
        facts: &Facts<'_>,
        sent: &[(String, ContextValue)],
        slice: Slice<'a>,
    ) -> Result<Assembled<'a>, PolicyFailure> {
        let own = matches!(facts.principal, Asker::Entity(_)) || matches!(facts.resource, ResourceFacts::Entity(_));
        if own || self.listed(action, sent).next().is_some() {
            return self.assemble_anew(action, facts, sent);
        }
        let context = self.quick_context(action, facts, sent)?;
        let principal: Part<'a> = match (&facts.principal, slice.principal) {
            (Asker::Person(_), Some(ready)) => ready.into(),
            (Asker::Person(person), None) => self.ready_person(person)?.into(),
            (Asker::Anonymous | Asker::Entity(_), _) => self.nothing_known(facts.principal_uid(&self.nouns)?),
        };
        let resource: Part<'a> = match (&facts.resource, slice.resource) {
            (ResourceFacts::User(person), _) if facts.principal.person().is_some_and(|asks| asks.id == person.id) => {
                Part { uid: Arc::clone(&principal.uid), entity: None, keys: principal.keys.clone() }
            }
            (ResourceFacts::Account(_) | ResourceFacts::User(_), Some(ready)) => ready.into(),
            (ResourceFacts::Account(account), None) => self.ready_account(account).into(),
            (ResourceFacts::User(person), None) => self.ready_person(person)?.into(),
            (ResourceFacts::Organization(_) | ResourceFacts::Dashboard | ResourceFacts::Entity(_), _) => {
                self.nothing_known(facts.resource_uid(&self.nouns)?)
            }
        };
        let is_resource = |named: &AccountFacts<'_>| matches!(&facts.resource, ResourceFacts::Account(account) if account.id == named.id);
        let named = match (facts.account.as_ref().filter(|named| !is_resource(named)), slice.account) {
            (None, _) => None,
            (Some(_), Some(ready)) => Some(Arc::clone(&ready.entity)),
            (Some(named), None) => Some(self.ready_account(named).entity),
        };
        let entities = [principal.entity, resource.entity, named, Some(Arc::clone(&action.ready))];
        let entities = Slots::new().add_entities(
            entities.into_iter().flatten(),
            None::<&NoEntitiesSchema>,
            TCComputation::AssumeAlreadyComputed,
            Extensions::all_available(),
        );
        let known = |euid: &Arc<ast::EntityUID>| EntityUIDEntry::Known { euid: Arc::clone(euid), loc: None };
        let (asks, on) = (known(&principal.uid), known(&resource.uid));
        let request = ast::Request::new_unchecked(asks, known(&action.ready_uid), on, Some(context));
        let entities = entities.map_err(failure)?;
        Ok(Assembled { request, entities, principal: principal.keys, resource: resource.keys })
    }

    fn assemble_anew<'a>(
        &self,
        action: &Action,
        facts: &Facts<'_>,
        sent: &[(String, ContextValue)],
    ) -> Result<Assembled<'a>, PolicyFailure> {
        let (request, entities) = self.prepare(action, facts, sent)?;
        let (Some(principal), Some(resource)) = (request.principal(), request.resource()) else {
            return Err(failure("a request without principal or resource"));
        };
        let keys = |uid: &EntityUid| {
            let above = entities.ancestors(uid).into_iter().flatten().map(AsRef::as_ref);
            Cow::Owned(self.index.keys(uid.as_ref(), above))
        };
        let (principal, resource) = (keys(principal), keys(resource));
        let inner: (&ast::Request, &Slots) = (request.as_ref(), entities.as_ref());
        Ok(Assembled { request: inner.0.clone(), entities: inner.1.clone(), principal, resource })
    }

    /// Of what no entity tells anything.
    fn nothing_known<'a>(&self, uid: EntityUid) -> Part<'a> {
        let uid: &ast::EntityUID = uid.as_ref();
        Part { uid: Arc::new(uid.clone()), entity: None, keys: Cow::Owned(self.index.keys(uid, [])) }
    }

    fn quick_context(
        &self,
        action: &Action,
        facts: &Facts<'_>,
        sent: &[(String, ContextValue)],
    ) -> Result<ast::Context, PolicyFailure> {
        let told = said(action, sent, evaluated)?.into_iter();
        let mut values: BTreeMap<_, _> = told.map(|(key, value)| (key.into(), value)).collect();
        if action.is_told("channel") {
            values.insert("channel".into(), facts.channel.into());
        }
        if action.is_told("now") {
            values.insert("now".into(), self.moment(action, facts)?);
        }
        if let Some(account) = facts.account.as_ref().filter(|_| action.is_told("account")) {
            let uid = account_uid(account.id);
            let uid: &ast::EntityUID = uid.as_ref();
            values.insert("account".into(), uid.clone().into());
        }
        Ok(ast::Context::Value(Arc::new(values)))
    }

    /// Now, or an earlier or later moment that no policy of the action can tell from it: reading a time costs more
    /// than evaluating what it is compared with.
    fn moment(&self, action: &Action, facts: &Facts<'_>) -> Result<Value, PolicyFailure> {
        let changed = facts.principal.person().and_then(|person| person.password_changed_at);
        if let Some(known) = &*self.moment.load()
            && action.time.is_same(changed, known.at, facts.now)
        {
            return Ok(known.value.clone());
        }
        let value = entities::moment(facts.now).map_err(PolicyFailure::Facts)?;
        self.moment.store(Some(Arc::new(Moment { at: facts.now, value: value.clone() })));
        Ok(value)
    }

    /// Everything that Cedar is asked with, made anew.
    pub(super) fn prepare(
        &self,
        action: &Action,
        facts: &Facts<'_>,
        sent: &[(String, ContextValue)],
    ) -> Result<(Request, Entities), PolicyFailure> {
        let context = plain_context(action, facts, sent)?;
        let (principal, resource) = (facts.principal_uid(&self.nouns)?, facts.resource_uid(&self.nouns)?);
        let request = Request::new(principal, action.uid.clone(), resource, context, None).map_err(failure)?;
        let mut slice = facts.entities(&self.nouns)?;
        for entity in self.listed(action, sent) {
            if !slice.iter().any(|other| other.uid() == entity.uid()) {
                slice.push(entity.clone());
            }
        }
        slice.push(action.entity.clone());
        Ok((request, Entities::from_entities(slice, None).map_err(failure)?))
    }

    /// Policies may look into the entities that the context names, where the folder lists them.
    fn listed<'a>(&'a self, action: &Action, sent: &[(String, ContextValue)]) -> impl Iterator<Item = &'a Entity> {
        let mut named = Vec::new();
        for (key, value) in sent {
            if let Some(field) = action.shapes.get(key).filter(|_| action.reads(key)) {
                context::entities_named(&field.shape, value, &mut named);
            }
        }
        named.into_iter().filter_map(|uid| self.nouns.listed(&uid))
    }
}

/// What the question says and the action reads.
fn said<T>(
    action: &Action,
    sent: &[(String, ContextValue)],
    make: impl Fn(&Shape, &ContextValue, At<'_>) -> Result<T, PolicyFailure>,
) -> Result<Vec<(String, T)>, PolicyFailure> {
    let reads = |key: &str| action.reads(key) && key != ACTION;
    let mut pairs = context::express_by(&action.shapes, sent, At::new("context"), reads, &make)?;
    if let Some(field) = action.shapes.get(ACTION).filter(|_| action.reads(ACTION)) {
        let said = sent.iter().find(|(key, _)| key == ACTION).map(|(_, value)| value);
        let nothing = ContextValue::Record(Vec::new());
        if let Some(value) = said.or_else(|| field.required.then_some(&nothing)) {
            let value = make(&field.shape, value, At::new("action.properties")).map_err(of_a_property)?;
            pairs.push((ACTION.to_owned(), value));
        }
    }
    Ok(pairs)
}

fn of_a_property(failure: PolicyFailure) -> PolicyFailure {
    match failure {
        PolicyFailure::Context(fault) => PolicyFailure::Property(fault),
        other @ (PolicyFailure::Property(_) | PolicyFailure::Facts(_)) => other,
    }
}

fn expressed(shape: &Shape, value: &ContextValue, at: At<'_>) -> Result<RestrictedExpression, PolicyFailure> {
    Ok(shape.express(value, at)?)
}

/// The value that [`expressed`] comes to, at once where it is a plain one.
fn evaluated(shape: &Shape, value: &ContextValue, at: At<'_>) -> Result<Value, PolicyFailure> {
    match (shape, value) {
        (Shape::Text, ContextValue::Text(text) | ContextValue::OtherNumber(text)) => Ok(text.as_str().into()),
        (Shape::Integer, ContextValue::Integer(number)) => Ok((*number).into()),
        (Shape::Boolean, ContextValue::Boolean(truth)) => Ok((*truth).into()),
        (shape, value) => {
            let expression = expressed(shape, value, at)?;
            let expression: &ast::RestrictedExpr = expression.as_ref();
            RestrictedEvaluator::new(Extensions::all_available()).interpret(expression.as_borrowed()).map_err(failure)
        }
    }
}

fn plain_context(
    action: &Action,
    facts: &Facts<'_>,
    sent: &[(String, ContextValue)],
) -> Result<Context, PolicyFailure> {
    let mut pairs = said(action, sent, expressed)?;
    let mut tell = |key: &str, value: RestrictedExpression| {
        if action.is_told(key) {
            pairs.push((key.to_owned(), value));
        }
    };
    tell("channel", RestrictedExpression::new_string(facts.channel.to_owned()));
    tell("now", RestrictedExpression::new_datetime(datetime_text(facts.now.0)));
    if let Some(account) = &facts.account {
        tell("account", RestrictedExpression::new_entity_uid(account_uid(account.id)));
    }
    Context::from_pairs(pairs).map_err(failure)
}
