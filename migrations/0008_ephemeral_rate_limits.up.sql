-- Rate limits need an hour of history, not the lifetime of an invitation: their rows are kept
-- apart, by a keyed hash of the actor, and deleted when they no longer count.
CREATE TABLE rate_limit_actions (
    action VARCHAR(32) NOT NULL,
    actor_hash CHAR(64) NOT NULL,
    created_at TIMESTAMPTZ NOT NULL DEFAULT NOW()
);

CREATE INDEX idx_rate_limit_actions_lookup ON rate_limit_actions (action, actor_hash, created_at);

-- Its index goes with the column.
ALTER TABLE invitations DROP COLUMN rate_limit_hash;
