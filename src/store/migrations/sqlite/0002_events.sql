-- The provisioning log: beside the ledger, no part of the chain of hashes. `number` is the order of commits and is
-- never given twice, so that whoever follows the log misses nothing.

CREATE TABLE event (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    connection TEXT NOT NULL,
    at INTEGER NOT NULL,
    kind TEXT NOT NULL,
    status INTEGER NOT NULL,
    resource TEXT NOT NULL,
    body TEXT NOT NULL,
    before TEXT
) STRICT;

CREATE INDEX event_connection ON event (connection, number);
CREATE INDEX event_resource ON event (resource, number);
CREATE INDEX event_reversible ON event (connection, number) WHERE before IS NOT NULL;
-- For what is too old.
CREATE INDEX event_at ON event (at);

-- Small facts beside the ledger that nobody decides by: when a token was last used, that an alarm stands.
CREATE TABLE note (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
