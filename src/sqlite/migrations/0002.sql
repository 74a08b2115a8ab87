-- What agents prove themselves with where identity does not come from their mount: in credential files.
CREATE TABLE agent_secrets (
    agent  TEXT PRIMARY KEY,
    secret BLOB NOT NULL
) STRICT;
