//! From query to SQL: every value a bound parameter, every text compared by code points.
//!
//! A search has up to three statements: the **candidates** (a cheap superset by the value index, where the predicate
//! has one), the **count** and the **numbers** of one page. Documents are read by number afterwards, so that no
//! sort or count carries them.

use rusqlite::types::Value;

use super::head::signed;
use crate::store::{Comparison, Kind, Position, Predicate, Query};

/// SQL with its parameters, in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Statement {
    pub(super) text: String,
    pub(super) values: Vec<Value>,
}

impl Statement {
    fn push(&mut self, text: &str) -> &mut Self {
        self.text.push_str(text);
        self
    }

    fn bind(&mut self, value: impl Into<Value>) -> &mut Self {
        self.values.push(value.into());
        self.push("?")
    }

    fn append(&mut self, other: Self) -> &mut Self {
        self.values.extend(other.values);
        self.push(&other.text)
    }
}

/// How many fulfil the query. All that there are of a kind is kept, so that no first page counts them.
pub(super) fn count(query: &Query, candidates: Option<&Candidates>) -> Statement {
    let mut sql = Statement::default();
    if query.predicate.is_none() {
        sql.push("SELECT (SELECT coalesce(sum(t.total), 0) FROM tally t WHERE t.kind = ");
        sql.bind(query.kind.name().to_owned());
        if let Some(organization) = &query.organization {
            sql.push(" AND t.organization = ").bind(organization.clone());
        }
        sql.push(") + (SELECT count(*) FROM resource r WHERE ");
        conditions(&mut sql, query, None);
        sql.push(" AND r.number >= ").push(UNSETTLED).push(")");
        return sql;
    }
    sql.push("SELECT count(*) FROM resource r WHERE ");
    conditions(&mut sql, query, candidates);
    sql
}

/// The numbers and sort keys of one page, in order, and one more where there are more.
pub(super) fn numbers(query: &Query, candidates: Option<&Candidates>) -> Statement {
    let mut sql = Statement::default();
    match &query.sort {
        None => {
            sql.push("SELECT r.number, NULL FROM resource r WHERE ");
            conditions(&mut sql, query, candidates);
            if let Some(after) = &query.page.after {
                sql.push(" AND r.number > ").bind(after.number);
            }
            sql.push(" ORDER BY r.number");
        }
        Some((path, descending)) => {
            sql.push("SELECT number, key FROM (SELECT r.number AS number, ");
            sort_key(&mut sql, path);
            sql.push(" AS key FROM resource r WHERE ");
            conditions(&mut sql, query, candidates);
            sql.push(")");
            if let Some(after) = &query.page.after {
                sql.push(" WHERE ");
                seek(&mut sql, after, *descending);
            }
            sql.push(" ORDER BY key").push(if *descending { " DESC NULLS FIRST" } else { " ASC NULLS LAST" });
            sql.push(", number");
        }
    }
    sql.push(" LIMIT ").bind(signed(query.page.count.saturating_add(1)));
    sql.push(" OFFSET ").bind(signed(query.page.offset));
    sql
}

/// What comes after a position in the order of [`numbers`].
fn seek(sql: &mut Statement, after: &Position, descending: bool) {
    match (&after.key, descending) {
        (Some(key), false) => {
            sql.push("(key > ").bind(key.clone()).push(" OR key IS NULL OR (key = ").bind(key.clone());
            sql.push(" AND number > ").bind(after.number).push("))");
        }
        (Some(key), true) => {
            sql.push("(key < ").bind(key.clone()).push(" OR (key = ").bind(key.clone());
            sql.push(" AND number > ").bind(after.number).push("))");
        }
        (None, false) => {
            sql.push("(key IS NULL AND number > ").bind(after.number).push(")");
        }
        (None, true) => {
            sql.push("(key IS NOT NULL OR number > ").bind(after.number).push(")");
        }
    }
}

fn conditions(sql: &mut Statement, query: &Query, candidates: Option<&Candidates>) {
    // A unary plus keeps the engine from listing the whole organization where candidates are few, and from sorting where
    // all users of all organizations are walked.
    let walked = query.kind == Kind::User && query.organization.is_none();
    let plain = if candidates.is_some() || walked { "+" } else { "" };
    sql.push("r.deleted = 0 AND ").push(plain).push("r.kind = ").bind(query.kind.name().to_owned());
    if let Some(organization) = &query.organization {
        sql.push(" AND ").push(plain).push("r.organization = ").bind(organization.clone());
    } else if !walked {
        // The index of the other kinds says so as well.
        sql.push(" AND ").push(plain).push("r.kind <> 'user'");
    }
    if let Some(candidates) = candidates {
        sql.push(" AND r.number IN (").append(candidates.numbers.clone()).push(")");
    }
    if let Some(wanted) = &query.predicate {
        sql.push(" AND ");
        predicate(sql, wanted, false);
    }
}

