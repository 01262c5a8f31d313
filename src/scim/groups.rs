//! Groups: create, replace, patch, delete. Their members are in [`super::members`].

use super::caller::{Caller, Wall};
use super::content::{Draft, log_marks};
use super::error::ScimError;
use super::event::Known;
use super::image::{GROUP_EXTENSION, Limits, Mark};
use super::members::MemberPlan;
use super::patch::{self, MemberOperation};
use super::query::{Precondition, Wanted};
use super::respond;
use super::schema::{Resource, ResourceKind};
use super::state::GroupState;
use super::{ATTEMPTS, Failure, Scim, Written, busy, json_body, no_outcome};
use crate::domain::Revision;
use crate::http::{Request, Response, StatusCode};
use crate::store::{CREATED, Committed, Kind, Record, Step};

/// The longest `displayName` in characters.
const LONGEST_NAME: usize = 1_000;

/// A change of a group: of its document, and of its members.
pub(super) struct GroupChange<'a> {
    /// Applied to what is stored at each attempt.
    pub document: &'a (dyn Fn(&mut Draft<GroupState>) -> Result<(), ScimError> + Send + Sync),
    /// In order.
    pub members: &'a [MemberOperation],
    /// What was asked for and left out.
    pub passed_over: Vec<Mark>,
}

impl Scim {
    /// POST /Groups
    pub(super) async fn post_group(&self, caller: &Caller, request: &Request) -> Result<Response, ScimError> {
        let wanted = Wanted::read(&request.query_pairs())?;
        let definition = self.schemas.definition(ResourceKind::Group);
        let mut resource = definition.parse(&json_body(request)?, &caller.tolerance())?;
        definition.check_required(&resource)?;
        let members = resource.take_members().unwrap_or_default();
        let written = self.create_group(caller.wall(), &caller.limits(), resource, &members).await?;
        let answered = self.answered_group(caller, &written.resource, &wanted, Some(written.revision)).await?;
        Ok(answered.with_body(StatusCode::CREATED))
    }

    /// PUT /Groups/{id}. Members that the body does not mention stay: absence is not an empty list. So does our
    /// extension, since clients that PUT their groups (Okta's apps of the integration wizard) cannot send it, and every
    /// push would take away what an operator gave the group. Null or `{}` clears it.
    pub(super) async fn put_group(&self, caller: &Caller, request: &Request) -> Result<Response, ScimError> {
        let wanted = Wanted::read(&request.query_pairs())?;
        let precondition = Precondition::read(request)?;
        let definition = self.schemas.definition(ResourceKind::Group);
        let mut resource = definition.parse(&json_body(request)?, &caller.tolerance())?;
        definition.check_required(&resource)?;
        let members: Vec<MemberOperation> = resource.take_members().map(MemberOperation::Replace).into_iter().collect();
        let limits = caller.limits();
        let document = |draft: &mut Draft<GroupState>| {
            let mut resource = resource.clone();
            let before = draft.resource(&limits.writer);
            definition.check_immutable(&before, &resource)?;
            if let (false, Some(external)) = (resource.mentions("externalId"), before.get("externalId")) {
                resource.map.insert("externalId".to_owned(), external.clone());
            }
            if let (false, Some(own)) =
                (resource.mentions_extension(GROUP_EXTENSION), before.as_map().get(GROUP_EXTENSION))
            {
                resource.map.insert(GROUP_EXTENSION.to_owned(), own.clone());
            }
            draft.set(resource, &limits.writer);
            Ok(())
        };
        let change = GroupChange { document: &document, members: &members, passed_over: Vec::new() };
        let id = request.parameter("id");
        let written = self.change_group(caller.wall(), &limits, id, &precondition, &change).await?;
        let answered = self.answered_group(caller, &written.resource, &wanted, Some(written.revision)).await?;
        Ok(answered.with_body(StatusCode::OK))
    }

