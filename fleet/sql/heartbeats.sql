-- name: beat
-- A heartbeat that changes nothing but times and figures: the token proves the agent, the boot id is the one it
-- had, the sequence is higher. No indexed column changes, so that the update stays on its page. A sample is kept
-- when the last one is old enough. No row: it is something else, or nobody's. `live` holds the alerts that the
-- figures may raise or end. A row that another changes at the moment is waited for and looked at anew. The
-- commit waits for no disk: what a crash of the database loses is half a second of figures.
WITH beat AS (
  UPDATE agents SET last_heartbeat_at = now(), last_sequence = $4, report = $6, heartbeat_interval_seconds = $7,
    applied_revision = coalesce($8, applied_revision)
  WHERE agent_id = $2 AND boot_id = $3 AND last_sequence < $4 AND version = $5 AND status = 'active'
    AND (token_hash = $1 OR (previous_token_hash = $1 AND previous_token_until > now()))
  RETURNING name, status, heartbeat_interval_seconds, desired_state, desired_version, config_revision, rotate_token),
sample AS (
  INSERT INTO heartbeats (agent_id, received_at, sequence, boot_id, version, report)
  SELECT $2, now(), $4, $3, $5, $6 FROM beat WHERE NOT EXISTS (
    SELECT FROM heartbeats WHERE agent_id = $2 AND received_at > now() - make_interval(secs => $9::float8))
  ON CONFLICT DO NOTHING)
SELECT beat.*, now() AS at, set_config('synchronous_commit', 'off', TRUE),
  (SELECT jsonb_object_agg(kind, severity) FROM alerts
   WHERE kind = ANY($10::text[]) AND subject_type = 'agent' AND subject_id = $2::text AND status <> 'resolved') AS live
FROM beat;

-- name: token_standing
-- Whose token it is, and what it may say of an agent.
SELECT owner.agent_id = $2 AS own, owner.status = 'retired' AS retired,
  EXISTS (SELECT FROM agents WHERE agent_id = $2) AS known
FROM agents owner
WHERE owner.token_hash = $1 OR (owner.previous_token_hash = $1 AND owner.previous_token_until > now());

-- name: lock_beating
-- The agent that a token proves, until the end of the transaction.
SELECT *, now() AS at FROM agents
WHERE agent_id = $2 AND status <> 'retired'
  AND (token_hash = $1 OR (previous_token_hash = $1 AND previous_token_until > now()))
FOR NO KEY UPDATE;

-- name: last_of_boot
-- The highest sequence that is kept of a process; null when none is.
SELECT max(sequence) FROM heartbeats WHERE agent_id = $1 AND boot_id = $2;

-- name: write_beat
-- A heartbeat of a locked agent, whatever it changes.
UPDATE agents SET last_heartbeat_at = now(), last_sequence = $3, boot_id = $2, version = $4, report = $5,
  heartbeat_interval_seconds = $6, applied_revision = coalesce($7, applied_revision), status = 'active',
  status_changed_at = CASE status WHEN 'active' THEN status_changed_at ELSE now() END
WHERE agent_id = $1
RETURNING *, now() AS at;

-- name: keep_sample
-- A point of history, of which there is one per time.
INSERT INTO heartbeats (agent_id, received_at, sequence, boot_id, version, report)
VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING;

-- name: sample_due
-- Whether the last point of history is old enough.
SELECT NOT EXISTS (
  SELECT FROM heartbeats WHERE agent_id = $1 AND received_at > now() - make_interval(secs => $2::float8));

-- name: live_conditions
-- An agent's live alerts of some kinds, and how severe each is; null: none.
SELECT jsonb_object_agg(kind, severity) FROM alerts
WHERE kind = ANY($2::text[]) AND subject_type = 'agent' AND subject_id = $1 AND status <> 'resolved';
