//! The state of everybody at the head, straight from the compact tables.

use std::sync::mpsc::sync_channel;

use rusqlite::Connection;

use super::faults::on_read;
use super::{head, images};
use crate::domain::{Image, Number, Revision};
use crate::store::{Projection, StoreError};

/// How many resources go to the receiver at once, and how many such parts may wait for it.
const PART: usize = 1024;
const WAITING: usize = 8;

/// Some resources with their groups, the groups of all in one list.
#[derive(Default)]
struct Part {
    resources: Vec<(Number, Image, usize)>,
    groups: Vec<Number>,
}

/// Walks all images with their memberships, on the state that the connection's transaction sees. Rows are read
/// and decoded here while the receiver works on a thread of its own: a start costs the slower of the two.
pub(super) fn project(connection: &Connection, into: &mut dyn Projection) -> Result<Revision, StoreError> {
    let revision = head::read(connection).map_err(|error| on_read(&error))?.revision;
    std::thread::scope(|scope| {
        let (sender, parts) = sync_channel::<Part>(WAITING);
        let receiver = scope.spawn(move || {
            for part in parts {
                let mut from = 0;
                for (number, image, to) in part.resources {
                    into.resource(number, image, part.groups.get(from..to).unwrap_or(&[]));
                    from = to;
                }
            }
        });
        let gone = || StoreError::Unavailable("whoever reads the state went away".to_owned());
        let walked = walk_resources(connection, |part| sender.send(part).map_err(|_| gone()));
        drop(sender);
        receiver.join().map_err(|_| gone())?;
        walked
    })?;
    Ok(revision)
}

/// Images by number, each with the groups that it is a direct member of: two ordered walks side by side.
fn walk_resources(
    connection: &Connection,
    mut each: impl FnMut(Part) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let lost = |error: rusqlite::Error| on_read(&error);
    // The index holds both columns in this order, so nothing is sorted.
    let mut statement = connection
        .prepare("SELECT member_number, group_number FROM membership ORDER BY member_number, group_number")
        .map_err(lost)?;
    let mut memberships =
        statement.query_map([], |row| Ok((row.get::<_, Number>(0)?, row.get::<_, Number>(1)?))).map_err(lost)?;
    let mut waiting = memberships.next().transpose().map_err(lost)?;
    let mut part = Part::default();
    walk_images(connection, |number, image| {
        while let Some((member, group)) = waiting.filter(|(member, _)| *member <= number) {
            if member == number {
                part.groups.push(group);
            }
            waiting = memberships.next().transpose().map_err(lost)?;
        }
        part.resources.push((number, image, part.groups.len()));
        if part.resources.len() < PART { Ok(()) } else { each(std::mem::take(&mut part)) }
    })?;
    each(part)
}

/// Each image, by number.
pub(super) fn walk_images(
    connection: &Connection,
    mut each: impl FnMut(Number, Image) -> Result<(), StoreError>,
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
