-- A random mark, and how often accounts and their grants were changed under it. A file beside the database has both as they
-- were last, so that an older copy that is put back is recognised. `untold`: it was, and the audit trail does not say so yet.
CREATE TABLE lineage (
    only    INTEGER PRIMARY KEY CHECK (only = 1),
    mark    TEXT NOT NULL,
    changes INTEGER NOT NULL,
    untold  INTEGER NOT NULL
) STRICT;
INSERT INTO lineage VALUES (1, lower(hex(randomblob(16))), 0, 0);
CREATE TRIGGER account_added AFTER INSERT ON integrations BEGIN
    UPDATE lineage SET changes = changes + 1;
END;
CREATE TRIGGER account_changed AFTER UPDATE ON integrations BEGIN
    UPDATE lineage SET changes = changes + 1;
END;
CREATE TRIGGER account_removed AFTER DELETE ON integrations BEGIN
    UPDATE lineage SET changes = changes + 1;
END;
CREATE TRIGGER grant_changed AFTER UPDATE OF secret, health ON secrets
WHEN new.requested IS NULL AND (new.secret IS NOT old.secret OR new.health IS NOT old.health) BEGIN
    UPDATE lineage SET changes = changes + 1;
END;
-- Accounts of a database that was put back, until the provider gave a token for their grant.
CREATE TABLE unchecked (
    integration INTEGER PRIMARY KEY REFERENCES integrations (number) ON DELETE CASCADE
) STRICT;
