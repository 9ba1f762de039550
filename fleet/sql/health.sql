-- name: set_blind
-- When nobody listened for longer than $2 seconds before this run, silence until now counts for nobody.
UPDATE worker_state SET blind_until = now()
WHERE name = 'health' AND $1::timestamptz < now() - make_interval(secs => $2::float8);

-- name: count_silent
-- Agents there are, those that are active, those of them that are about to be so no longer, and all whose status
-- is about to change.
WITH blind AS (SELECT coalesce(max(blind_until), '-infinity') AS until FROM worker_state WHERE name = 'health'),
looked AS MATERIALIZED (
  SELECT status = 'active' AS active, status <> 'inactive' AND greatest(last_heartbeat_at, until)
    < now() - make_interval(secs => heartbeat_interval_seconds
      * CASE status WHEN 'active' THEN $1::float8 ELSE $2::float8 END) AS silent
  FROM agents, blind WHERE status <> 'retired')
SELECT count(*) AS living, count(*) FILTER (WHERE active) AS active,
  count(*) FILTER (WHERE active AND silent) AS leaving, count(*) FILTER (WHERE silent) AS silent
FROM looked;

-- name: go_on
-- Whether this transaction is the only one that sweeps this schema, and follows the claim, or the batch before it,
-- within $1 seconds; no row when not. The run counts as taken anew, so that a long one is not overtaken.
WITH locked AS MATERIALIZED (
  SELECT pg_try_advisory_xact_lock(hashtextextended(current_schema() || '.health', 0)) AS mine)
UPDATE worker_state SET last_run_at = now() FROM locked
WHERE locked.mine AND name = 'health' AND last_run_at > now() - make_interval(secs => $1::float8)
RETURNING TRUE;

-- name: sweep
-- At most $3 agents that were silent for too long, $1 and $2 intervals of their own. A row that a heartbeat holds
-- is left out, and one that is taken is looked at anew under its lock: no heartbeat that counted is overlooked.
WITH blind AS (SELECT coalesce(max(blind_until), '-infinity') AS until FROM worker_state WHERE name = 'health'),
seen AS (
  SELECT agent_id, status AS old,
    CASE WHEN greatest(last_heartbeat_at, until)
      < now() - make_interval(secs => heartbeat_interval_seconds * $2::float8) THEN 'inactive' ELSE 'stale' END AS new
  FROM agents, blind
  WHERE status IN ('active', 'stale') AND greatest(last_heartbeat_at, until)
    < now() - make_interval(secs => heartbeat_interval_seconds
      * CASE status WHEN 'active' THEN $1::float8 ELSE $2::float8 END)
  ORDER BY last_heartbeat_at LIMIT $3
  FOR NO KEY UPDATE OF agents SKIP LOCKED)
UPDATE agents a SET status = s.new, status_changed_at = now(), updated_at = now()
FROM seen s WHERE a.agent_id = s.agent_id
RETURNING a.agent_id, a.name, a.kind, a.version, s.old, s.new, a.last_heartbeat_at,
  extract(epoch FROM now() - a.last_heartbeat_at)::float8 AS silent_s;

-- name: calm_agents
-- Agents with a live alert of some kinds that was not seen again for an hour. One that is about to be seen again is
-- locked, and left out.
SELECT kind, subject_id FROM alerts
WHERE status <> 'resolved' AND subject_type = 'agent' AND kind = ANY($1::text[])
  AND last_seen_at < now() - interval '1 hour'
LIMIT $2 FOR NO KEY UPDATE SKIP LOCKED;
