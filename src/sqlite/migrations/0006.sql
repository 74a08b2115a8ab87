-- Whom a line concerns, beside the chain: whose account or agent it was about, and which agent. What earlier lines
-- say of that in columns of their own is carried over; the others are the operator's.
ALTER TABLE audit ADD COLUMN owner TEXT NOT NULL DEFAULT '';
ALTER TABLE audit ADD COLUMN agent TEXT NOT NULL DEFAULT '';
UPDATE audit SET
    owner = CASE WHEN actor LIKE 'person:%' THEN substr(actor, 8)
                 ELSE coalesce((SELECT owner FROM integrations WHERE id = audit.integration), '') END,
    agent = CASE WHEN actor LIKE 'agent:%' THEN substr(actor, 7) ELSE '' END
WHERE actor LIKE 'person:%' OR actor LIKE 'agent:%' OR integration <> '';
-- For the picture of the last day. It grows at its end, so that it costs a renewal next to nothing.
CREATE INDEX audit_renewals ON audit (time, action, owner) WHERE action IN ('token.renewed', 'token.renewal_failed');
