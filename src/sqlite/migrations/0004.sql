-- Grants that were let go of here and are still to be revoked at the provider.
CREATE TABLE revocations (
    id        TEXT PRIMARY KEY,
    owner     TEXT NOT NULL,
    subject   TEXT NOT NULL,
    account   TEXT NOT NULL,
    authority TEXT NOT NULL,
    since     INTEGER NOT NULL,
    secret    BLOB NOT NULL
) STRICT;
