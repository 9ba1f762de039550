-- name: fleet_stats
-- Figures of the whole fleet. Agents that are retired count in `by_status` alone, and of servers that share a
-- database the one heard last stands for all. Of each map the 50 largest are told, and what the others make up.
WITH living AS MATERIALIZED (
  SELECT agent_id, status, kind, version, os, coalesce(region, 'unknown') AS region, report, last_heartbeat_at
  FROM agents WHERE status <> 'retired'),
counted AS (
  SELECT CASE WHEN grouping(kind) = 0 THEN 'by_kind' WHEN grouping(version) = 0 THEN 'by_version'
    WHEN grouping(os) = 0 THEN 'by_os' ELSE 'by_region' END AS map,
    coalesce(kind, version, os, region) AS name, count(*) AS n
  FROM living GROUP BY GROUPING SETS ((kind), (version), (os), (region))),
ranked AS (
  SELECT map, name, n, row_number() OVER (PARTITION BY map ORDER BY n DESC, name) AS place FROM counted),
cut AS (
  SELECT map, CASE WHEN place <= 50 THEN name ELSE 'other' END AS name, sum(n)::bigint AS n, min(place) AS place
  FROM ranked GROUP BY 1, 2),
databases AS (
  SELECT DISTINCT ON (coalesce(report ->> 'database_id', agent_id::text)) report
  FROM living WHERE status = 'active'
  ORDER BY coalesce(report ->> 'database_id', agent_id::text), last_heartbeat_at DESC),
totals AS (
  SELECT sum((report ->> 'spaces')::numeric) AS spaces, sum((report ->> 'records')::numeric) AS records,
    sum((report ->> 'storage_bytes')::numeric) AS storage_bytes
  FROM databases)
SELECT
  (SELECT count(*) FROM living) AS total,
  (SELECT jsonb_object_agg(status, n) FROM (SELECT status, count(*) AS n FROM agents GROUP BY status) s) AS by_status,
  (SELECT jsonb_object_agg(map, names) FROM (
    SELECT map, jsonb_agg(jsonb_build_array(name, n) ORDER BY place) AS names FROM cut GROUP BY map) m) AS maps,
  (SELECT least(coalesce(sum((report ->> 'connections')::numeric), 0), 1e15)::bigint
   FROM living WHERE status = 'active') AS connections,
  least(coalesce(t.spaces, 0), 1e15)::bigint AS spaces, least(coalesce(t.records, 0), 1e15)::bigint AS records,
  least(coalesce(t.storage_bytes, 0), 1e18)::bigint AS storage_bytes,
  l.active AS licenses_active, l.expiring AS licenses_expiring, l.expired AS licenses_expired,
  a.open AS alerts_open, a.critical AS alerts_critical,
  (SELECT version FROM releases WHERE channel = 'stable' AND status = 'published'
   ORDER BY sort_key DESC LIMIT 1) AS latest_stable,
  now() AS at
FROM totals t,
  (SELECT count(*) FILTER (WHERE active AND (expires_at IS NULL OR expires_at > now())) AS active,
     count(*) FILTER (WHERE active AND expires_at > now() AND expires_at <= now() + interval '30 days') AS expiring,
     count(*) FILTER (WHERE active AND expires_at <= now()) AS expired
   FROM licenses) l,
  (SELECT count(*) AS open, count(*) FILTER (WHERE severity = 'critical') AS critical
   FROM alerts WHERE status = 'open') a;
