//! The state of everybody at the head, straight from the compact tables.

use rusqlite::Connection;

use super::faults::on_read;
use super::{head, images};
use crate::domain::{Number, Revision};
use crate::store::{Projection, StoreError};

/// Walks all images, then all memberships, on the state that the connection's transaction sees.
pub(super) fn project(connection: &Connection, into: &mut dyn Projection) -> Result<Revision, StoreError> {
    let revision = head::read(connection).map_err(|error| on_read(&error))?.revision;
    walk_images(connection, |number, image| {
        into.image(number, image);
        Ok(())
    })?;
    walk_members(connection, |group, member| {
        into.member(group, member);
        Ok(())
    })?;
    Ok(revision)
}

/// Each image, by number.
pub(super) fn walk_images(
    connection: &Connection,
    mut each: impl FnMut(Number, crate::domain::Image) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let lost = |error: rusqlite::Error| on_read(&error);
    let mut statement = connection.prepare("SELECT number, kind, body FROM image ORDER BY number").map_err(lost)?;
    let mut rows = statement.query([]).map_err(lost)?;
    while let Some(row) = rows.next().map_err(lost)? {
        each(row.get(0).map_err(lost)?, images::decode(row, 1, 2)?)?;
    }
    Ok(())
}

/// Each membership, by group and member.
pub(super) fn walk_members(
    connection: &Connection,
    mut each: impl FnMut(Number, Number) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let lost = |error: rusqlite::Error| on_read(&error);
    let mut statement = connection
        .prepare("SELECT group_number, member_number FROM membership ORDER BY group_number, member_number")
        .map_err(lost)?;
    let mut rows = statement.query([]).map_err(lost)?;
    while let Some(row) = rows.next().map_err(lost)? {
        each(row.get(0).map_err(lost)?, row.get(1).map_err(lost)?)?;
    }
    Ok(())
}
