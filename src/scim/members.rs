//! Members: they live in the store's own table, so that a change of a few never reads the many.

mod shown;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::caller::{Caller, Wall};
use super::error::{ScimError, quote};
use super::filter::{Filter, matches_element};
use super::image::{Mark, MarkReason};
use super::patch::MemberOperation;
use super::schema::{Definition, ResourceKind};
use super::{Scim, store_failure};
use crate::domain::Number;
use crate::store::{Kind, Record};

pub(super) use shown::Streamed;

/// How many members are read from the store at once.
const PAGE: u64 = 1_000;
/// Ids that were passed over and that an event names.
const MOST_MARKED: usize = 100;
/// The most members that one request may name.
const MOST_MEMBERS: usize = 100_000;

/// Who joins and who leaves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct MemberPlan {
    /// Who joins.
    pub add: Vec<Number>,
    /// Who leaves.
    pub remove: Vec<Number>,
    /// The groups among those who join.
    pub nested: Vec<Number>,
    /// Whether the plan depends on who is a member now, so that it holds at this version of the group only.
    pub depends: bool,
}

impl MemberPlan {
    /// Nothing happens.
    pub fn is_empty(&self) -> bool {
        self.add.is_empty() && self.remove.is_empty()
    }
}

/// One member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Member {
    pub kind: Kind,
    pub id: String,
}

impl Member {
    /// As an element of `members`.
    fn element(&self) -> Value {
        json!({"value": self.id, "type": type_of(self.kind)})
    }
}

/// Operations being added up.
#[derive(Default)]
struct Sum {
    joining: BTreeMap<Number, Member>,
    leaving: BTreeSet<Number>,
    /// Everybody from before leaves.
    emptied: bool,
    /// Those from before, once read.
    present: Option<BTreeMap<Number, Member>>,
}

impl Scim {
    /// The members that a new group begins with.
    ///
    /// # Errors
    /// 400 `invalidValue` for an id that nobody in the organization has.
    pub(super) async fn first_members(&self, wall: &Wall, ids: &[String]) -> Result<Vec<Number>, ScimError> {
        Ok(self.members_by_id(wall, ids).await?.into_keys().collect())
    }

    /// Leaves ids that nobody has out of what is added, where the connection's settings say so, and answers marks of
    /// the first of them for the provisioning log.
    ///
    /// # Errors
    /// 503 and 500 from the store.
    pub(super) async fn passed_over(
        &self,
        caller: &Caller,
        mut operations: Vec<MemberOperation>,
    ) -> Result<(Vec<MemberOperation>, Vec<Mark>), ScimError> {
        let mut marks = Vec::new();
        if !caller.settings().pass_over_unknown_members {
            return Ok((operations, marks));
        }
        for operation in &mut operations {
            if let MemberOperation::Add(ids) = operation {
                let mut known = Vec::with_capacity(ids.len());
                for id in std::mem::take(ids) {
                    if self.member(Some(caller.wall()), &id).await?.is_some() {
                        known.push(id);
                    } else if marks.len() < MOST_MARKED {
                        marks.push(Mark::new("members", &id, MarkReason::NoSuchMember));
                    }
                }
                *ids = known;
            }
        }
        Ok((operations, marks))
    }

    /// What operations on members come to. `group` is `None` for one that is being made.
    ///
    /// # Errors
    /// 400 `invalidValue` for an id to add that nobody in the organization has; nothing is written then.
    pub(super) async fn plan_members(
        &self,
        wall: &Wall,
        group: &Record,
        operations: &[MemberOperation],
    ) -> Result<MemberPlan, ScimError> {
        let mut sum = Sum::default();
        for operation in operations {
            match operation {
                MemberOperation::Add(ids) => sum.join(self.members_by_id(wall, ids).await?),
                MemberOperation::Remove(ids) => sum.leave(self.known_members(wall, ids).await?),
                MemberOperation::RemoveAll => sum.empty(),
                MemberOperation::Replace(ids) => {
                    let members = self.members_by_id(wall, ids).await?;
                    sum.empty();
                    sum.join(members);
                }
                MemberOperation::RemoveWhere(filter) => {
                    self.read_present(group, &mut sum).await?;
                    sum.leave_where(filter, self.schemas.definition(ResourceKind::Group));
                }
            }
        }
        if sum.emptied {
            self.read_present(group, &mut sum).await?;
        }
        Ok(sum.plan())
    }

    async fn read_present(&self, group: &Record, sum: &mut Sum) -> Result<(), ScimError> {
        if sum.present.is_none() {
            sum.present = Some(self.members_of(group.number).await?.into_iter().collect());
        }
        Ok(())
    }

    /// All direct members, by number.
    pub(super) async fn members_of(&self, group: Number) -> Result<Vec<(Number, Member)>, ScimError> {
        let mut members = Vec::new();
        let mut after = None;
        loop {
            let page = self.store.members(group, after, PAGE).await.map_err(store_failure)?;
            let Some((last, ..)) = page.last() else { return Ok(members) };
            after = Some(*last);
            members.extend(page.into_iter().map(|(number, kind, id)| (number, Member { kind, id })));
        }
    }

