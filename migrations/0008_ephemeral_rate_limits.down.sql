-- Invitations that exist get an actor nobody has: 64 zeros.
ALTER TABLE invitations ADD COLUMN rate_limit_hash CHAR(64) NOT NULL DEFAULT repeat('0', 64);
ALTER TABLE invitations ALTER COLUMN rate_limit_hash DROP DEFAULT;
CREATE INDEX idx_invitations_rate_limit ON invitations (rate_limit_hash, created_at DESC);

DROP TABLE rate_limit_actions;
