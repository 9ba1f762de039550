-- name: agent
-- One agent, retired or not.
SELECT * FROM agents WHERE agent_id = $1;

-- name: lock_agent
-- One agent that is not retired; until the end of the transaction nobody else changes it.
SELECT *, now() AS at FROM agents WHERE agent_id = $1 AND status <> 'retired' FOR NO KEY UPDATE;

-- name: lock_instance
-- The agent of an instance, likewise.
SELECT *, now() AS at FROM agents WHERE instance_id = $1 AND status <> 'retired' FOR NO KEY UPDATE;

-- name: add_agent
-- A new agent; no row when its instance is known. The unique index decides between two that register at once.
INSERT INTO agents (agent_id, instance_id, name, kind, hostname, public_url, os, arch, version, region, labels,
  heartbeat_interval_seconds, token_hash, enrolment_id)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
ON CONFLICT (instance_id) WHERE status <> 'retired' DO NOTHING
RETURNING *, now() AS at;

-- name: register_known
-- A registration of a locked agent: what it says of itself is taken over, and it counts as a heartbeat.
UPDATE agents SET name = $2, kind = $3, hostname = $4, public_url = $5, os = $6, arch = $7, version = $8, region = $9,
  labels = $10, heartbeat_interval_seconds = $11, last_heartbeat_at = now(), status = 'active',
  status_changed_at = CASE status WHEN 'active' THEN status_changed_at ELSE now() END, updated_at = now()
WHERE agent_id = $1
RETURNING *, now() AS at;

-- name: give_token
-- A locked agent gets another token; the one that it has, $3, stays good for ten minutes.
UPDATE agents SET token_hash = $2, previous_token_hash = $3, previous_token_until = now() + interval '10 minutes',
  enrolment_id = coalesce($4, enrolment_id), rotate_token = FALSE, updated_at = now()
WHERE agent_id = $1;

-- name: agents_page
-- Agents in the order in which they were made; those retired only when they are asked for.
SELECT * FROM agents
WHERE CASE WHEN $1::text IS NULL THEN status <> 'retired' ELSE status = $1 END
  AND ($2::text IS NULL OR kind = $2) AND ($3::text IS NULL OR version = $3)
  AND ($4::text IS NULL OR region = $4) AND ($5::uuid IS NULL OR license_id = $5)
  AND ($6::jsonb IS NULL OR labels @> $6)
  AND ($7::text IS NULL OR starts_with(lower(name), lower($7)) OR starts_with(lower(hostname), lower($7)))
  AND ($8::timestamptz IS NULL OR (created_at, agent_id) > ($8, $9::uuid))
ORDER BY created_at, agent_id LIMIT $10;

-- name: change_agent
-- What operators change of an agent that is locked; null leaves a value, but for the version, which $5 tells.
UPDATE agents SET name = coalesce($2, name), labels = coalesce($3, labels),
  desired_state = coalesce($4, desired_state),
  desired_version = CASE WHEN $5::boolean THEN $6 ELSE desired_version END, updated_at = now()
WHERE agent_id = $1
RETURNING *;

-- name: release_for
-- Whether a version is published and has an artefact for a platform.
SELECT EXISTS (SELECT FROM releases r JOIN release_artifacts a ON a.version = r.version
  WHERE r.version = $1 AND r.status = 'published' AND a.os = $2 AND a.arch = $3 AND a.uploaded_at IS NOT NULL);

-- name: retire_agent
-- A locked agent is no more, and its tokens are void.
UPDATE agents SET status = 'retired', status_changed_at = now(), retired_at = now(), updated_at = now()
WHERE agent_id = $1
RETURNING *;

-- name: ask_for_rotation
-- A locked agent is told with each heartbeat to fetch another token, until it has.
UPDATE agents SET rotate_token = TRUE, updated_at = now() WHERE agent_id = $1;

-- name: agent_history
-- The newest points of an agent's history within some hours, newest first.
SELECT received_at, sequence, version, report FROM heartbeats
WHERE agent_id = $1 AND received_at > now() - make_interval(hours => $2::int)
ORDER BY received_at DESC LIMIT $3;

-- name: alerts_of
-- The live alerts of one subject, newest first.
SELECT * FROM alerts WHERE subject_type = $1 AND subject_id = $2 AND status <> 'resolved'
ORDER BY raised_at DESC, id DESC LIMIT $3;

-- name: recoveries
-- How often an agent came back within an hour, and whether that is an alert already.
SELECT count(*) FILTER (WHERE kind = 'agent.stale' AND resolved_at > now() - interval '1 hour') AS times,
  count(*) FILTER (WHERE kind = 'agent.flapping' AND status <> 'resolved') > 0 AS live
FROM alerts
WHERE subject_id = $1 AND subject_type = 'agent' AND kind IN ('agent.stale', 'agent.flapping')
  AND (status <> 'resolved' OR resolved_at > now() - interval '1 hour');