    /// Everybody named must be there.
    async fn members_by_id(&self, wall: &Wall, ids: &[String]) -> Result<BTreeMap<Number, Member>, ScimError> {
        if ids.len() > MOST_MEMBERS {
            return Err(ScimError::too_large(format!("at most {MOST_MEMBERS} members at once; send them in parts")));
        }
        let mut members = BTreeMap::new();
        for id in ids {
            let Some(record) = self.member(Some(wall), id).await? else {
                let detail = format!("nobody has the id {}; create the member first", quote(id));
                return Err(ScimError::invalid_value(detail));
            };
            members.insert(record.number, Member { kind: record.kind, id: record.id });
        }
        Ok(members)
    }

    /// The numbers of those that are there: a stranger cannot be a member, so that it has left already.
    async fn known_members(&self, wall: &Wall, ids: &[String]) -> Result<Vec<Number>, ScimError> {
        let mut numbers = Vec::new();
        for id in ids {
            numbers.extend(self.member(Some(wall), id).await?.map(|record| record.number));
        }
        Ok(numbers)
    }

    /// A person or a group that can be a member, of one organization or, where that is `None`, of any.
    pub(super) async fn member(&self, wall: Option<&Wall>, id: &str) -> Result<Option<Record>, ScimError> {
        for kind in [Kind::User, Kind::Group] {
            let record = self.store.get(kind, id).await.map_err(store_failure)?;
            if let Some(record) =
                record.filter(|record| !record.deleted && wall.is_none_or(|wall| record.organization == wall.id))
            {
                return Ok(Some(record));
            }
        }
        Ok(None)
    }

    /// Refuses a group that would contain itself. To be asked while `nesting` is held.
    ///
    /// # Errors
    /// 400 `invalidValue`.
    pub(super) async fn check_nesting(&self, group: Number, nested: &[Number]) -> Result<(), ScimError> {
        let above = self.store.groups_above(vec![group]).await.map_err(store_failure)?;
        let ring = |joining: &Number| *joining == group || above.iter().any(|above| above.group == *joining);
        if nested.iter().any(ring) {
            return Err(ScimError::invalid_value(
                "a group cannot contain itself, directly or through another group; leave this member out",
            ));
        }
        Ok(())
    }

    /// Every group that this resource is in, directly or through others; the direct ones first.
    pub(super) async fn groups_above(&self, number: Number) -> Result<Vec<Record>, ScimError> {
        let above = self.store.groups_above(vec![number]).await.map_err(store_failure)?;
        self.store.records(above.iter().map(|above| above.group).collect()).await.map_err(store_failure)
    }
}

impl Sum {
    fn join(&mut self, members: BTreeMap<Number, Member>) {
        for number in members.keys() {
            self.leaving.remove(number);
        }
        self.joining.extend(members);
    }

    fn leave(&mut self, numbers: Vec<Number>) {
        for number in numbers {
            self.joining.remove(&number);
            self.leaving.insert(number);
        }
    }

    fn empty(&mut self) {
        self.emptied = true;
        self.joining.clear();
    }

    fn leave_where(&mut self, filter: &Filter, definition: &Definition) {
        let before = self.present.iter().flatten().filter(|_| !self.emptied);
        let fits = |member: &Member| matches_element(filter, definition, "members", &member.element());
        let numbers =
            before.chain(&self.joining).filter(|(_, member)| fits(member)).map(|(number, _)| *number).collect();
        self.leave(numbers);
    }

    fn plan(self) -> MemberPlan {
        let depends = self.present.is_some();
        let mut leaving = self.leaving;
        if self.emptied {
            leaving.extend(self.present.iter().flatten().map(|(number, _)| *number));
        }
        let is_group = |member: &Member| member.kind == Kind::Group;
        MemberPlan {
            remove: leaving.into_iter().filter(|number| !self.joining.contains_key(number)).collect(),
            nested: self.joining.iter().filter(|(_, member)| is_group(member)).map(|(number, _)| *number).collect(),
            add: self.joining.into_keys().collect(),
            depends,
        }
    }
}

/// The `type` of a member.
pub(super) const fn type_of(kind: Kind) -> &'static str {
    match kind {
        Kind::Group => "Group",
        Kind::Organization | Kind::Account | Kind::Connection | Kind::User => "User",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn people(numbers: &[Number]) -> BTreeMap<Number, Member> {
        numbers.iter().map(|number| (*number, Member { kind: Kind::User, id: format!("u{number}") })).collect()
    }

    #[test]
    fn operations_add_up_in_their_order() {
        let mut sum = Sum::default();
        sum.join(people(&[1, 2]));
        sum.leave(vec![2, 3]);
        sum.join(people(&[3]));
        let plan = sum.plan();
        assert_eq!((plan.add.as_slice(), plan.remove.as_slice(), plan.depends), (&[1, 3][..], &[2][..], false));
    }

    #[test]
    fn emptying_takes_those_from_before_and_keeps_those_who_stay() {
        let mut sum = Sum { present: Some(people(&[1, 2, 3])), ..Sum::default() };
        sum.join(people(&[9]));
        sum.empty();
        sum.join(people(&[2, 4]));
        let plan = sum.plan();
        assert_eq!((plan.add.as_slice(), plan.remove.as_slice(), plan.depends), (&[2, 4][..], &[1, 3][..], true));
    }

    #[test]
    fn joining_groups_are_told_apart() {
        let mut sum = Sum::default();
        sum.join(people(&[1]));
        sum.join(BTreeMap::from([(5, Member { kind: Kind::Group, id: "g".into() })]));
        assert_eq!(sum.plan().nested, [5]);
    }
}
