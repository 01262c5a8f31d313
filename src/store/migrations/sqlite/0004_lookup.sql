-- What a create writes, on fewer pages. What only speeds up finding (values by path, totals, keys of events) is kept
-- for everything below a mark in the head; what is newer, a few dozen rows, is looked at one by one until it is
-- settled, many at once. The marks move in the transaction that settles.

ALTER TABLE head ADD COLUMN settled INTEGER NOT NULL DEFAULT 1;
ALTER TABLE head ADD COLUMN next_event INTEGER NOT NULL DEFAULT 1;
ALTER TABLE head ADD COLUMN settled_event INTEGER NOT NULL DEFAULT 1;
UPDATE head SET
    settled = next_number,
    next_event = 1 + coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'event'), 0),
    settled_event = 1 + coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'event'), 0);

-- Resources by value, for the numbers below `head.settled`.
CREATE TABLE lookup (
    path INTEGER NOT NULL REFERENCES path (number),
    value TEXT NOT NULL,
    number INTEGER NOT NULL REFERENCES resource (number),
    PRIMARY KEY (path, value, number)
) STRICT, WITHOUT ROWID;

INSERT INTO lookup (path, value, number)
SELECT DISTINCT path, value, number FROM attribute ORDER BY path, value, number;
DROP INDEX attribute_value;

-- Totals, too, count the numbers below the mark, so that no statement of its own needs them.
DROP TRIGGER tally_created;
DROP TRIGGER tally_revived;
DROP TRIGGER tally_deleted;
DROP TRIGGER tally_removed;

-- A resource knows its unique keys, [[scope, value], …].
ALTER TABLE resource ADD COLUMN held TEXT NOT NULL DEFAULT '[]';
UPDATE resource SET held = (
    SELECT json_group_array(json_array(k.scope, k.value)) FROM unique_key k WHERE k.number = resource.number)
WHERE number IN (SELECT number FROM unique_key);
DROP INDEX unique_key_number;

-- One integer orders the log, so that each row is appended: the epoch above the number's 40 bits.
ALTER TABLE change_log RENAME TO change_log_before;
CREATE TABLE change_log (
    place INTEGER PRIMARY KEY,
    epoch INTEGER NOT NULL AS (place >> 40),
    number INTEGER NOT NULL AS (place & 0xFFFFFFFFFF),
    operation TEXT NOT NULL UNIQUE,
    at INTEGER NOT NULL,
    body TEXT NOT NULL,
    outcomes TEXT NOT NULL,
    hash BLOB NOT NULL CHECK (length(hash) = 32)
) STRICT;
INSERT INTO change_log (place, operation, at, body, outcomes, hash)
SELECT (epoch << 40) | number, operation, at, body, outcomes, hash FROM change_log_before ORDER BY epoch, number;
DROP TABLE change_log_before;

-- Events take their numbers from the head. Their keys stand apart, for the numbers below `head.settled_event`.
ALTER TABLE event RENAME TO event_before;
DROP INDEX event_reversible;
CREATE TABLE event (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL,
    connection TEXT NOT NULL,
    at INTEGER NOT NULL,
    kind TEXT NOT NULL,
    status INTEGER NOT NULL,
    resource TEXT NOT NULL,
    body TEXT NOT NULL,
    before TEXT
) STRICT;
INSERT INTO event (number, id, connection, at, kind, status, resource, body, before)
SELECT number, id, connection, at, kind, status, resource, body, before FROM event_before ORDER BY number;
DROP TABLE event_before;
CREATE INDEX event_reversible ON event (connection, number) WHERE before IS NOT NULL;

CREATE TABLE event_key (
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    number INTEGER NOT NULL,
    PRIMARY KEY (name, value, number)
) STRICT, WITHOUT ROWID;
INSERT INTO event_key (name, value, number)
SELECT name, value, number FROM (
    SELECT 'connection' AS name, connection AS value, number FROM event
    UNION ALL SELECT 'id', id, number FROM event
    UNION ALL SELECT 'resource', resource, number FROM event WHERE resource <> '')
ORDER BY name, value, number;
