//! People: create and link again, replace, patch, delete.

use serde_json::{Map, Value};

use super::caller::{Caller, Wall};
use super::connection::UsernameChange;
use super::content::{Draft, Person, log_marks};
use super::error::ScimError;
use super::event::Known;
use super::image::Limits;
use super::life::{self, change_login, check_user_name, external_key, username_key};
use super::patch::{self, Operation};
use super::query::{Precondition, Wanted};
use super::respond;
use super::schema::{Definition, Resource, ResourceKind, Tolerance};
use super::state::{Claims, Ended, UserState};
use super::{ATTEMPTS, Failure, Scim, Written, busy, json_body, no_outcome, store_failure};
use crate::domain::{Number, Revision, Timestamp};
use crate::http::{Request, Response, StatusCode};
use crate::store::{Committed, Kind, Lookup, Record, Step};
use crate::token::LEEWAY;

/// Who writes, and by which rules.
#[derive(Clone, Debug)]
pub(super) struct Writer {
    /// What it may grant, and its name.
    pub limits: Limits,
    /// What becomes of a changed `userName`.
    pub username_change: UsernameChange,
    /// Whether a password that it sends is kept.
    pub password_sync: bool,
}

impl Writer {
    /// A connection.
    pub fn of(caller: &Caller) -> Self {
        let settings = caller.settings();
        let (username_change, password_sync) = (settings.username_change, settings.password_sync);
        Self { limits: caller.limits(), username_change, password_sync }
    }

    /// The name that is remembered.
    pub fn name(&self) -> &str {
        &self.limits.writer
    }
}

/// What operators say of a person beside the document; `None` leaves it as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Facts {
    pub locked: Option<bool>,
    /// `Some(None)`: not known any more.
    pub password_changed_at: Option<Option<Timestamp>>,
}

impl Facts {
    pub fn state(self, state: &mut UserState) {
        state.locked = self.locked.unwrap_or(state.locked);
        state.password_changed_at = self.password_changed_at.unwrap_or(state.password_changed_at);
    }
}

/// What a writer wants a person to be.
type Wish<'a> = &'a (dyn Fn() -> Result<Resource, ScimError> + Send + Sync);

/// A change of a draft, applied to what is stored at each attempt.
type Change<'a> = &'a (dyn Fn(&mut Draft<UserState>) -> Result<(), ScimError> + Send + Sync);

impl Scim {
    /// POST /Users
    pub(super) async fn post_user(&self, caller: &Caller, request: &Request) -> Result<Response, ScimError> {
        let wanted = Wanted::read(&request.query_pairs())?;
        let definition = self.schemas.definition(ResourceKind::User);
        let (body, tolerance) = (json_body(request)?, caller.tolerance());
        let resource = || {
            let resource = definition.parse(&body, &tolerance)?;
            definition.check_required(&resource)?;
            Ok(resource)
        };
        let written = self.create_user(caller.wall(), &Writer::of(caller), &resource, Facts::default()).await?;
        Ok(self.answered_new_user(caller, written, &wanted).with_body(StatusCode::CREATED))
    }

    /// PUT /Users/{id}
    pub(super) async fn put_user(&self, caller: &Caller, request: &Request) -> Result<Response, ScimError> {
        let wanted = Wanted::read(&request.query_pairs())?;
        let precondition = Precondition::read(request)?;
        let definition = self.schemas.definition(ResourceKind::User);
        let resource = definition.parse(&json_body(request)?, &caller.tolerance())?;
        definition.check_required(&resource)?;
        let writer = Writer::of(caller);
        let change = |draft: &mut Draft<UserState>| replace(definition, draft, resource.clone(), writer.name());
        let id = request.parameter("id");
        let written = self.change_user(caller.wall(), &writer, id, &precondition, &change).await?;
        Ok(self.answered_written_user(caller, written, &wanted).await?.with_body(StatusCode::OK))
    }

    /// PATCH /Users/{id}
    pub(super) async fn patch_user_request(&self, caller: &Caller, request: &Request) -> Result<Response, ScimError> {
        let wanted = Wanted::read(&request.query_pairs())?;
        let precondition = Precondition::read(request)?;
        let definition = self.schemas.definition(ResourceKind::User);
        let tolerance = caller.tolerance();
        let operations = patch::parse(&json_body(request)?, &tolerance)?;
        let writer = Writer::of(caller);
        let change = |draft: &mut Draft<UserState>| modify(definition, draft, &operations, &tolerance, writer.name());
        let id = request.parameter("id");
        let written = self.change_user(caller.wall(), &writer, id, &precondition, &change).await?;
        let answered = self.answered_written_user(caller, written, &wanted).await?;
        let without_body = caller.patches_without_body(ResourceKind::User) && wanted.attributes.is_none();
        Ok(if without_body { answered.without_body() } else { answered.with_body(StatusCode::OK) })
    }

