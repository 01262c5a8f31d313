//! The statements that read.

use rusqlite::{Connection, OptionalExtension, Row, ToSql, params, params_from_iter, types::Type};

use super::emit::{self, Statement};
use super::faults::on_read;
use super::head::{self, LogRow, place, signed};
use super::recent::Hint;
use crate::domain::{Change, Number, Revision, Timestamp};
use crate::store::limits;
use crate::store::{Above, Found, Kind, LogEntry, Lookup, MAX_ABOVE, Member, Query, Record, StoreError, UniqueKey};

/// Up to how many candidates are cheaper one by one than a walk over the organization.
const FEW: u32 = 10_000;

pub(super) fn look_up(connection: &Connection, lookup: &Lookup, hint: Hint) -> Result<Option<Record>, StoreError> {
    match lookup {
        Lookup::Id(kind, id) => {
            one(connection, concat_record!("WHERE r.kind = ?1 AND r.id = ?2"), params![kind.name(), id])
        }
        Lookup::Holder(key) => match holder(connection, key, hint)? {
            Some(number) => one(connection, concat_record!("WHERE r.number = ?1"), [number]),
            None => Ok(None),
        },
        Lookup::OrganizationOfHolder(key) => match holder(connection, key, hint)? {
            Some(number) => one(
                connection,
                concat_record!(
                    "JOIN resource h ON r.id = h.organization WHERE r.kind = 'organization' AND h.number = ?1"
                ),
                [number],
            ),
            None => Ok(None),
        },
    }
}

/// Who holds a unique key: by the hint, by the table, or among those that came after the hint.
fn holder(connection: &Connection, key: &UniqueKey, hint: Hint) -> Result<Option<Number>, StoreError> {
    // As it stands in the list of a row that has it: the same quotes within one of the list's texts would be escaped.
    let held = serde_json::Value::from([key.scope.as_str(), key.value.as_str()]).to_string();
    let ask = |text: &str, values: &[&dyn ToSql]| {
        let read = || connection.prepare_cached(text)?.query_one(values, |row| row.get(0)).optional();
        read().map_err(|error| on_read(&error))
    };
    if let Some(number) = hint.holder {
        let still = "SELECT number FROM resource WHERE number = ?1 AND instr(held, ?2) > 0";
        if let Some(number) = ask(still, &[&number, &held])? {
            return Ok(Some(number));
        }
    }
    let settled = "SELECT number FROM unique_key WHERE scope = ?1 AND value = ?2";
    if let Some(number) = ask(settled, &[&key.scope, &key.value])? {
        return Ok(Some(number));
    }
    let newer = "SELECT number FROM resource WHERE number >= ?1 AND instr(held, ?2) > 0 LIMIT 1";
    ask(newer, &[&hint.next_number, &held])
}

pub(super) fn records(connection: &Connection, numbers: &[Number]) -> Result<Vec<Record>, StoreError> {
    numbers
        .iter()
        .filter_map(|number| one(connection, concat_record!("WHERE r.number = ?1"), [number]).transpose())
        .collect()
}

pub(super) fn groups_of(connection: &Connection, member: Number) -> Result<Vec<Record>, StoreError> {
    let text = concat_record!(
        "JOIN membership m ON m.group_number = r.number WHERE m.member_number = ?1 ORDER BY m.group_number"
    );
    let read = || connection.prepare_cached(text)?.query_map([member], record)?.collect::<Result<Vec<_>, _>>();
    read().map_err(|error| on_read(&error))
}

pub(super) fn groups_above(connection: &Connection, members: &[Number]) -> Result<Vec<Above>, StoreError> {
    // A union is a set: rings, should there ever be one, end.
    let text = "WITH RECURSIVE above (member, group_number) AS (
             SELECT m.member_number, m.group_number FROM json_each(?1) wanted
             CROSS JOIN membership m ON m.member_number = wanted.value
             UNION
             SELECT above.member, m.group_number FROM above
             CROSS JOIN membership m ON m.member_number = above.group_number)
         SELECT above.member, above.group_number, EXISTS (SELECT 1 FROM membership d
             WHERE d.group_number = above.group_number AND d.member_number = above.member) AS direct
         FROM above WHERE above.group_number <> above.member
         ORDER BY above.member, direct DESC, above.group_number LIMIT ?2";
    let wanted = serde_json::Value::from(members).to_string();
    let above = |row: &Row<'_>| Ok(Above { member: row.get(0)?, group: row.get(1)?, direct: row.get(2)? });
    let read = || {
        let limit = i64::try_from(MAX_ABOVE).unwrap_or(i64::MAX).saturating_add(1);
        connection.prepare_cached(text)?.query_map(params![wanted, limit], above)?.collect::<Result<Vec<_>, _>>()
    };
    read().map_err(|error| on_read(&error)).and_then(limits::above)
}

pub(super) fn members(
    connection: &Connection,
    group: Number,
    after: Option<Number>,
    limit: u64,
) -> Result<Vec<Member>, StoreError> {
    let after = after.map_or(-1, i64::from);
    let read = || {
        connection
            .prepare_cached(
                "SELECT r.number, r.kind, r.id FROM membership m CROSS JOIN resource r ON r.number = m.member_number
                 WHERE m.group_number = ?1 AND m.member_number > ?2 ORDER BY m.member_number LIMIT ?3",
            )?
            .query_map(params![group, after, signed(limit)], |row| Ok((row.get(0)?, kind(row, 1)?, row.get(2)?)))?
            .collect::<Result<Vec<_>, _>>()
    };
    read().map_err(|error| on_read(&error))
}