fn sort_key(sql: &mut Statement, path: &str) {
    match own(path) {
        Some(Own::Id) => sql.push("r.id"),
        Some(Own::Created) => sql.push(TIME_OF_CREATION),
        Some(Own::Modified) => sql.push(TIME_OF_CHANGE),
        None => {
            sql.push("(SELECT a.value FROM attribute a WHERE a.number = r.number AND a.path = ");
            path_number(sql, path);
            sql.push(" ORDER BY a.element, a.value LIMIT 1)")
        }
    };
}

/// A path that is a column of the resource itself.
enum Own {
    Id,
    Created,
    Modified,
}

fn own(path: &str) -> Option<Own> {
    match path {
        "id" => Some(Own::Id),
        "meta.created" => Some(Own::Created),
        "meta.lastmodified" => Some(Own::Modified),
        _ => None,
    }
}

/// A condition on `r`, or, within an element, on the element of `e`.
fn predicate(sql: &mut Statement, wanted: &Predicate, in_element: bool) {
    match wanted {
        Predicate::All(parts) => join(sql, parts, " AND ", "1", in_element),
        Predicate::Any(parts) => join(sql, parts, " OR ", "0", in_element),
        Predicate::Not(inner) => {
            sql.push("NOT (");
            predicate(sql, inner, in_element);
            sql.push(")");
        }
        Predicate::Compare { path, comparison, value } => match own(path).filter(|_| !in_element) {
            Some(Own::Id) => compare(sql, "r.id", *comparison, value),
            Some(Own::Created) => compare(sql, TIME_OF_CREATION, *comparison, value),
            Some(Own::Modified) => compare(sql, TIME_OF_CHANGE, *comparison, value),
            None => {
                some_attribute(sql, in_element);
                sql.push(" AND a.path = ");
                path_number(sql, path);
                sql.push(" AND ");
                // The unary plus keeps the engine from walking a range of values once for each resource.
                compare(sql, "+a.value", *comparison, value);
                sql.push(")");
            }
        },
        Predicate::Present { path } => {
            if !in_element && ["id", "meta", "meta.created", "meta.lastmodified"].contains(&path.as_str()) {
                sql.push("1");
                return;
            }
            some_attribute(sql, in_element);
            sql.push(" AND a.path IN ");
            paths_from(sql, path);
            sql.push(")");
        }
        Predicate::Element { path, inner } => {
            sql.push("EXISTS (SELECT 1 FROM attribute e WHERE e.number = r.number AND e.path IN ");
            paths_from(sql, path);
            sql.push(" AND (");
            predicate(sql, inner, true);
            sql.push("))");
        }
        Predicate::Member(member) => {
            sql.push("EXISTS (SELECT 1 FROM membership m WHERE m.group_number = r.number AND m.member_number = ");
            sql.bind(*member).push(")");
        }
        Predicate::MemberOf(group) => {
            sql.push("EXISTS (SELECT 1 FROM membership m WHERE m.member_number = r.number AND m.group_number = ");
            sql.bind(*group).push(")");
        }
        Predicate::HasMembers => {
            sql.push("EXISTS (SELECT 1 FROM membership m WHERE m.group_number = r.number)");
        }
        Predicate::HasGroups => {
            sql.push("EXISTS (SELECT 1 FROM membership m WHERE m.member_number = r.number)");
        }
    }
}

fn join(sql: &mut Statement, parts: &[Predicate], between: &str, empty: &str, in_element: bool) {
    if parts.is_empty() {
        sql.push(empty);
        return;
    }
    sql.push("(");
    for (place, part) in parts.iter().enumerate() {
        if place > 0 {
            sql.push(between);
        }
        predicate(sql, part, in_element);
    }
    sql.push(")");
}

/// Opens a look for one searchable value of the resource; the caller adds conditions and the closing bracket.
fn some_attribute(sql: &mut Statement, in_element: bool) {
    sql.push("EXISTS (SELECT 1 FROM attribute a WHERE a.number = r.number");
    if in_element {
        sql.push(" AND a.element = e.element");
    }
}

fn path_number(sql: &mut Statement, path: &str) {
    sql.push("(SELECT p.number FROM path p WHERE p.name = ").bind(path.to_owned()).push(")");
}

/// The path itself and those below it. `/` and `;` are the next characters after `.` and `:`.
fn paths_from(sql: &mut Statement, path: &str) {
    sql.push("(SELECT p.number FROM path p WHERE p.name = ").bind(path.to_owned());
    for (first, end) in [('.', '/'), (':', ';')] {
        sql.push(" OR (p.name >= ").bind(format!("{path}{first}"));
        sql.push(" AND p.name < ").bind(format!("{path}{end}")).push(")");
    }
    sql.push(")");
}

/// The first resource of the tail: no table that only speeds up finding holds it.
const UNSETTLED: &str = "(SELECT h.settled FROM head h WHERE h.one = 1)";

// As `time_key` writes them.
const TIME_OF_CREATION: &str = "printf('%020d', r.created + 10000000000000000)";
const TIME_OF_CHANGE: &str = "printf('%020d', r.modified + 10000000000000000)";

