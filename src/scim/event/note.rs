//! The event of a write, made from its steps before they are committed: attribute difference, effect on access, and
//! what an undo needs where somebody loses access.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::super::content::Draft;
use super::super::error::ScimError;
use super::super::schema::ResourceKind;
use super::super::state::{Claims, Ended, GroupState, UserState};
use super::super::{Scim, store_failure};
use super::difference::{self, AttributeChange, Shown};
use super::effect::{Access, Effect};
use super::{Entry, EventKind, Known};
use crate::domain::Number;
use crate::store::{CREATED, Content, Event, Kind, Record, Step};

/// Members that an event names; the rest is told by its number.
const MOST_NAMED: usize = 100;

/// What takes a deactivation back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::scim) struct Reversal {
    /// The attributes that changed.
    pub changes: Vec<AttributeChange>,
    /// Who had given which right.
    pub claims: Claims,
    /// The groups that were left, by id.
    pub groups: Vec<String>,
    /// Whether the person was active before; events of earlier releases do not say, and tell of active people only.
    #[serde(default)]
    pub active: Option<bool>,
    /// Whose deactivation it was before, where somebody inactive was deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Ended>,
}

/// What the log tells of a write.
#[derive(Serialize)]
struct Facts<'a> {
    resource: Named<'a>,
    changes: Vec<Shown<'a>>,
    effect: Effect<'a>,
}

/// The resource of an event.
#[derive(Serialize)]
struct Named<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    id: &'a str,
    name: Option<&'a Value>,
}

/// The event of a write, and whether it ends somebody's access.
pub(in crate::scim) struct Noted {
    pub event: Event,
    pub deactivates: bool,
}

/// A resource before and after a step.
struct Turn<'a> {
    kind: Kind,
    id: &'a str,
    before: Option<&'a Record>,
    after: After<'a>,
}

/// What becomes of it.
#[derive(Clone, Copy)]
enum After<'a> {
    /// It says this.
    Content(&'a Content),
    /// Only its members change.
    Same,
    /// It is gone.
    Gone,
}

/// A draft and whether it is deleted.
type Side<'a, State> = Option<(Cow<'a, Draft<State>>, bool)>;

impl Scim {
    /// The event of these steps.
    pub(in crate::scim) async fn note(
        &self,
        entry: &Entry,
        steps: &[Step],
        Known { before, person }: Known<'_>,
    ) -> Result<Option<Noted>, ScimError> {
        let records = self.records_of(steps, before).await?;
        let Some(turn) = steps.iter().find_map(|step| turn(step, &records)) else { return Ok(None) };
        match turn.kind {
            Kind::User => self.note_user(entry, &turn, steps, person, &records).map(Some),
            Kind::Group => Ok(Some(Noted { event: self.note_group(entry, &turn, steps).await?, deactivates: false })),
            Kind::Organization | Kind::Account | Kind::Connection => {
                Ok(Some(Noted { event: entry.event(entry.status, turn.id, &json!({})), deactivates: false }))
            }
        }
    }

    /// The resources as they are before the steps; one of them may be at hand.
    async fn records_of(&self, steps: &[Step], known: Option<Record>) -> Result<BTreeMap<Number, Record>, ScimError> {
        let number = |step: &Step| match step {
            Step::Replace { number, .. } | Step::Remove { number, .. } | Step::Members { group: number, .. } => {
                Some(*number).filter(|number| *number != CREATED)
            }
            Step::Create { .. } | Step::Event(_) | Step::ForgetEvents(_) | Step::Note { .. } => None,
        };
        let mut records: BTreeMap<Number, Record> = known.map(|record| (record.number, record)).into_iter().collect();
        let mut numbers: Vec<Number> =
            steps.iter().filter_map(number).filter(|number| !records.contains_key(number)).collect();
        numbers.sort_unstable();
        numbers.dedup();
        if !numbers.is_empty() {
            let read = self.store.records(numbers).await.map_err(store_failure)?;
            records.extend(read.into_iter().map(|record| (record.number, record)));
        }
        Ok(records)
    }

