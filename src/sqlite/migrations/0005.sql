-- The security events that were acted on, the newest last: one that comes again is known.
CREATE TABLE security_events (
    number      INTEGER PRIMARY KEY,
    id          TEXT NOT NULL UNIQUE,
    received_at INTEGER NOT NULL
) STRICT;