    /// DELETE /Users/{id}: the record stays, deactivated, without memberships and without its e-mail address.
    pub(super) async fn delete_user(&self, caller: &Caller, request: &Request) -> Result<Response, ScimError> {
        let precondition = Precondition::read(request)?;
        for _ in 0..ATTEMPTS {
            match self.try_delete_user(caller, request.parameter("id"), &precondition).await {
                Ok(revision) => return Ok(respond::deleted(revision)),
                Err(Failure::Raced) => {}
                Err(Failure::Refused(error)) => return Err(error),
            }
        }
        Err(busy())
    }

    async fn try_delete_user(
        &self,
        caller: &Caller,
        id: &str,
        precondition: &Precondition,
    ) -> Result<Revision, Failure> {
        let number = self.living(caller.wall(), Kind::User, id).await?.number;
        let _turn = self.stripe(number).await;
        let record = self.living(caller.wall(), Kind::User, id).await?;
        precondition.check(record.version)?;
        let mut draft = Draft::<UserState>::read(&record)?;
        draft.state.active = false;
        draft.state.ended = ended_by(caller.wall());
        draft.state.password = None;
        let (content, _) = self.user_content(caller.wall(), &caller.limits(), id, &mut draft, true).await?;
        let mut steps = vec![Step::Replace { number, expected: Some(record.version), content }];
        steps.extend(self.leave_all_groups(number).await?);
        let known = Known { before: Some(record), person: Some(&draft) };
        Ok(self.commit_knowing(caller.wall(), steps, known).await?.revision)
    }

    /// Steps that take somebody out of every group.
    async fn leave_all_groups(&self, number: Number) -> Result<Vec<Step>, ScimError> {
        let groups = self.store.groups_of(number).await.map_err(store_failure)?;
        let leave =
            |group: Record| Step::Members { group: group.number, expected: None, add: vec![], remove: vec![number] };
        Ok(groups.into_iter().map(leave).collect())
    }

    /// Makes a person, or links to one that this writer had before. Each attempt asks for the resource anew: mostly there
    /// is one.
    pub(super) async fn create_user(
        &self,
        wall: &Wall,
        writer: &Writer,
        resource: Wish<'_>,
        facts: Facts,
    ) -> Result<Written<Person>, ScimError> {
        // Most people who are created are new, and the unique keys say where not; so nobody is looked for first, unless
        // there is a password, whose hash costs far more than the look.
        let mut look = false;
        for _ in 0..ATTEMPTS {
            let resource = resource()?;
            check_user_name(resource.text("userName").unwrap_or_default())?;
            look |= resource.password.is_some();
            let former = if look { self.former(wall, writer, &resource).await? } else { None };
            let attempt = match former {
                Some(record) => self.try_link(wall, writer, record, resource, facts).await,
                None => self.try_create(wall, writer, resource, facts).await,
            };
            match attempt {
                Ok(written) => return Ok(written),
                Err(Failure::Raced) => {}
                Err(Failure::Refused(error)) if !look && error.status == StatusCode::CONFLICT => look = true,
                Err(Failure::Refused(error)) => return Err(error),
            }
        }
        Err(busy())
    }

    /// The record that a create means: one that this writer knows by `externalId` and that is deleted or inactive, or
    /// one that it made under this `userName` and that is deleted.
    ///
    /// # Errors
    /// 409 where the name or the `externalId` belongs to anybody else.
    async fn former(&self, wall: &Wall, writer: &Writer, resource: &Resource) -> Result<Option<Record>, ScimError> {
        let key = username_key(resource.text("userName").unwrap_or_default());
        let external = resource.text("externalId").map(|id| external_key(writer.name(), id));
        let wanted = [Some(key.clone()), external.clone()].into_iter().flatten().map(Lookup::Holder).collect();
        let mut found = self.store.find(wanted).await.map_err(store_failure)?.into_iter();
        let by_name = found.next().flatten();
        if let (Some(key), Some(record)) = (external, found.next().flatten()) {
            let draft = Draft::<UserState>::read(&record)?;
            let ended = record.deleted || !draft.state.active;
            let own = record.kind == Kind::User && record.organization == wall.id;
            return if own && ended { Ok(Some(record)) } else { Err(life::taken(&key)) };
        }
        let Some(record) = by_name else { return Ok(None) };
        if record.kind == Kind::User && record.organization == wall.id && record.deleted {
            let draft = Draft::<UserState>::read(&record)?;
            if draft.state.creator == writer.name() {
                return Ok(Some(record));
            }
        }
        Err(life::taken(&key))
    }

