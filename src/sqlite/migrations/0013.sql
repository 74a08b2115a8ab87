-- The addresses that an account had before, as a list in JSON; empty where it had none.
ALTER TABLE integrations ADD COLUMN former TEXT NOT NULL DEFAULT '';
