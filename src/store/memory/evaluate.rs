//! Queries of the reference: every predicate asked of every resource.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use super::state::{Entry, State};
use crate::domain::Number;
use crate::store::{Above, Comparison, Found, IndexEntry, Position, Predicate, Query, time_key};

pub(super) fn query(state: &State, query: &Query) -> Found {
    let found: Vec<&Entry> = state
        .entries()
        .filter(|entry| !entry.record.deleted && entry.record.kind == query.kind)
        .filter(|entry| query.organization.as_ref().is_none_or(|wanted| entry.record.organization == *wanted))
        .filter(|entry| query.predicate.as_ref().is_none_or(|wanted| holds(state, entry, wanted)))
        .collect();
    let total = query.page.after.is_none().then_some(found.len() as u64);
    let mut found: Vec<(Position, &Entry)> = found.into_iter().map(|entry| (position(query, entry), entry)).collect();
    let descending = query.sort.as_ref().is_some_and(|(_, descending)| *descending);
    found.sort_by(|(one, _), (other, _)| one.compare(other, descending));
    let after = |position: &Position| match &query.page.after {
        Some(after) => after.compare(position, descending) == Ordering::Less,
        None => true,
    };
    let mut rest = found
        .into_iter()
        .filter(|(position, _)| after(position))
        .skip(usize::try_from(query.page.offset).unwrap_or(usize::MAX));
    let count = usize::try_from(query.page.count).unwrap_or(usize::MAX);
    let page: Vec<(Position, &Entry)> = rest.by_ref().take(count).collect();
    Found {
        records: page.iter().map(|(_, entry)| entry.record.clone()).collect(),
        keys: page.into_iter().map(|(position, _)| position.key).collect(),
        total,
        more: rest.next().is_some(),
    }
}

fn position(query: &Query, entry: &Entry) -> Position {
    let key = query.sort.as_ref().and_then(|(path, _)| sort_key(entry, path));
    Position { key, number: entry.record.number }
}

/// Every group above each of these.
pub(super) fn groups_above(state: &State, members: &[Number]) -> Vec<Above> {
    let members: BTreeSet<Number> = members.iter().copied().collect();
    let mut found = Vec::new();
    for member in members {
        let direct: BTreeSet<Number> = state.groups_of(member).collect();
        let mut above = BTreeSet::new();
        let mut next: Vec<Number> = direct.iter().copied().collect();
        while let Some(group) = next.pop() {
            if above.insert(group) {
                next.extend(state.groups_of(group));
            }
        }
        above.remove(&member);
        let indirect = above.difference(&direct).map(|group| Above { member, group: *group, direct: false });
        found.extend(above.intersection(&direct).map(|group| Above { member, group: *group, direct: true }));
        found.extend(indirect);
    }
    found
}

/// A value that the resource has by itself.
fn own(entry: &Entry, path: &str) -> Option<String> {
    match path {
        "id" => Some(entry.record.id.clone()),
        "meta.created" => Some(time_key(entry.record.created)),
        "meta.lastmodified" => Some(time_key(entry.record.modified)),
        _ => None,
    }
}

fn sort_key(entry: &Entry, path: &str) -> Option<String> {
    own(entry, path).or_else(|| {
        let at_path = entry.index.iter().filter(|value| value.path == path);
        at_path.min_by_key(|value| (value.element, &value.value)).map(|value| value.value.clone())
    })
}

fn holds(state: &State, entry: &Entry, predicate: &Predicate) -> bool {
    let number = entry.record.number;
    match predicate {
        Predicate::All(parts) => parts.iter().all(|part| holds(state, entry, part)),
        Predicate::Any(parts) => parts.iter().any(|part| holds(state, entry, part)),
        Predicate::Not(inner) => !holds(state, entry, inner),
        Predicate::Compare { path, comparison, value } => match own(entry, path) {
            Some(own) => compare(&own, *comparison, value),
            None => compared(&entry.index.iter().collect::<Vec<_>>(), path, *comparison, value),
        },
        Predicate::Present { path } => {
            let own = ["id", "meta.created", "meta.lastmodified"];
            own.iter().any(|own| at_or_below(own, path)) || entry.index.iter().any(|one| at_or_below(&one.path, path))
        }
        Predicate::Element { path, inner } => {
            let elements = entry.index.iter().filter(|one| at_or_below(&one.path, path)).map(|one| one.element);
            elements.into_iter().any(|element| {
                let values: Vec<_> = entry.index.iter().filter(|one| one.element == element).collect();
                holds_within(&values, inner)
            })
        }
        Predicate::Member(member) => state.is_member(number, *member),
        Predicate::MemberOf(group) => state.is_member(*group, number),
        Predicate::HasMembers => state.members_of(number).next().is_some(),
        Predicate::HasGroups => state.groups_of(number).next().is_some(),
    }
}

/// The condition on the values of one element.
fn holds_within(values: &[&IndexEntry], predicate: &Predicate) -> bool {
    match predicate {
        Predicate::All(parts) => parts.iter().all(|part| holds_within(values, part)),
        Predicate::Any(parts) => parts.iter().any(|part| holds_within(values, part)),
        Predicate::Not(inner) => !holds_within(values, inner),
        Predicate::Compare { path, comparison, value } => compared(values, path, *comparison, value),
        Predicate::Present { path } => values.iter().any(|one| at_or_below(&one.path, path)),
        // The limits refuse these within an element.
        Predicate::Element { .. }
        | Predicate::Member(_)
        | Predicate::MemberOf(_)
        | Predicate::HasMembers
        | Predicate::HasGroups => false,
    }
}

fn compared(values: &[&IndexEntry], path: &str, comparison: Comparison, with: &str) -> bool {
    values.iter().any(|one| one.path == path && compare(&one.value, comparison, with))
}

fn at_or_below(path: &str, above: &str) -> bool {
    path.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', ':']))
}

fn compare(value: &str, comparison: Comparison, with: &str) -> bool {
    match comparison {
        Comparison::Equal => value == with,
        Comparison::Contains => value.contains(with),
        Comparison::StartsWith => value.starts_with(with),
        Comparison::EndsWith => value.ends_with(with),
        Comparison::Greater => value > with,
        Comparison::GreaterOrEqual => value >= with,
        Comparison::Less => value < with,
        Comparison::LessOrEqual => value <= with,
    }
}
