-- One data encryption key per record, wrapped for the space's epoch: a new epoch then re-wraps
-- 44 bytes per record instead of encrypting every blob again.
ALTER TABLE records ADD COLUMN wrapped_dek BYTEA;
