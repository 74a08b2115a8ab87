-- Times are microseconds since 1970-01-01T00:00:00Z. Secrets are sealed envelopes.

-- Each master key that rows may be sealed with, and a fixed text sealed with it.
CREATE TABLE master_keys (
    key_id       TEXT PRIMARY KEY,
    sealed_check BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- The highest version of the grants that are gone: no version is used twice, not even for an account that was
-- deleted and came back.
CREATE TABLE grant_version (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    last INTEGER NOT NULL
) STRICT;
INSERT INTO grant_version VALUES (1, 0);

-- What a renewal neither reads nor writes of an account.
CREATE TABLE integrations (
    number       INTEGER PRIMARY KEY,
    id           TEXT NOT NULL UNIQUE,
    kind         TEXT NOT NULL,
    owner        TEXT NOT NULL,
    subject      TEXT NOT NULL,
    account      TEXT NOT NULL,
    authority    TEXT NOT NULL,
    scopes       TEXT NOT NULL,
    connected_at INTEGER NOT NULL
) STRICT;

-- What a renewal does read and write: an account's grant at place `number << 16`, its access tokens at the places
-- after it. Rows lie in the order of their places, so one account's share a page, which is read and written once.
CREATE TABLE secrets (
    place         INTEGER PRIMARY KEY,
    integration   INTEGER NOT NULL REFERENCES integrations (number) ON DELETE CASCADE,
    -- The scopes that an access token was asked for; NULL for a grant.
    requested     TEXT,
    -- The scopes that it carries; NULL where they are the same.
    granted       TEXT,
    -- When the grant's last token, or this one, was obtained, and when the grant or the token ends.
    obtained_at   INTEGER,
    expires_at    INTEGER,
    -- A grant's; NULL for an access token.
    version       INTEGER,
    health        TEXT,
    health_reason TEXT,
    secret        BLOB NOT NULL
) STRICT;
-- For the deletion of an account.
CREATE INDEX secrets_of_integration ON secrets (integration);

-- Intents to renew a grant: there before the request, gone with its outcome. In a table of their own, so that
-- those of a batch lie on one page.
CREATE TABLE renewals (
    place      INTEGER PRIMARY KEY REFERENCES secrets (place) ON DELETE CASCADE,
    started_at INTEGER NOT NULL,
    attempts   INTEGER NOT NULL
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