    fn note_user(
        &self,
        entry: &Entry,
        turn: &Turn<'_>,
        steps: &[Step],
        person: Option<&Draft<UserState>>,
        records: &BTreeMap<Number, Record>,
    ) -> Result<Noted, ScimError> {
        let (before, after) = sides::<UserState>(turn, person)?;
        let definition = self.schemas.definition(ResourceKind::User);
        let changes = difference::difference(definition, document(&before), document(&after));
        let (had, has) = (user_access(&before), user_access(&after));
        let mut effect = had.changed_to(&has);
        let lost: Vec<&Record> = left_groups(turn, steps, records);
        if !lost.is_empty() {
            let lost: Vec<Value> = lost.iter().take(MOST_NAMED).map(|group| json!(reference(group))).collect();
            effect.groups = Some(json!({"gained": [], "lost": lost}));
        }
        let facts = Facts {
            resource: Named { kind: "User", id: turn.id, name: named(&after, &before, "userName") },
            changes: difference::shown(definition, &changes),
            effect,
        };
        let mut event = entry.event(entry.status, turn.id, &facts);
        let deactivates = had.ends_with(&has);
        // Who deletes somebody inactive takes memberships, and what is taken can be given back.
        let deletes = matches!((&before, &after), (Some((_, false)), Some((_, true))));
        if let Some((draft, _)) = &before
            && (deactivates || deletes)
            && entry.kind == EventKind::Request
        {
            let UserState { claims, active, ended, .. } = &draft.state;
            let reversal = Reversal {
                changes: changes.iter().map(|change| change.to_change()).collect(),
                claims: claims.clone(),
                groups: lost.iter().map(|group| group.id.clone()).collect(),
                active: Some(*active),
                ended: ended.clone(),
            };
            event.before = serde_json::to_string(&reversal).ok();
        }
        Ok(Noted { event, deactivates })
    }

    async fn note_group(&self, entry: &Entry, turn: &Turn<'_>, steps: &[Step]) -> Result<Event, ScimError> {
        let (before, after) = sides::<GroupState>(turn, None)?;
        let definition = self.schemas.definition(ResourceKind::Group);
        let changes = difference::difference(definition, document(&before), document(&after));
        let (gave, gives) = (group_access(&before), group_access(&after));
        let mut effect = gave.changed_to(&gives);
        if let Some(members) = self.note_members(turn, steps).await? {
            effect.members = Some(members);
            effect.gives = if after.is_some() { gives.given() } else { gave.given() };
        }
        let facts = Facts {
            resource: Named { kind: "Group", id: turn.id, name: named(&after, &before, "displayName") },
            changes: difference::shown(definition, &changes),
            effect,
        };
        Ok(entry.event(entry.status, turn.id, &facts))
    }

    /// Who joins and who leaves, strangers and those who are there already aside.
    async fn note_members(&self, turn: &Turn<'_>, steps: &[Step]) -> Result<Option<Value>, ScimError> {
        let own = turn.before.map_or(CREATED, |record| record.number);
        if matches!(turn.after, After::Gone) {
            return self.note_all_members(own).await;
        }
        let step = steps.iter().find_map(|step| match step {
            Step::Members { group, add, remove, .. } if *group == own => Some((add, remove)),
            Step::Members { .. }
            | Step::Create { .. }
            | Step::Replace { .. }
            | Step::Remove { .. }
            | Step::Event(_)
            | Step::ForgetEvents(_)
            | Step::Note { .. } => None,
        });
        let (joined, left) = match step {
            Some((add, _)) if own == CREATED => (add.clone(), Vec::new()),
            Some((add, remove)) => {
                let there = self.store.members_among(own, add.clone()).await.map_err(store_failure)?;
                let (there, adding): (BTreeSet<Number>, BTreeSet<&Number>) =
                    (there.into_iter().collect(), add.iter().collect());
                let joined = add.iter().copied().filter(|number| !there.contains(number)).collect();
                let leaving = remove.iter().copied().filter(|number| !adding.contains(number)).collect();
                (joined, self.store.members_among(own, leaving).await.map_err(store_failure)?)
            }
            None => return Ok(None),
        };
        if joined.is_empty() && left.is_empty() {
            return Ok(None);
        }
        let (gained, lost) = (self.named_members(&joined).await?, self.named_members(&left).await?);
        Ok(Some(json!({"gained": gained, "lost": lost})))
    }

    /// Everybody leaves a group that goes; how many is told where they are few.
    async fn note_all_members(&self, group: Number) -> Result<Option<Value>, ScimError> {
        let some = self.store.members(group, None, MOST_NAMED as u64 + 1).await.map_err(store_failure)?;
        if some.is_empty() {
            return Ok(None);
        }
        let numbers: Vec<Number> = some.iter().map(|(number, ..)| *number).collect();
        let mut lost = self.named_members(&numbers).await?;
        if numbers.len() > MOST_NAMED
            && let Some(lost) = lost.as_object_mut()
        {
            lost.insert("total".to_owned(), Value::Null);
        }
        Ok(Some(json!({"gained": {"total": 0, "named": []}, "lost": lost})))
    }