    async fn try_create(
        &self,
        wall: &Wall,
        writer: &Writer,
        resource: Resource,
        facts: Facts,
    ) -> Result<Written<Person>, Failure> {
        let id = self.sources.identifier();
        let mut draft = Draft::<UserState>::default();
        draft.state.creator = writer.name().to_owned();
        draft.state.username = resource.text("userName").unwrap_or_default().to_owned();
        draft.state.active = active(resource.as_map()).unwrap_or(true);
        facts.state(&mut draft.state);
        draft.set(resource, writer.name());
        let noted = self.settle_password(writer, &mut draft).await?;
        let (content, marked) = self.user_content(wall, &writer.limits, &id, &mut draft, false).await?;
        let create = Step::Create { kind: Kind::User, id: id.clone(), organization: wall.id.clone(), content };
        let mut steps = vec![create];
        steps.extend(noted);
        let committed = self.commit_knowing(wall, steps, Known { before: None, person: Some(&draft) }).await?;
        log_marks(writer.name(), &id, &marked);
        written(&committed, id, draft)
    }

    /// The same id, the next version, and only the rights that this create gives. An administrative lock stays: it is
    /// not the identity provider's to lift.
    pub(super) async fn try_link(
        &self,
        wall: &Wall,
        writer: &Writer,
        record: Record,
        resource: Resource,
        facts: Facts,
    ) -> Result<Written<Person>, Failure> {
        let _turn = self.stripe(record.number).await;
        let mut draft = Draft::<UserState>::read(&record)?;
        let before = draft.text("userName").to_owned();
        draft.state.active = active(resource.as_map()).unwrap_or(true);
        draft.set(resource, writer.name());
        draft.state.claims = Claims::default();
        draft.state.password = None;
        draft.state.ended = None;
        facts.state(&mut draft.state);
        let noted = self.settle_password(writer, &mut draft).await?;
        draft.state.linked_again = Some(tokens_from(self.sources.clock.now(), record.modified));
        let after = draft.text("userName").to_owned();
        change_login(&mut draft.state, &before, &after, writer.username_change)?;
        let (content, marked) = self.user_content(wall, &writer.limits, &record.id, &mut draft, false).await?;
        let mut steps = vec![Step::Replace { number: record.number, expected: Some(record.version), content }];
        steps.extend(self.leave_all_groups(record.number).await?);
        steps.extend(noted);
        let id = record.id.clone();
        let known = Known { before: Some(record), person: Some(&draft) };
        let committed = self.commit_knowing(wall, steps, known).await?;
        log_marks(writer.name(), &id, &marked);
        written(&committed, id, draft)
    }

    /// Read, change, write; again where somebody else wrote in between and the client named no version.
    pub(super) async fn change_user(
        &self,
        wall: &Wall,
        writer: &Writer,
        id: &str,
        precondition: &Precondition,
        change: Change<'_>,
    ) -> Result<Written<Person>, ScimError> {
        let number = self.living(wall, Kind::User, id).await?.number;
        let _turn = self.stripe(number).await;
        for _ in 0..ATTEMPTS {
            match self.try_change_user(wall, writer, id, precondition, change).await {
                Ok(written) => return Ok(written),
                Err(Failure::Raced) => {}
                Err(Failure::Refused(error)) => return Err(error),
            }
        }
        Err(busy())
    }

    async fn try_change_user(
        &self,
        wall: &Wall,
        writer: &Writer,
        id: &str,
        precondition: &Precondition,
        change: Change<'_>,
    ) -> Result<Written<Person>, Failure> {
        let record = self.living(wall, Kind::User, id).await?;
        precondition.check(record.version)?;
        let mut draft = Draft::<UserState>::read(&record)?;
        let before = draft.text("userName").to_owned();
        let was_active = draft.state.active;
        change(&mut draft)?;
        note_end(&mut draft, was_active, wall, writer.name());
        let after = draft.text("userName").to_owned();
        check_user_name(&after)?;
        change_login(&mut draft.state, &before, &after, writer.username_change)?;
        let noted = self.settle_password(writer, &mut draft).await?;
        let (content, marked) = self.user_content(wall, &writer.limits, id, &mut draft, false).await?;
        if content.document == record.document && content.state == record.state {
            return Ok(Written { resource: Person::unchanged(record, draft), revision: self.revision().await? });
        }
        let mut steps = vec![Step::Replace { number: record.number, expected: Some(record.version), content }];
        steps.extend(noted);
        let known = Known { before: Some(record), person: Some(&draft) };
        let committed = self.commit_knowing(wall, steps, known).await?;
        log_marks(writer.name(), id, &marked);
        written(&committed, id.to_owned(), draft)
    }
}

