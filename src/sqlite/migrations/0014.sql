-- The audit trail's own time: it runs with the uptime and leans towards the wall clock, so that a clock that is wrong by years
-- ages no line. `boot` and `uptime` (microseconds) are the moment when it was told last.
CREATE TABLE audit_clock (
    only   INTEGER PRIMARY KEY CHECK (only = 1),
    time   INTEGER NOT NULL,
    boot   BLOB,
    uptime INTEGER NOT NULL,
    mac    BLOB NOT NULL
) STRICT;
-- What that time was when a line came to be the next to be written, about once a day.
CREATE TABLE audit_days (
    sequence INTEGER PRIMARY KEY,
    time     INTEGER NOT NULL,
    mac      BLOB NOT NULL
) STRICT;
-- Lines `first` to `last` whose routine ones are counted rather than kept, the oldest first, without a gap. Up to `cleared` the
-- counted lines are gone, and those that stay have a MAC.
CREATE TABLE audit_weeks (
    first        INTEGER PRIMARY KEY,
    last         INTEGER NOT NULL,
    start_hash   TEXT NOT NULL,
    end_hash     TEXT NOT NULL,
    cleared      INTEGER NOT NULL,
    cleared_hash TEXT NOT NULL,
    mac          BLOB NOT NULL
) STRICT;
-- How many lines of a kind there were in such a week, at the place of the last of them.
CREATE TABLE audit_counts (
    sequence     INTEGER PRIMARY KEY,
    time         INTEGER NOT NULL,
    actor        TEXT NOT NULL,
    action       TEXT NOT NULL,
    integration  TEXT NOT NULL,
    capabilities TEXT NOT NULL,
    decision     TEXT NOT NULL,
    owner        TEXT NOT NULL,
    agent        TEXT NOT NULL,
    count        INTEGER NOT NULL,
    first_time   INTEGER NOT NULL,
    mac          BLOB NOT NULL
) STRICT;
-- Of a line that stays where lines around it were counted; NULL elsewhere, where the chain binds it.
ALTER TABLE audit ADD COLUMN mac BLOB;
