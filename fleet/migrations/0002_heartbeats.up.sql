-- A sample of the heartbeats, one row per agent in HEARTBEAT_SAMPLE_SECONDS at most. Rows come in the order of time and
-- leave by it, so a block range index finds the old ones at next to no cost.
CREATE TABLE heartbeats (
    agent_id UUID NOT NULL REFERENCES agents (agent_id) ON DELETE CASCADE,
    received_at TIMESTAMPTZ NOT NULL,
    sequence BIGINT NOT NULL,
    boot_id UUID NOT NULL,
    version TEXT NOT NULL,
    report JSONB NOT NULL,
    PRIMARY KEY (agent_id, received_at)
);
CREATE INDEX heartbeats_received_idx ON heartbeats USING brin (received_at);

-- One row per worker that remembers something from run to run. Whoever moves `last_run_at` on is the one that runs.
CREATE TABLE worker_state (
    name TEXT PRIMARY KEY,
    last_run_at TIMESTAMPTZ NOT NULL,
    -- Up to here nobody was listening, so no agent is held to have been silent.
    blind_until TIMESTAMPTZ NOT NULL DEFAULT '-infinity',
    owner TEXT NOT NULL,
    state JSONB NOT NULL DEFAULT '{}'
);
