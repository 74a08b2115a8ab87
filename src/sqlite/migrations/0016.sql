-- The key that a grant is bound to (DPoP), sealed; NULL where it is bound to none, and for an access token.
ALTER TABLE secrets ADD COLUMN proof_key BLOB;
