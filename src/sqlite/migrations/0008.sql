-- What binds each row to the master key (NULL in rows that are still to be taken over), and the account's version when it
-- was connected last, which its two rows and its access tokens share.
ALTER TABLE integrations ADD COLUMN generation INTEGER NOT NULL DEFAULT 0;
ALTER TABLE integrations ADD COLUMN mac BLOB;
ALTER TABLE secrets ADD COLUMN generation INTEGER;
ALTER TABLE secrets ADD COLUMN mac BLOB;
ALTER TABLE revocations ADD COLUMN mac BLOB;
ALTER TABLE agents ADD COLUMN mac BLOB;
ALTER TABLE holders ADD COLUMN mac BLOB;