    /// PATCH /Groups/{id}. Never reads all members unless the answer has to hold them.
    pub(super) async fn patch_group(&self, caller: &Caller, request: &Request) -> Result<Response, ScimError> {
        let mut wanted = Wanted::read(&request.query_pairs())?;
        let precondition = Precondition::read(request)?;
        let definition = self.schemas.definition(ResourceKind::Group);
        let tolerance = caller.tolerance();
        let operations = patch::parse(&json_body(request)?, &tolerance)?;
        let (operations, members) = patch::split_members(&operations, definition)?;
        let (members, passed_over) = self.passed_over(caller, members).await?;
        let limits = caller.limits();
        let document = |draft: &mut Draft<GroupState>| {
            if !operations.is_empty() {
                let before = draft.resource(&limits.writer);
                draft.set(patch::apply(definition, before, &operations, &tolerance)?.resource, &limits.writer);
            }
            Ok(())
        };
        let change = GroupChange { document: &document, members: &members, passed_over };
        let id = request.parameter("id");
        let written = self.change_group(caller.wall(), &limits, id, &precondition, &change).await?;
        let without_body = caller.patches_without_body(ResourceKind::Group) && wanted.attributes.is_none();
        if without_body {
            wanted.excluded = Some(vec!["members".to_owned()]);
        }
        let answered = self.answered_group(caller, &written.resource, &wanted, Some(written.revision)).await?;
        Ok(if without_body { answered.without_body() } else { answered.with_body(StatusCode::OK) })
    }

    /// DELETE /Groups/{id}: gone for good; its members lose what it gave.
    pub(super) async fn delete_group(&self, caller: &Caller, request: &Request) -> Result<Response, ScimError> {
        let precondition = Precondition::read(request)?;
        for _ in 0..ATTEMPTS {
            match self.try_delete_group(caller.wall(), request.parameter("id"), &precondition).await {
                Ok(revision) => return Ok(respond::deleted(revision)),
                Err(Failure::Raced) => {}
                Err(Failure::Refused(error)) => return Err(error),
            }
        }
        Err(busy())
    }

    async fn try_delete_group(&self, wall: &Wall, id: &str, precondition: &Precondition) -> Result<Revision, Failure> {
        let record = self.living(wall, Kind::Group, id).await?;
        precondition.check(record.version)?;
        let expected = precondition.is_set().then_some(record.version);
        let steps = vec![Step::Remove { number: record.number, expected }];
        Ok(self.commit_knowing(wall, steps, Known { before: Some(record), person: None }).await?.revision)
    }

    /// Makes a group with its members in one transaction.
    pub(super) async fn create_group(
        &self,
        wall: &Wall,
        limits: &Limits,
        resource: Resource,
        members: &[String],
    ) -> Result<Written<Record>, ScimError> {
        let id = self.sources.identifier();
        let mut draft = Draft::<GroupState>::default();
        draft.state.creator.clone_from(&limits.writer);
        draft.set(resource, &limits.writer);
        check_name(&draft)?;
        let members = self.first_members(wall, members).await?;
        let (content, marked) = self.group_content(wall, limits, &id, &mut draft).await?;
        self.check_joining(limits, None, &draft.state.claims, &members).await?;
        let (document, state) = (content.document.clone(), content.state.clone());
        let mut steps =
            vec![Step::Create { kind: Kind::Group, id: id.clone(), organization: wall.id.clone(), content }];
        if !members.is_empty() {
            // Nobody knows the new group yet, so that its members cannot hold it: no ring to look for.
            steps.push(Step::Members { group: CREATED, expected: None, add: members, remove: Vec::new() });
        }
        let made = match self.commit(wall, steps).await {
            Ok(committed) => {
                log_marks(&limits.writer, &id, &marked);
                last_written(&committed, &id, wall, document, state)
            }
            Err(failure) => Err(failure),
        };
        made.map_err(|failure| match failure {
            Failure::Raced => ScimError::invalid_value("a member has just been deleted; create it first"),
            Failure::Refused(error) => error,
        })
    }

