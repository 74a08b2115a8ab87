-- Where the audit trail begins (the last line that was pruned) and ends (the last line that was written), in one row that is
-- bound to the master key (`mac`; NULL where it is still to be taken over). `altered` is the end that was found when the
-- row turned out not to be this broker's; 0 when it never did.
CREATE TABLE audit_ends (
    only           INTEGER PRIMARY KEY CHECK (only = 1),
    start_sequence INTEGER NOT NULL,
    start_hash     TEXT NOT NULL,
    end_sequence   INTEGER NOT NULL,
    end_hash       TEXT NOT NULL,
    altered        INTEGER NOT NULL DEFAULT 0,
    mac            BLOB
) STRICT;
INSERT INTO audit_ends (only, start_sequence, start_hash, end_sequence, end_hash) VALUES (
    1,
    coalesce((SELECT sequence FROM audit_bounds WHERE bound = 'start'), 0),
    coalesce((SELECT hash FROM audit_bounds WHERE bound = 'start'), printf('%064d', 0)),
    coalesce((SELECT sequence FROM audit_bounds WHERE bound = 'end'), 0),
    coalesce((SELECT hash FROM audit_bounds WHERE bound = 'end'), printf('%064d', 0))
);
DROP TABLE audit_bounds;