    async fn named_members(&self, numbers: &[Number]) -> Result<Value, ScimError> {
        let first: Vec<Number> = numbers.iter().copied().take(MOST_NAMED).collect();
        let records =
            if first.is_empty() { Vec::new() } else { self.store.records(first).await.map_err(store_failure)? };
        let named: Vec<Value> = records.iter().map(|record| json!(reference(record))).collect();
        Ok(json!({"total": numbers.len(), "named": named}))
    }
}

fn user_access<'s>(side: &'s Side<'_, UserState>) -> Access<'s> {
    let access = side.as_ref().map(|(draft, deleted)| Access::of_user(&draft.document, &draft.state, *deleted));
    access.unwrap_or_default()
}

fn group_access<'s>(side: &'s Side<'_, GroupState>) -> Access<'s> {
    side.as_ref().map(|(draft, _)| Access::of_group(&draft.state)).unwrap_or_default()
}

fn document<'s, State: Clone>(side: &'s Side<'_, State>) -> Option<&'s Map<String, Value>> {
    side.as_ref().map(|(draft, _)| &draft.document)
}

/// The resource that a step is about. Members alone leave its document as it is.
fn turn<'a>(step: &'a Step, records: &'a BTreeMap<Number, Record>) -> Option<Turn<'a>> {
    let of = |number: &Number| records.get(number);
    match step {
        Step::Create { kind, id, content, .. } => {
            Some(Turn { kind: *kind, id, before: None, after: After::Content(content) })
        }
        Step::Replace { number, content, .. } => of(number).map(|record| Turn {
            kind: record.kind,
            id: &record.id,
            before: Some(record),
            after: After::Content(content),
        }),
        Step::Remove { number, .. } => of(number).map(|record| Turn {
            kind: record.kind,
            id: &record.id,
            before: Some(record),
            after: After::Gone,
        }),
        Step::Members { group, .. } => {
            of(group).map(|record| Turn { kind: record.kind, id: &record.id, before: Some(record), after: After::Same })
        }
        Step::Event(_) | Step::ForgetEvents(_) | Step::Note { .. } => None,
    }
}

/// Both sides.
fn sides<'a, State>(
    turn: &Turn<'_>,
    known: Option<&'a Draft<State>>,
) -> Result<(Side<'a, State>, Side<'a, State>), ScimError>
where
    State: super::super::content::External + serde::de::DeserializeOwned + Clone,
{
    let before =
        turn.before.map(|record| Draft::<State>::read(record).map(|draft| (Cow::Owned(draft), record.deleted)));
    let before = before.transpose()?;
    let after = match (turn.after, known) {
        (After::Content(content), Some(draft)) => Some((Cow::Borrowed(draft), content.deleted)),
        (After::Content(content), None) => {
            let record = content_record(turn, content);
            Some((Cow::Owned(Draft::<State>::read(&record)?), content.deleted))
        }
        (After::Same, _) => before.clone(),
        (After::Gone, _) => None,
    };
    Ok((before, after))
}

/// The content as a record, to be read like one.
fn content_record(turn: &Turn<'_>, content: &Content) -> Record {
    let at = crate::domain::Timestamp(0);
    Record {
        number: CREATED,
        kind: turn.kind,
        id: turn.id.to_owned(),
        organization: String::new(),
        version: 0,
        document: content.document.clone(),
        state: content.state.clone(),
        deleted: content.deleted,
        created: at,
        modified: at,
    }
}

/// The groups that this person leaves in the same transaction.
fn left_groups<'r>(turn: &Turn<'_>, steps: &[Step], records: &'r BTreeMap<Number, Record>) -> Vec<&'r Record> {
    let Some(person) = turn.before.map(|record| record.number) else { return Vec::new() };
    let left = |step: &Step| match step {
        Step::Members { group, remove, .. } if remove.contains(&person) => records.get(group),
        Step::Members { .. }
        | Step::Create { .. }
        | Step::Replace { .. }
        | Step::Remove { .. }
        | Step::Event(_)
        | Step::ForgetEvents(_)
        | Step::Note { .. } => None,
    };
    steps.iter().filter_map(left).collect()
}

fn named<'s, State: Clone>(
    after: &'s Side<'_, State>,
    before: &'s Side<'_, State>,
    attribute: &str,
) -> Option<&'s Value> {
    [after, before].into_iter().find_map(|side| document(side)?.get(attribute))
}

/// A resource as an event names it.
fn reference(record: &Record) -> BTreeMap<&'static str, String> {
    let document: Map<String, Value> = serde_json::from_str(&record.document).unwrap_or_default();
    let name = document.get("userName").or_else(|| document.get("displayName")).and_then(Value::as_str);
    BTreeMap::from([("id", record.id.clone()), ("name", name.unwrap_or_default().to_owned())])
}
