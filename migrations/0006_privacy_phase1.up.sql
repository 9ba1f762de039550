-- The server should not know who did what when: nothing reads these, so they are not kept.
ALTER TABLE revocations DROP COLUMN revoked_by;
ALTER TABLE revocations DROP COLUMN revoked_at;
DROP INDEX idx_files_created_at;
ALTER TABLE files DROP COLUMN created_at;
ALTER TABLE members DROP COLUMN created_at;
