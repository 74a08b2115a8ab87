-- What a consent asked for and the person did not give: capability keys, separated by spaces.
ALTER TABLE integrations ADD COLUMN declined TEXT NOT NULL DEFAULT '';