fn compare(sql: &mut Statement, what: &str, comparison: Comparison, value: &str) {
    let operator = match comparison {
        Comparison::Equal => " = ",
        Comparison::Greater => " > ",
        Comparison::GreaterOrEqual => " >= ",
        Comparison::Less => " < ",
        Comparison::LessOrEqual => " <= ",
        Comparison::Contains => {
            sql.push("instr(").push(what).push(", ").bind(value.to_owned()).push(") > 0");
            return;
        }
        Comparison::StartsWith => {
            sql.push("(").push(what).push(" >= ").bind(value.to_owned());
            if let Some(end) = after_prefix(value) {
                sql.push(" AND ").push(what).push(" < ").bind(end);
            }
            sql.push(")");
            return;
        }
        Comparison::EndsWith => {
            // By bytes, which for UTF-8 is the same as by characters. A start of zero would be the beginning.
            if value.is_empty() {
                sql.push("1");
                return;
            }
            let start = i64::try_from(value.len()).map_or(i64::MIN, |length| -length);
            sql.push("substr(CAST(").push(what).push(" AS BLOB), ").bind(start);
            sql.push(") = ").bind(value.as_bytes().to_vec());
            return;
        }
    };
    sql.push(what).push(operator).bind(value.to_owned());
}

/// The least text that is greater than all texts with this prefix; `None` where there is none.
fn after_prefix(prefix: &str) -> Option<String> {
    let mut text = prefix.to_owned();
    while let Some(last) = text.pop() {
        // The range of characters knows the gap of the surrogates.
        if let Some(next) = (last..=char::MAX).nth(1) {
            text.push(next);
            return Some(text);
        }
    }
    None
}

/// A superset of what a predicate finds, by index.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Candidates {
    /// Selects their numbers.
    pub(super) numbers: Statement,
    /// By equality, not by a range.
    exact: bool,
}

impl Candidates {
    /// How many there are, counted no further than the limit.
    pub(super) fn count_to(&self, limit: u32) -> Statement {
        let mut sql = Statement::default();
        sql.push("SELECT count(*) FROM (").append(self.numbers.clone()).push(" LIMIT ").bind(limit).push(")");
        sql
    }
}

/// The candidates of a predicate, where one of its conditions can be looked up.
pub(super) fn candidates(kind: Kind, wanted: &Predicate) -> Option<Candidates> {
    match wanted {
        Predicate::All(parts) => {
            let mut found = parts.iter().filter_map(|part| candidates(kind, part));
            let first = found.next()?;
            if first.exact { Some(first) } else { Some(found.find(|other| other.exact).unwrap_or(first)) }
        }
        Predicate::Any(parts) => {
            let found = parts.iter().map(|part| candidates(kind, part)).collect::<Option<Vec<_>>>()?;
            let exact = found.iter().all(|part| part.exact);
            let mut numbers = Statement::default();
            for part in found {
                if !numbers.text.is_empty() {
                    numbers.push(" UNION ALL ");
                }
                numbers.append(part.numbers);
            }
            if numbers.text.is_empty() { None } else { Some(Candidates { numbers, exact }) }
        }
        // A superset still: the value is somewhere, in this element or another.
        Predicate::Element { inner, .. } => candidates(kind, inner),
        Predicate::Compare { path, comparison, value } => looked_up(kind, path, *comparison, value),
        Predicate::Member(member) => {
            let mut numbers = Statement::default();
            numbers.push("SELECT m.group_number FROM membership m WHERE m.member_number = ").bind(*member);
            Some(Candidates { numbers, exact: true })
        }
        Predicate::MemberOf(group) => {
            let mut numbers = Statement::default();
            numbers.push("SELECT m.member_number FROM membership m WHERE m.group_number = ").bind(*group);
            Some(Candidates { numbers, exact: true })
        }
        Predicate::Not(_) | Predicate::Present { .. } | Predicate::HasMembers | Predicate::HasGroups => None,
    }
}

fn looked_up(kind: Kind, path: &str, comparison: Comparison, value: &str) -> Option<Candidates> {
    let exact = comparison == Comparison::Equal;
    if !exact && (comparison != Comparison::StartsWith || value.is_empty()) {
        return None;
    }
    let mut numbers = Statement::default();
    match own(path) {
        Some(Own::Id) => {
            numbers.push("SELECT i.number FROM resource i WHERE i.kind = ").bind(kind.name().to_owned());
            numbers.push(" AND ");
            compare(&mut numbers, "i.id", comparison, value);
        }
        Some(Own::Created | Own::Modified) => return None,
        None => {
            numbers.push("SELECT l.number FROM lookup l WHERE l.path = ");
            path_number(&mut numbers, path);
            numbers.push(" AND ");
            compare(&mut numbers, "l.value", comparison, value);
            numbers.push(" UNION ALL SELECT t.number FROM attribute t WHERE t.number >= ").push(UNSETTLED);
            numbers.push(" AND t.path = ");
            path_number(&mut numbers, path);
            numbers.push(" AND ");
            compare(&mut numbers, "t.value", comparison, value);
        }
    }
    Some(Candidates { numbers, exact })
}

#[cfg(test)]
mod tests;
