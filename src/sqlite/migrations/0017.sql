-- The keyring: the keys that rows are sealed with and bound to, wrapped by a seal.
CREATE TABLE keyring_store (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    -- The database's own name, for as long as it exists. What wraps a key binds it to this.
    id   TEXT NOT NULL
) STRICT;
CREATE TABLE keyring_keys (
    key_id     TEXT PRIMARY KEY,
    state      TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    changed_at INTEGER NOT NULL,
    -- What wrapped it, as the configuration names it, and the id of that one's own key. A retired key lies under the active one.
    seal       TEXT NOT NULL,
    seal_key   TEXT NOT NULL,
    wrapped    BLOB NOT NULL,
    -- Under the key itself, and under the active one.
    mac        BLOB NOT NULL,
    active_mac BLOB NOT NULL
) STRICT, WITHOUT ROWID;
