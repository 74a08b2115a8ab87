-- Who holds which agent, as JSON, so that a change while no daemon ran is noticed; with the agent's secret, where it has
-- one. The secrets of before belong to whoever holds the agent now, which nobody wrote down.
CREATE TABLE holders (
    agent  TEXT PRIMARY KEY,
    holder TEXT,
    secret BLOB
) STRICT;
INSERT INTO holders SELECT agent, NULL, secret FROM agent_secrets;
DROP TABLE agent_secrets;
