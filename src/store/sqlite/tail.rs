//! The tail: resources and events above the marks of the head, as they were created. What only speeds up finding is not
//! written with them; readers look at the tail one by one, which is right and, as long as it is short, quick. Unique keys
//! stand in memory meanwhile ([`recent`](super::recent)). The writer settles it behind the answers, many at once, when
//! neighbours share their pages; before it writes a resource of the tail once more; and at a start.

use rusqlite::Connection;

use super::head::{self, Ledger};

/// So long it may become before it is settled. Each entry costs a look-up by value about half a microsecond.
pub(super) const LONGEST: u64 = 64;
/// So long where somebody waits to write: the more are settled at once, the less each costs.
pub(super) const LONGEST_IN_A_RUSH: u64 = 256;

/// How long it is: resources or events, whichever are more.
pub(super) fn length(ledger: &Ledger) -> u64 {
    let resources = u64::from(ledger.next_number.saturating_sub(ledger.settled));
    resources.max(ledger.next_event.saturating_sub(ledger.settled_event))
}

/// Settles all of it and moves the marks, within a transaction of the caller, who takes all of it back where one statement
/// fails: none of them needs a way back of its own.
pub(super) fn settle(connection: &Connection, ledger: &mut Ledger) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT OR IGNORE INTO lookup (path, value, number)
             SELECT path, value, number FROM attribute WHERE number >= ?1 ORDER BY path, value, number",
        )?
        .execute([ledger.settled])?;
    // The constraint holds what the writer held these keys against.
    connection
        .prepare_cached(
            "INSERT OR FAIL INTO unique_key (scope, value, number)
             SELECT h.value ->> 0, h.value ->> 1, r.number FROM resource r CROSS JOIN json_each(r.held) h
             WHERE r.number >= ?1 ORDER BY 1, 2",
        )?
        .execute([ledger.settled])?;
    connection
        .prepare_cached(
            "INSERT INTO tally (kind, organization, total)
             SELECT kind, organization, count(*) FROM resource WHERE number >= ?1 AND deleted = 0
             GROUP BY kind, organization
             ON CONFLICT (kind, organization) DO UPDATE SET total = total + excluded.total",
        )?
        .execute([ledger.settled])?;
    ledger.settled = ledger.next_number;
    settle_events(connection, ledger)
}

/// The same for events alone; a cut of the log asks for it first.
pub(super) fn settle_events(connection: &Connection, ledger: &mut Ledger) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT OR FAIL INTO event_key (name, value, number)
             SELECT name, value, number FROM (
                 SELECT 'connection' AS name, connection AS value, number FROM event WHERE number >= ?1
                 UNION ALL SELECT 'id', id, number FROM event WHERE number >= ?1
                 UNION ALL SELECT 'resource', resource, number FROM event WHERE number >= ?1 AND resource <> '')
             ORDER BY name, value, number",
        )?
        .execute([head::signed(ledger.settled_event)])?;
    ledger.settled_event = ledger.next_event;
    Ok(())
}
