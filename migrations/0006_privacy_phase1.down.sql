-- The columns come back, what they held does not: times become now, the revoker is unknown.
ALTER TABLE members ADD COLUMN created_at TIMESTAMPTZ NOT NULL DEFAULT NOW();
ALTER TABLE files ADD COLUMN created_at TIMESTAMPTZ NOT NULL DEFAULT NOW();
CREATE INDEX idx_files_created_at ON files (created_at);
ALTER TABLE revocations ADD COLUMN revoked_by TEXT NOT NULL DEFAULT '';
ALTER TABLE revocations ALTER COLUMN revoked_by DROP DEFAULT;
ALTER TABLE revocations ADD COLUMN revoked_at TIMESTAMPTZ NOT NULL DEFAULT NOW();
