-- The ledger. Texts compare by code points (BINARY); whatever must be folded comes folded.

-- Where the ledger stands: one row, the truth that the last row of the change log must agree with.
CREATE TABLE head (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    epoch INTEGER NOT NULL,
    number INTEGER NOT NULL,
    hash BLOB NOT NULL CHECK (length(hash) = 32),
    -- The next resource number. Only ever grows.
    next_number INTEGER NOT NULL
) STRICT;

INSERT INTO head (one, epoch, number, hash, next_number) VALUES (1, 1, 0, zeroblob(32), 1);

-- One row for each revision. `body` is what the chain of hashes covers; `outcomes` answers a repetition.
CREATE TABLE change_log (
    epoch INTEGER NOT NULL,
    number INTEGER NOT NULL,
    operation TEXT NOT NULL UNIQUE,
    at INTEGER NOT NULL,
    body TEXT NOT NULL,
    outcomes TEXT NOT NULL,
    hash BLOB NOT NULL CHECK (length(hash) = 32),
    PRIMARY KEY (epoch, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE resource (
    number INTEGER PRIMARY KEY,
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    organization TEXT NOT NULL,
    version INTEGER NOT NULL,
    deleted INTEGER NOT NULL CHECK (deleted IN (0, 1)),
    created INTEGER NOT NULL,
    modified INTEGER NOT NULL,
    document TEXT NOT NULL,
    state TEXT NOT NULL,
    UNIQUE (kind, id)
) STRICT;

-- Listing by number, within one organization and across all, without touching the documents.
CREATE INDEX resource_listed ON resource (kind, organization) WHERE deleted = 0;
CREATE INDEX resource_listed_everywhere ON resource (kind) WHERE deleted = 0;

-- Names of index paths, so that each value carries a small number instead of a long URN.
CREATE TABLE path (
    number INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
) STRICT;

CREATE TABLE attribute (
    number INTEGER NOT NULL REFERENCES resource (number) ON DELETE CASCADE,
    path INTEGER NOT NULL REFERENCES path (number),
    element INTEGER NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (number, path, element, value)
) STRICT, WITHOUT ROWID;

CREATE INDEX attribute_value ON attribute (path, value);

CREATE TABLE unique_key (
    scope TEXT NOT NULL,
    value TEXT NOT NULL,
    number INTEGER NOT NULL REFERENCES resource (number) ON DELETE CASCADE,
    PRIMARY KEY (scope, value)
) STRICT, WITHOUT ROWID;

CREATE INDEX unique_key_number ON unique_key (number);

CREATE TABLE membership (
    group_number INTEGER NOT NULL REFERENCES resource (number) ON DELETE CASCADE,
    member_number INTEGER NOT NULL REFERENCES resource (number) ON DELETE CASCADE,
    PRIMARY KEY (group_number, member_number)
) STRICT, WITHOUT ROWID;

CREATE INDEX membership_member ON membership (member_number);

-- The newest image of each resource, apart from the documents, so that a start reads little.
CREATE TABLE image (
    number INTEGER PRIMARY KEY REFERENCES resource (number) ON DELETE CASCADE,
    kind TEXT NOT NULL,
    body TEXT NOT NULL
) STRICT;
