//! The statements of the provisioning log.

use rusqlite::types::Value;
use rusqlite::{Connection, Params, Row, params, params_from_iter};

use super::faults::{Fault, on_read};
use super::head::{self, Ledger, signed, unsigned};
use super::tail;
use crate::domain::Timestamp;
use crate::store::events::MOST_FORGOTTEN;
use crate::store::{Event, EventQuery, LoggedEvent, Retention, StoreError};

/// Appends an entry. Its keys are written when the tail is settled.
pub(super) fn append(connection: &Connection, ledger: &mut Ledger, event: &Event) -> Result<(), Fault> {
    connection
        .prepare_cached(
            "INSERT INTO event (number, id, connection, at, kind, status, resource, body, before)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?
        .execute(params![
            signed(ledger.next_event),
            event.id,
            event.connection,
            event.at.0,
            event.kind,
            event.status,
            event.resource,
            event.body,
            event.before
        ])?;
    ledger.next_event = ledger.next_event.saturating_add(1);
    Ok(())
}

/// Deletes what is too old or too much.
pub(super) fn forget(connection: &Connection, ledger: &mut Ledger, retention: &Retention) -> Result<(), Fault> {
    tail::settle_events(connection, ledger)?;
    // The log is in the order of time, unless a clock was set back: the walk ends at the first that is young enough.
    delete(
        connection,
        "DELETE FROM event WHERE number IN (
             SELECT number FROM event WHERE number < coalesce(
                 (SELECT number FROM (SELECT number, at FROM event ORDER BY number LIMIT ?2) WHERE at >= ?1 LIMIT 1),
                 9223372036854775807)
             ORDER BY number LIMIT ?2
         ) RETURNING number, id, connection, resource",
        params![retention.before.0, MOST_FORGOTTEN],
    )?;
    delete(
        connection,
        "DELETE FROM event WHERE number IN (
             SELECT number FROM event_key WHERE name = 'connection' AND value = ?1 AND number <= (
                 SELECT number FROM event_key WHERE name = 'connection' AND value = ?1
                 ORDER BY number DESC LIMIT 1 OFFSET ?2
             ) ORDER BY number LIMIT ?3
         ) RETURNING number, id, connection, resource",
        params![retention.connection, signed(retention.keep), MOST_FORGOTTEN],
    )
}

/// Deletes events with their keys.
fn delete(connection: &Connection, text: &str, values: impl Params) -> Result<(), Fault> {
    let gone = connection
        .prepare_cached(text)?
        .query_map(values, |row| Ok((row.get(0)?, [row.get(1)?, row.get(2)?, row.get(3)?])))?
        .collect::<Result<Vec<(i64, [String; 3])>, _>>()?;
    let mut delete =
        connection.prepare_cached("DELETE FROM event_key WHERE name = ?1 AND value = ?2 AND number = ?3")?;
    for (number, keys) in gone {
        for (name, value) in ["id", "connection", "resource"].into_iter().zip(keys) {
            delete.execute(params![name, value, number])?;
        }
    }
    Ok(())
}

