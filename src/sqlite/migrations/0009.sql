-- When an access token was obtained by the uptime, in microseconds, and the boot that the uptime counts from. NULL where that is
-- not known, and for a grant.
ALTER TABLE secrets ADD COLUMN boot BLOB;
ALTER TABLE secrets ADD COLUMN obtained_uptime INTEGER;
