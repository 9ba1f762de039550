-- Every licence is gone. Agents keep the id of theirs, which then names nothing, so it is taken from them.
DROP INDEX agents_license_idx;
ALTER TABLE agents DROP CONSTRAINT agents_license_fk;
UPDATE agents SET license_id = NULL WHERE license_id IS NOT NULL;
DROP TABLE licenses;