pub(super) fn members_among(
    connection: &Connection,
    group: Number,
    of: Vec<Number>,
) -> Result<Vec<Number>, StoreError> {
    let read = || {
        let mut statement =
            connection.prepare_cached("SELECT 1 FROM membership WHERE group_number = ?1 AND member_number = ?2")?;
        let mut found = Vec::new();
        for number in of {
            if statement.exists([group, number])? {
                found.push(number);
            }
        }
        Ok(found)
    };
    read().map_err(|error: rusqlite::Error| on_read(&error))
}

pub(super) fn tail(connection: &Connection, after: u64, limit: u64) -> Result<Vec<LogEntry>, StoreError> {
    let read = || {
        let epoch = head::read(connection)?.revision.epoch;
        let (from, end) = (Revision { epoch, number: after }, Revision { epoch: epoch.saturating_add(1), number: 0 });
        connection
            .prepare_cached(
                "SELECT epoch, number, at, body, hash FROM change_log
                 WHERE place > ?1 AND place < ?2 ORDER BY place LIMIT ?3",
            )?
            .query_map(params![place(from), place(end), signed(limit)], LogRow::read)?
            .collect::<Result<Vec<_>, _>>()
    };
    read().map_err(|error: rusqlite::Error| on_read(&error))?.into_iter().map(entry).collect()
}

fn entry(row: LogRow) -> Result<LogEntry, StoreError> {
    let changes = changes(&row)?;
    Ok(LogEntry { revision: row.revision, hash: row.hash, at: row.at, changes })
}

/// The changes that a row of the log records.
pub(super) fn changes(row: &LogRow) -> Result<Vec<Change>, StoreError> {
    serde_json::from_str(&row.body)
        .map_err(|error| StoreError::Damaged(format!("the body of revision {}: {error}", row.revision)))
}

pub(super) fn query(connection: &Connection, query: &Query) -> Result<Found, StoreError> {
    let mut candidates = query.predicate.as_ref().and_then(|wanted| emit::candidates(query.kind, wanted));
    if let Some(some) = &candidates
        && number(connection, &some.count_to(FEW + 1))? > i64::from(FEW)
    {
        candidates = None;
    }
    let total = if query.page.after.is_none() {
        let total = number(connection, &emit::count(query, candidates.as_ref()))?;
        Some(u64::try_from(total).map_err(|_| StoreError::Damaged("a negative count".to_owned()))?)
    } else {
        None
    };
    if let Some(total) = total.filter(|total| query.page.count == 0 || *total == 0) {
        let more = total > query.page.offset;
        return Ok(Found { records: Vec::new(), keys: Vec::new(), total: Some(total), more });
    }
    let page = emit::numbers(query, candidates.as_ref());
    let read = || {
        connection
            .prepare_cached(&page.text)?
            .query_map(params_from_iter(&page.values), |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<Result<Vec<(Number, Option<String>)>, _>>()
    };
    let mut found = read().map_err(|error| on_read(&error))?;
    let count = usize::try_from(query.page.count).unwrap_or(usize::MAX);
    let more = found.len() > count;
    found.truncate(count);
    let (numbers, keys): (Vec<Number>, Vec<Option<String>>) = found.into_iter().unzip();
    Ok(Found { records: records(connection, &numbers)?, keys, total, more })
}

fn number(connection: &Connection, statement: &Statement) -> Result<i64, StoreError> {
    let read =
        || connection.prepare_cached(&statement.text)?.query_one(params_from_iter(&statement.values), |row| row.get(0));
    read().map_err(|error| on_read(&error))
}

fn one(connection: &Connection, text: &str, values: impl rusqlite::Params) -> Result<Option<Record>, StoreError> {
    let read = || connection.prepare_cached(text)?.query_one(values, record).optional();
    read().map_err(|error| on_read(&error))
}

/// `SELECT` of a whole record, with what follows `FROM resource r`.
macro_rules! concat_record {
    ($rest:literal) => {
        concat!(
            "SELECT r.number, r.kind, r.id, r.organization, r.version, r.document, r.state, r.deleted, r.created, ",
            "r.modified FROM resource r ",
            $rest
        )
    };
}
use concat_record;

fn record(row: &Row<'_>) -> rusqlite::Result<Record> {
    Ok(Record {
        number: row.get(0)?,
        kind: kind(row, 1)?,
        id: row.get(2)?,
        organization: row.get(3)?,
        version: head::unsigned(row, 4)?,
        document: row.get(5)?,
        state: row.get(6)?,
        deleted: row.get(7)?,
        created: Timestamp(row.get(8)?),
        modified: Timestamp(row.get(9)?),
    })
}

/// Reads a kind's name.
pub(super) fn kind(row: &Row<'_>, column: usize) -> rusqlite::Result<Kind> {
    let name = row.get_ref(column)?.as_str()?;
    Kind::parse(name).ok_or_else(|| {
        rusqlite::Error::FromSqlConversionFailure(column, Type::Text, format!("no kind is called {name}").into())
    })
}
