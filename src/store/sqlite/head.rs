//! Where the ledger stands, as the head row says and as the log must confirm.

use rusqlite::{Connection, OptionalExtension, Row};

use crate::domain::{Number, Revision, Timestamp};
use crate::store::{Head, chain};

/// The head row: the newest revision with its hash, the next numbers of resources and events, and up to where each of
/// them is settled (see [`super::tail`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ledger {
    pub(super) revision: Revision,
    pub(super) hash: [u8; 32],
    pub(super) next_number: Number,
    /// Resources below stand in `lookup` and `tally`.
    pub(super) settled: Number,
    pub(super) next_event: u64,
    /// Events below have their keys in `event_key`.
    pub(super) settled_event: u64,
}

impl Ledger {
    pub(super) const fn head(&self) -> Head {
        Head { revision: self.revision, hash: self.hash }
    }

    /// Takes the next revision.
    pub(super) fn advance(&mut self, at: Timestamp, body: &str) {
        self.revision.number += 1;
        self.hash = chain(&self.hash, self.revision, at, body);
    }
}

/// Reads the head row.
pub(super) fn read(connection: &Connection) -> rusqlite::Result<Ledger> {
    connection
        .prepare_cached(
            "SELECT epoch, number, hash, next_number, settled, next_event, settled_event FROM head WHERE one = 1",
        )?
        .query_one([], |row| {
            Ok(Ledger {
                revision: Revision { epoch: row.get(0)?, number: unsigned(row, 1)? },
                hash: row.get(2)?,
                next_number: row.get(3)?,
                settled: row.get(4)?,
                next_event: unsigned(row, 5)?,
                settled_event: unsigned(row, 6)?,
            })
        })
}

/// Writes the head row, within the transaction of the revisions that it names.
pub(super) fn write(connection: &Connection, ledger: &Ledger) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "UPDATE head SET number = ?1, hash = ?2, next_number = ?3, settled = ?4, next_event = ?5, settled_event = ?6
             WHERE one = 1",
        )?
        .execute((
            signed(ledger.revision.number),
            ledger.hash,
            ledger.next_number,
            ledger.settled,
            signed(ledger.next_event),
            signed(ledger.settled_event),
        ))
        .map(drop)
}

/// Holds the head row against the log: its last row, that row's hash by computation from the one before, the number
/// of rows, and the highest resource number. Answers what disagrees.
pub(super) fn confirm(connection: &Connection) -> rusqlite::Result<Result<Ledger, String>> {
    let ledger = match read(connection).optional()? {
        Some(ledger) => ledger,
        None => return Ok(Err("the head row is missing".to_owned())),
    };
    let mut statement =
        connection.prepare("SELECT epoch, number, at, body, hash FROM change_log ORDER BY place DESC LIMIT 2")?;
    let mut last = statement.query_map([], LogRow::read)?.collect::<Result<Vec<_>, _>>()?.into_iter();
    let (newest, before) = (last.next(), last.next());

    // The unary plus keeps the engine on the narrow index of operations, which also carries the place.
    let rows: i64 = connection.query_one(
        "SELECT count(*) FROM change_log WHERE +place >> 40 = ?1",
        [ledger.revision.epoch],
        |row| row.get(0),
    )?;
    let highest: i64 = connection.query_one("SELECT coalesce(max(number), 0) FROM resource", [], |row| row.get(0))?;
    Ok(compare(ledger, newest, before.as_ref(), rows, highest))
}

fn compare(
    ledger: Ledger,
    newest: Option<LogRow>,
    before: Option<&LogRow>,
    rows: i64,
    highest: i64,
) -> Result<Ledger, String> {
    let revision = ledger.revision;
    if i64::try_from(revision.number) != Ok(rows) {
        return Err(format!("the head says revision {revision}, but the log has {rows} rows"));
    }
    if highest >= i64::from(ledger.next_number) {
        return Err(format!("the head would give resource number {} again", ledger.next_number));
    }
    let Some(newest) = newest else {
        let genesis = ledger.hash == [0; 32];
        return if genesis { Ok(ledger) } else { Err("the head has a hash, but the log is empty".to_owned()) };
    };
    if revision.number > 0 && newest.revision != revision {
        return Err(format!("the head says revision {revision}, but the log ends with {}", newest.revision));
    }
    if newest.hash != ledger.hash {
        return Err(format!("the head's hash is not that of revision {}", newest.revision));
    }
    if newest.computed(before.map_or([0; 32], |row| row.hash)) != newest.hash {
        return Err(format!("revision {} does not have the hash of its content", newest.revision));
    }
    Ok(ledger)
}

/// A row of the log as stored.
pub(super) struct LogRow {
    pub(super) revision: Revision,
    pub(super) at: Timestamp,
    pub(super) body: String,
    pub(super) hash: [u8; 32],
}

impl LogRow {
    /// Reads `epoch, number, at, body, hash`.
    pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            revision: Revision { epoch: row.get(0)?, number: unsigned(row, 1)? },
            at: Timestamp(row.get(2)?),
            body: row.get(3)?,
            hash: row.get(4)?,
        })
    }

    /// The hash that this row must have.
    pub(super) fn computed(&self, before: [u8; 32]) -> [u8; 32] {
        chain(&before, self.revision, self.at, &self.body)
    }
}

/// Where a revision stands in the log: the epoch above the number's 40 bits.
pub(super) fn place(revision: Revision) -> i64 {
    const BITS: u32 = 40;
    (i64::from(revision.epoch) << BITS) | signed(revision.number.min((1 << BITS) - 1))
}

/// The engine's integers are signed; no counter of ours comes near the difference.
pub(super) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A column that the engine keeps signed and that is never negative.
pub(super) fn unsigned(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    let value: i64 = row.get(column)?;
    u64::try_from(value).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, value))
}
