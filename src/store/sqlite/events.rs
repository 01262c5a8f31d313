//! The statements of the provisioning log.

use rusqlite::types::Value;
use rusqlite::{Connection, Row, params, params_from_iter};

use super::faults::{Fault, on_read};
use super::head::unsigned;
use super::steps::signed;
use crate::domain::Timestamp;
use crate::store::events::MOST_FORGOTTEN;
use crate::store::{Event, EventQuery, LoggedEvent, Retention, StoreError};

/// Appends an entry.
pub(super) fn append(connection: &Connection, event: &Event) -> Result<(), Fault> {
    connection
        .prepare_cached(
            "INSERT INTO event (id, connection, at, kind, status, resource, body, before)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?
        .execute(params![
            event.id,
            event.connection,
            event.at.0,
            event.kind,
            event.status,
            event.resource,
            event.body,
            event.before
        ])?;
    Ok(())
}

/// Deletes what is too old or too much.
pub(super) fn forget(connection: &Connection, retention: &Retention) -> Result<(), Fault> {
    connection
        .prepare_cached("DELETE FROM event WHERE number IN (SELECT number FROM event WHERE at < ?1 LIMIT ?2)")?
        .execute(params![retention.before.0, MOST_FORGOTTEN])?;
    connection
        .prepare_cached(
            "DELETE FROM event WHERE number IN (
                 SELECT number FROM event WHERE connection = ?1 AND number <= (
                     SELECT number FROM event WHERE connection = ?1 ORDER BY number DESC LIMIT 1 OFFSET ?2
                 ) ORDER BY number LIMIT ?3
             )",
        )?
        .execute(params![retention.connection, signed(retention.keep), MOST_FORGOTTEN])?;
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
    let read = || {
        connection
            .prepare_cached(
                "SELECT key, value FROM note WHERE key >= ?1 AND substr(key, 1, length(?1)) = ?1 ORDER BY key",
            )?
            .query_map([prefix], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<Result<Vec<_>, rusqlite::Error>>()
    };
    read().map_err(|error| on_read(&error))
}

/// Reads a page.
pub(super) fn find(connection: &Connection, query: &EventQuery) -> Result<Vec<LoggedEvent>, StoreError> {
    let mut text = "SELECT number, id, connection, at, kind, status, resource, body, before FROM event".to_owned();
    let mut values = Vec::new();
    for (condition, value) in conditions(query) {
        text.push_str(if values.is_empty() { " WHERE " } else { " AND " });
        text.push_str(condition);
        values.push(value);
    }
    text.push_str(" ORDER BY number DESC LIMIT ?");
    values.push(Value::Integer(signed(query.limit)));
    let read = || {
        connection
            .prepare_cached(&text)?
            .query_map(params_from_iter(values), logged)?
            .collect::<Result<Vec<LoggedEvent>, rusqlite::Error>>()
    };
    read().map_err(|error| on_read(&error))
}

fn conditions(query: &EventQuery) -> Vec<(&'static str, Value)> {
    let text = |condition, value: &Option<String>| value.as_ref().map(|value| (condition, Value::Text(value.clone())));
    let number = |condition, value: Option<i64>| value.map(|value| (condition, Value::Integer(value)));
    [
        text("connection = ?", &query.connection),
        text("id = ?", &query.id),
        text("kind = ?", &query.kind),
        text("resource = ?", &query.resource),
        number("(status < 400) = ?", query.success.map(i64::from)),
        number("at >= ?", query.since.map(|time| time.0)),
        number("at < ?", query.until.map(|time| time.0)),
        number("before IS NOT NULL AND 1 = ?", query.reversible.then_some(1)),
        number("number > ?", query.after.map(signed)),
        number("number < ?", query.below.map(signed)),
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
