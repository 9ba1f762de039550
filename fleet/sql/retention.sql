-- name: forget_heartbeats
-- History of agents, older than $1 days, at most $2 rows.
WITH old AS (
  SELECT agent_id, received_at FROM heartbeats WHERE received_at < now() - make_interval(days => $1) LIMIT $2
  FOR UPDATE SKIP LOCKED)
DELETE FROM heartbeats h USING old WHERE h.agent_id = old.agent_id AND h.received_at = old.received_at;

-- name: forget_deliveries
-- Deliveries that ended more than $1 days ago, with their attempts, at most $2 rows.
WITH old AS (
  SELECT id FROM webhook_deliveries
  WHERE created_at < now() - make_interval(days => $1) AND status <> 'pending'
    AND completed_at < now() - make_interval(days => $1)
  ORDER BY created_at LIMIT $2 FOR UPDATE SKIP LOCKED)
DELETE FROM webhook_deliveries d USING old WHERE d.id = old.id;

-- name: forget_events
-- Events that no delivery is of, older than $1 days, at most $2 rows. Deliveries of an event are written with it, so
-- that none can be on its way to one that is that old.
WITH old AS (
  SELECT id FROM webhook_events e WHERE created_at < now() - make_interval(days => $1)
    AND NOT EXISTS (SELECT FROM webhook_deliveries d WHERE d.event_id = e.id)
  LIMIT $2 FOR UPDATE SKIP LOCKED)
DELETE FROM webhook_events e USING old WHERE e.id = old.id;

-- name: forget_alerts
-- Alerts that were resolved more than $1 days ago, at most $2 rows.
WITH old AS (
  SELECT id FROM alerts WHERE status = 'resolved' AND resolved_at < now() - make_interval(days => $1)
  LIMIT $2 FOR UPDATE SKIP LOCKED)
DELETE FROM alerts a USING old WHERE a.id = old.id;

-- name: forget_sessions
-- Sessions that ended, or in which nothing was asked for $1 minutes, at most $2 rows.
WITH old AS (
  SELECT token_hash FROM operator_sessions
  WHERE expires_at < now() OR last_seen_at < now() - make_interval(mins => $1)
  LIMIT $2 FOR UPDATE SKIP LOCKED)
DELETE FROM operator_sessions s USING old WHERE s.token_hash = old.token_hash;

-- name: forget_enrolment_tokens
-- Tokens that expired or were revoked more than $1 days ago, at most $2 rows. One that is used up expires too,
-- and until then tells a server again what it was told.
WITH old AS (
  SELECT id FROM enrolment_tokens WHERE least(expires_at, revoked_at) < now() - make_interval(days => $1)
  LIMIT $2 FOR UPDATE SKIP LOCKED)
DELETE FROM enrolment_tokens t USING old WHERE t.id = old.id;