/// Keeps or drops a small fact.
pub(super) fn note(connection: &Connection, key: &str, value: Option<&str>) -> Result<(), Fault> {
    match value {
        Some(value) => connection
            .prepare_cached(
                "INSERT INTO note (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            )?
            .execute([key, value])?,
        None => connection.prepare_cached("DELETE FROM note WHERE key = ?1")?.execute([key])?,
    };
    Ok(())
}

/// The facts whose keys begin so.
pub(super) fn notes(connection: &Connection, prefix: &str) -> Result<Vec<(String, String)>, StoreError> {
    // No text sorts behind the last code point.
    let behind = format!("{prefix}\u{10FFFF}");
    let read = || {
        connection
            .prepare_cached("SELECT key, value FROM note WHERE key >= ?1 AND key < ?2 ORDER BY key")?
            .query_map([prefix, &behind], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<Result<Vec<_>, rusqlite::Error>>()
    };
    read().map_err(|error| on_read(&error))
}

/// Reads a page: the tail, then what has keys.
pub(super) fn find(connection: &Connection, query: &EventQuery) -> Result<Vec<LoggedEvent>, StoreError> {
    let read = || {
        let settled = head::read(connection)?.settled_event;
        let tail = settled.max(query.after.map_or(0, |after| after.saturating_add(1)));
        let mut found = page(connection, query, None, (tail, query.below), query.limit)?;
        let left = query.limit.saturating_sub(found.len() as u64);
        if left > 0 {
            let from = query.after.map_or(0, |after| after.saturating_add(1));
            let end = query.below.map_or(settled, |below| below.min(settled));
            found.extend(page(connection, query, key(query), (from, Some(end)), left)?);
        }
        Ok(found)
    };
    read().map_err(|error: rusqlite::Error| on_read(&error))
}

/// The key that finds the fewest.
fn key(query: &EventQuery) -> Option<(&'static str, &str)> {
    let connection = query.connection.as_deref().filter(|_| !query.reversible);
    [("id", query.id.as_deref()), ("resource", query.resource.as_deref().filter(|id| !id.is_empty()))]
        .into_iter()
        .chain([("connection", connection)])
        .find_map(|(name, value)| Some((name, value?)))
}

/// The newest entries from one number to before another, by a key or one by one.
fn page(
    connection: &Connection,
    query: &EventQuery,
    key: Option<(&'static str, &str)>,
    (from, end): (u64, Option<u64>),
    limit: u64,
) -> rusqlite::Result<Vec<LoggedEvent>> {
    let mut text =
        "SELECT e.number, e.id, e.connection, e.at, e.kind, e.status, e.resource, e.body, e.before FROM ".to_owned();
    let mut values = Vec::new();
    let walked = if let Some((name, value)) = key {
        text.push_str("event_key k CROSS JOIN event e ON e.number = k.number WHERE k.name = ? AND k.value = ? AND ");
        values.extend([name, value].map(|text| Value::Text(text.to_owned())));
        "k.number"
    } else {
        text.push_str("event e WHERE ");
        "e.number"
    };
    text.push_str(walked);
    text.push_str(" >= ?");
    values.push(Value::Integer(signed(from)));
    if let Some(end) = end {
        text.push_str(" AND ");
        text.push_str(walked);
        text.push_str(" < ?");
        values.push(Value::Integer(signed(end)));
    }
    for (condition, value) in conditions(query) {
        text.push_str(" AND ");
        text.push_str(condition);
        values.push(value);
    }
    text.push_str(" ORDER BY ");
    text.push_str(walked);
    text.push_str(" DESC LIMIT ?");
    values.push(Value::Integer(signed(limit)));
    connection.prepare_cached(&text)?.query_map(params_from_iter(values), logged)?.collect()
}

fn conditions(query: &EventQuery) -> Vec<(&'static str, Value)> {
    let text = |condition, value: &Option<String>| value.as_ref().map(|value| (condition, Value::Text(value.clone())));
    let number = |condition, value: Option<i64>| value.map(|value| (condition, Value::Integer(value)));
    [
        text("e.connection = ?", &query.connection),
        text("e.id = ?", &query.id),
        text("e.kind = ?", &query.kind),
        text("e.resource = ?", &query.resource),
        number("(e.status < 400) = ?", query.success.map(i64::from)),
        number("e.at >= ?", query.since.map(|time| time.0)),
        number("e.at < ?", query.until.map(|time| time.0)),
        number("e.before IS NOT NULL AND 1 = ?", query.reversible.then_some(1)),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn logged(row: &Row<'_>) -> rusqlite::Result<LoggedEvent> {
    let event = Event {
        id: row.get(1)?,
        connection: row.get(2)?,
        at: Timestamp(row.get(3)?),
        kind: row.get(4)?,
        status: row.get(5)?,
        resource: row.get(6)?,
        body: row.get(7)?,
        before: row.get(8)?,
    };
    Ok(LoggedEvent { number: unsigned(row, 0)?, event })
}