/// The moment from which on tokens are those of whoever is linked to the record now: a little earlier than the link, since
/// an issuer's clock may be slow, but never within the access that ended before. Its end was the last write to the
/// record or stands before that; a second later, since tokens tell whole seconds.
fn tokens_from(now: Timestamp, last_written: Timestamp) -> Timestamp {
    let earlier = now.0.saturating_sub(LEEWAY.saturating_mul(1_000));
    Timestamp(earlier.max(last_written.0.saturating_add(1_000)).min(now.0))
}

/// The request that ends somebody's access now; `None` for operators' writes, which no log of a connection holds.
fn ended_by(wall: &Wall) -> Option<Ended> {
    let entry = wall.journal.entry()?;
    Some(Ended { connection: entry.connection.clone(), event: entry.id.clone() })
}

/// Whoever ends somebody's access is remembered, until somebody else says the same: an undo takes back the one and
/// leaves alone what the other decided.
fn note_end(draft: &mut Draft<UserState>, was_active: bool, wall: &Wall, writer: &str) {
    let by_another = draft.state.ended.as_ref().is_some_and(|ended| ended.connection != writer);
    if draft.state.active || (draft.says_inactive && by_another) {
        draft.state.ended = None;
    } else if was_active {
        draft.state.ended = ended_by(wall);
    }
}

/// The person after the first step of a transaction.
fn written(committed: &Committed, id: String, draft: Draft<UserState>) -> Result<Written<Person>, Failure> {
    let outcome = committed.outcomes.first().ok_or_else(no_outcome)?;
    Ok(Written { resource: Person::after(outcome, id, draft), revision: committed.revision })
}

/// PUT: what is not in the body is gone, except that an absent `active` leaves the person as active as before (a PUT
/// never brings anybody back by leaving something out), and an `externalId` that is not mentioned stays.
fn replace(
    definition: &Definition,
    draft: &mut Draft<UserState>,
    mut resource: Resource,
    writer: &str,
) -> Result<(), ScimError> {
    let before = draft.resource(writer);
    definition.check_immutable(&before, &resource)?;
    let kept_active = draft.document.get("active").cloned();
    let kept_external = if resource.mentions("externalId") { None } else { before.get("externalId").cloned() };
    if let Some(external) = kept_external {
        resource.map.insert("externalId".to_owned(), external);
    }
    match (active(resource.as_map()), kept_active) {
        (Some(active), _) => {
            draft.state.active = active;
            draft.says_inactive = !active;
        }
        (None, Some(kept)) => {
            resource.map.insert("active".to_owned(), kept);
        }
        (None, None) => {}
    }
    draft.set(resource, writer);
    Ok(())
}

/// PATCH: a removed `active` denies.
fn modify(
    definition: &Definition,
    draft: &mut Draft<UserState>,
    operations: &[Operation],
    tolerance: &Tolerance,
    writer: &str,
) -> Result<(), ScimError> {
    let had = draft.document.contains_key("active");
    let after = patch::apply(definition, draft.resource(writer), operations, tolerance)?.resource;
    // What the operations make of somebody whose `active` is this.
    let outcome = |draft: &mut Draft<UserState>, stated: bool| {
        let mut resource = draft.resource(writer);
        resource.map.insert("active".to_owned(), Value::Bool(stated));
        let outcome = patch::apply(definition, resource, operations, tolerance)?.resource;
        Ok::<_, ScimError>(active(outcome.as_map()).unwrap_or(false))
    };
    let was_active = draft.state.active;
    draft.state.active = match active(after.as_map()) {
        Some(active) => active,
        None if had => false,
        // Neither before nor after: whether it was removed shows only where there is something to remove.
        None => outcome(draft, was_active)?,
    };
    draft.says_inactive = !draft.state.active && (was_active || !outcome(draft, true)?);
    draft.set(after, writer);
    Ok(())
}

fn active(document: &Map<String, Value>) -> Option<bool> {
    document.get("active").and_then(Value::as_bool)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_clock_is_forgiven_as_far_as_no_earlier_access_reaches() {
        let from = |now, last_written| tokens_from(Timestamp(now), Timestamp(last_written)).0;
        assert_eq!(from(100_000, 0), 70_000, "long after the end: the whole leeway");
        assert_eq!(from(100_000, 69_500), 70_500);
        assert_eq!(from(100_000, 90_000), 91_000, "a token of the end's own second is from before");
        assert_eq!(from(100_000, 99_500), 100_000, "at once: none");
        assert_eq!(from(100_000, 200_000), 100_000, "a clock that was set back voids nothing that comes");
    }
}
