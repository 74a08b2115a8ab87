-- Times are microseconds since 1970-01-01T00:00:00Z. Secrets are sealed envelopes.

-- Each master key that rows may be sealed with, and a fixed text sealed with it.
CREATE TABLE master_keys (
    key_id       TEXT PRIMARY KEY,
    sealed_check BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- The last version given to a grant: never used twice, not even for an account that was deleted and came back.
CREATE TABLE grant_version (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    last INTEGER NOT NULL
) STRICT;
INSERT INTO grant_version VALUES (1, 0);

-- Here and below, rows with a secret are too wide for WITHOUT ROWID: a page would hold few, and the tree be deep.
CREATE TABLE integrations (
    id                 TEXT PRIMARY KEY,
    kind               TEXT NOT NULL,
    owner              TEXT NOT NULL,
    subject            TEXT NOT NULL,
    account            TEXT NOT NULL,
    authority          TEXT NOT NULL,
    scopes             TEXT NOT NULL,
    health             TEXT NOT NULL,
    health_reason      TEXT NOT NULL,
    version            INTEGER NOT NULL,
    connected_at       INTEGER NOT NULL,
    renewed_at         INTEGER,
    grant_expires_at   INTEGER,
    secret             BLOB NOT NULL
) STRICT;

-- Intents to renew: there before the request, gone with its outcome. In a table of their own, so that those of
-- a batch lie on one page.
CREATE TABLE renewals (
    integration TEXT PRIMARY KEY REFERENCES integrations (id) ON DELETE CASCADE,
    started_at  INTEGER NOT NULL,
    attempts    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE access_tokens (
    integration TEXT NOT NULL REFERENCES integrations (id) ON DELETE CASCADE,
    requested   TEXT NOT NULL,
    granted     TEXT NOT NULL,
    issued_at   INTEGER NOT NULL,
    expires_at  INTEGER NOT NULL,
    secret      BLOB NOT NULL,
    PRIMARY KEY (integration, requested)
) STRICT;

CREATE TABLE agents (
    name     TEXT PRIMARY KEY,
    manifest TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE audit (
    sequence     INTEGER PRIMARY KEY,
    time         INTEGER NOT NULL,
    actor        TEXT NOT NULL,
    action       TEXT NOT NULL,
    integration  TEXT NOT NULL,
    capabilities TEXT NOT NULL,
    decision     TEXT NOT NULL,
    detail       TEXT NOT NULL,
    hash         TEXT NOT NULL
) STRICT;

-- The last line that was pruned, and the last line that was written.
CREATE TABLE audit_bounds (
    bound    TEXT PRIMARY KEY CHECK (bound IN ('start', 'end')),
    sequence INTEGER NOT NULL,
    hash     TEXT NOT NULL
) STRICT, WITHOUT ROWID;
