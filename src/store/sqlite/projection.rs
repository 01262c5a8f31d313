//! The state of everybody at the head, straight from the compact tables, walked by as many threads as there are cores.

use std::num::NonZero;
use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};

use rusqlite::Connection;

use super::faults::on_read;
use super::head::Ledger;
use super::readers::Readers;
use super::{head, images};
use crate::domain::{Image, Number, Revision};
use crate::store::{Projection, StoreError, Stretch};

/// Most threads: beyond this many, whoever receives is the slower side.
const THREADS: usize = 8;
/// How many numbers a thread takes at once.
const PART: Number = 16_384;
/// How much of the file a walk keeps, since it reads everything once.
const CACHE: &str = "PRAGMA cache_size = -2048";

/// Walks all images with their memberships. Each thread reads through a connection of its own; that all of them see
/// the same state is held against the head.
pub(super) fn project(readers: &Readers, into: &dyn Projection) -> Result<Revision, StoreError> {
    let ledger = readers.read_here(|connection| head::read(connection).map_err(|error| on_read(&error)))?;
    let next = AtomicU32::new(0);
    let parts = usize::try_from(ledger.next_number.div_ceil(PART)).unwrap_or(THREADS);
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get).min(THREADS).min(parts);
    std::thread::scope(|scope| {
        let walk = || readers.read_here(|connection| walk_parts(connection, &ledger, &next, into));
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(walk)).collect();
        let walked = walk();
        if walked.is_err() {
            // Nobody takes another part.
            next.store(ledger.next_number, Ordering::Relaxed);
        }
        let gone = |_| Err(StoreError::Unavailable("whoever reads the state went away".to_owned()));
        others.into_iter().map(|other| other.join().unwrap_or_else(gone)).fold(walked, Result::and)
    })?;
    Ok(ledger.revision)
}

/// One thread's share: part after part, until none is left.
fn walk_parts(
    connection: &Connection,
    ledger: &Ledger,
    next: &AtomicU32,
    into: &dyn Projection,
) -> Result<(), StoreError> {
    connection.execute_batch(CACHE).map_err(|error| on_read(&error))?;
    if head::read(connection).map_err(|error| on_read(&error))? != *ledger {
        return Err(StoreError::Unavailable("the ledger was written while its state was read; try again".to_owned()));
    }
    let mut stretch = into.stretch();
    let take = |from: Number| (from < ledger.next_number).then(|| from.saturating_add(PART));
    while let Ok(from) = next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take) {
        walk_part(connection, from..from.saturating_add(PART), &mut *stretch)?;
    }
    stretch.end();
    Ok(())
}

/// Images by number, each with the groups that it is a direct member of: two ordered walks side by side.
fn walk_part(connection: &Connection, part: Range<Number>, into: &mut dyn Stretch) -> Result<(), StoreError> {
    let lost = |error: rusqlite::Error| on_read(&error);
    // The index holds both columns in this order, so nothing is sorted.
    let mut statement = connection
        .prepare_cached(
            "SELECT member_number, group_number FROM membership WHERE member_number >= ?1 AND member_number < ?2
             ORDER BY member_number, group_number",
        )
        .map_err(lost)?;
    let mut memberships = statement
        .query_map([part.start, part.end], |row| Ok((row.get::<_, Number>(0)?, row.get::<_, Number>(1)?)))
        .map_err(lost)?;
    let mut waiting = memberships.next().transpose().map_err(lost)?;
    let mut groups = Vec::new();
    walk_images(connection, part, |number, image| {
        groups.clear();
        while let Some((member, group)) = waiting.filter(|(member, _)| *member <= number) {
            if member == number {
                groups.push(group);
            }
            waiting = memberships.next().transpose().map_err(lost)?;
        }
        into.resource(number, image, &groups);
        Ok(())
    })
}

/// Each image of these numbers, by number.
pub(super) fn walk_images(
    connection: &Connection,
    numbers: Range<Number>,
    mut each: impl FnMut(Number, Image) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let lost = |error: rusqlite::Error| on_read(&error);
    let mut statement = connection
        .prepare_cached("SELECT number, kind, body FROM image WHERE number >= ?1 AND number < ?2 ORDER BY number")
        .map_err(lost)?;
    let mut rows = statement.query([numbers.start, numbers.end]).map_err(lost)?;
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