    /// Read, change, write; again where somebody else wrote in between and the client named no version.
    pub(super) async fn change_group(
        &self,
        wall: &Wall,
        limits: &Limits,
        id: &str,
        precondition: &Precondition,
        change: &GroupChange<'_>,
    ) -> Result<Written<Record>, ScimError> {
        let number = self.living(wall, Kind::Group, id).await?.number;
        let _turn = self.stripe(number).await;
        for _ in 0..ATTEMPTS {
            match self.try_change_group(wall, limits, id, precondition, change).await {
                Ok(written) => return Ok(written),
                Err(Failure::Raced) => {}
                Err(Failure::Refused(error)) => return Err(error),
            }
        }
        Err(busy())
    }

    async fn try_change_group(
        &self,
        wall: &Wall,
        limits: &Limits,
        id: &str,
        precondition: &Precondition,
        change: &GroupChange<'_>,
    ) -> Result<Written<Record>, Failure> {
        let record = self.living(wall, Kind::Group, id).await?;
        precondition.check(record.version)?;
        let mut draft = Draft::<GroupState>::read(&record)?;
        (change.document)(&mut draft)?;
        check_name(&draft)?;
        let plan = self.plan_members(wall, &record, change.members).await?;
        let _alone = if plan.nested.is_empty() { None } else { Some(self.nesting.lock().await) };
        self.check_nesting_of(&record, &plan).await?;
        let (content, mut marked) = self.group_content(wall, limits, id, &mut draft).await?;
        marked.extend(change.passed_over.iter().cloned());
        wall.journal.mark(&marked);
        self.check_joining(limits, Some(record.number), &draft.state.claims, &plan.add).await?;
        let (document, state) = (content.document.clone(), content.state.clone());
        let mut steps = Vec::new();
        if document != record.document || state != record.state {
            steps.push(Step::Replace { number: record.number, expected: Some(record.version), content });
        }
        if !plan.is_empty() {
            // After a replace the version is the next one, and the replace has checked it.
            let fixed = steps.is_empty() && (plan.depends || precondition.is_set());
            let expected = fixed.then_some(record.version);
            steps.push(Step::Members { group: record.number, expected, add: plan.add, remove: plan.remove });
        }
        if steps.is_empty() {
            return Ok(Written { resource: record, revision: self.revision().await? });
        }
        let committed = self.commit_knowing(wall, steps, Known { before: Some(record), person: None }).await?;
        log_marks(&limits.writer, id, &marked);
        last_written(&committed, id, wall, document, state)
    }

    async fn check_nesting_of(&self, group: &Record, plan: &MemberPlan) -> Result<(), ScimError> {
        if plan.nested.is_empty() { Ok(()) } else { self.check_nesting(group.number, &plan.nested).await }
    }
}

/// The record after the last step of a transaction on one group.
fn last_written(
    committed: &Committed,
    id: &str,
    wall: &Wall,
    document: String,
    state: String,
) -> Result<Written<Record>, Failure> {
    let outcome = committed.outcomes.last().ok_or_else(no_outcome)?;
    let resource = Record {
        number: outcome.number,
        kind: Kind::Group,
        id: id.to_owned(),
        organization: wall.id.clone(),
        version: outcome.version,
        document,
        state,
        deleted: false,
        created: outcome.created,
        modified: outcome.modified,
    };
    Ok(Written { resource, revision: committed.revision })
}

fn check_name(draft: &Draft<GroupState>) -> Result<(), ScimError> {
    let name = draft.text("displayName");
    if name.trim().is_empty() || name.chars().count() > LONGEST_NAME {
        return Err(ScimError::invalid_value(format!("displayName needs 1 to {LONGEST_NAME} characters")));
    }
    Ok(())
}
