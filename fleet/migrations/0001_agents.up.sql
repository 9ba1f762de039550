-- One row per server that reports. `instance_id` is what a server keeps in its data directory, so a process that
-- restarts or registers anew is the same agent; a retired row keeps its history and frees the id for a new one.
--
-- A heartbeat rewrites its row each minute. It changes no indexed column, and the pages keep 40 % free, so that the new
-- version finds room beside the old one and no index is touched (HOT). That is why `last_heartbeat_at` has no index:
-- with one no update would be of this kind. The sweep reads the whole table instead, which is cheap.
CREATE TABLE agents (
    agent_id UUID PRIMARY KEY,
    instance_id UUID NOT NULL,
    name TEXT NOT NULL CHECK (char_length(name) BETWEEN 1 AND 128),
    kind TEXT NOT NULL CHECK (kind IN ('sync', 'volume')),
    hostname TEXT,
    public_url TEXT,
    os TEXT NOT NULL,
    arch TEXT NOT NULL,
    version TEXT NOT NULL,
    region TEXT,
    labels JSONB NOT NULL DEFAULT '{}',
    status TEXT NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'stale', 'inactive', 'retired')),
    status_changed_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    -- The agent's own: the limits of `stale` and `inactive` are multiples of it.
    heartbeat_interval_seconds INTEGER NOT NULL CHECK (heartbeat_interval_seconds BETWEEN 5 AND 3600),
    last_heartbeat_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    last_sequence BIGINT NOT NULL DEFAULT 0,
    boot_id UUID,
    -- The last report, whole.
    report JSONB NOT NULL DEFAULT '{}',
    desired_version TEXT,
    rotate_token BOOLEAN NOT NULL DEFAULT FALSE,
    desired_state TEXT NOT NULL DEFAULT 'serving' CHECK (desired_state IN ('serving', 'draining')),
    -- What the agent should have, and what it said it has.
    config_revision BIGINT NOT NULL DEFAULT 0,
    applied_revision BIGINT NOT NULL DEFAULT 0,
    token_hash BYTEA NOT NULL CHECK (octet_length(token_hash) = 32),
    previous_token_hash BYTEA,
    previous_token_until TIMESTAMPTZ,
    enrolment_id UUID,
    license_id UUID,
    server_id UUID,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    retired_at TIMESTAMPTZ
) WITH (fillfactor = 60);

-- One living agent per instance, however many registrations race.
CREATE UNIQUE INDEX agents_instance_live_key ON agents (instance_id) WHERE status <> 'retired';
CREATE UNIQUE INDEX agents_token_hash_key ON agents (token_hash);
CREATE INDEX agents_previous_token_idx ON agents (previous_token_hash) WHERE previous_token_hash IS NOT NULL;
CREATE INDEX agents_page_idx ON agents (created_at, agent_id);
CREATE INDEX agents_labels_idx ON agents USING gin (labels jsonb_path_ops);

CREATE TABLE enrolment_tokens (
    id UUID PRIMARY KEY,
    token_hash BYTEA NOT NULL UNIQUE,
    label TEXT NOT NULL,
    max_uses INTEGER NOT NULL CHECK (max_uses BETWEEN 1 AND 10000),
    uses INTEGER NOT NULL DEFAULT 0,
    labels JSONB NOT NULL DEFAULT '{}',
    license_id UUID,
    server_id UUID,
    expires_at TIMESTAMPTZ NOT NULL,
    revoked_at TIMESTAMPTZ,
    created_by TEXT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    CHECK (uses <= max_uses)
);
