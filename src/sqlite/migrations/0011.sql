-- Whom a remembered security event concerned first: an account, or nobody ('') that is connected. Rows from before do not
-- say it.
ALTER TABLE security_events ADD COLUMN account TEXT;
CREATE INDEX security_events_of_account ON security_events (account, number);
