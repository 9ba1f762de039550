-- name: raise_alerts
-- Raise alerts, or count those that are live; `is_new` tells which were raised.
INSERT INTO alerts AS live (id, kind, severity, subject_type, subject_id, title, detail)
SELECT gen_random_uuid(), * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::jsonb[])
ON CONFLICT (kind, subject_type, subject_id) WHERE status <> 'resolved'
DO UPDATE SET occurrences = live.occurrences + 1, last_seen_at = now(), severity = excluded.severity,
  title = excluded.title, detail = excluded.detail
RETURNING live.*, xmax = 0 AS is_new;

-- name: resolve_alerts
-- Resolve the live alerts of some subjects, of all kinds or of some.
UPDATE alerts SET status = 'resolved', resolved_at = now(), resolved_by = $4
WHERE status <> 'resolved' AND subject_type = $2 AND subject_id = ANY($3::text[])
  AND ($1::text[] IS NULL OR kind = ANY($1))
RETURNING *;

-- name: alerts_page
-- Alerts, newest first.
SELECT * FROM alerts
WHERE status = ANY($1::text[]) AND ($2::text IS NULL OR severity = $2) AND ($3::text IS NULL OR kind = $3)
  AND ($4::text IS NULL OR subject_type = $4) AND ($5::text IS NULL OR subject_id = $5)
  AND ($6::timestamptz IS NULL OR raised_at >= $6)
  AND ($7::timestamptz IS NULL OR (raised_at, id) < ($7, $8::uuid))
ORDER BY raised_at DESC, id DESC LIMIT $9;

-- name: alerts_summary
-- How many there are; severities and kinds count those that are not resolved.
SELECT count(*) FILTER (WHERE status = 'open') AS open, count(*) FILTER (WHERE status = 'acknowledged') AS acknowledged,
  count(*) FILTER (WHERE status = 'resolved' AND resolved_at > now() - interval '1 day') AS resolved_24h,
  count(*) FILTER (WHERE status <> 'resolved' AND severity = 'info') AS info,
  count(*) FILTER (WHERE status <> 'resolved' AND severity = 'warning') AS warning,
  count(*) FILTER (WHERE status <> 'resolved' AND severity = 'critical') AS critical,
  (SELECT jsonb_object_agg(kind, n) FROM (
    SELECT kind, count(*) AS n FROM alerts WHERE status <> 'resolved' GROUP BY kind ORDER BY kind) k) AS by_kind,
  min(raised_at) FILTER (WHERE status = 'open') AS oldest_open_at
FROM alerts;

-- name: acknowledge_alert
-- An open alert is taken notice of; no row when it is not open.
UPDATE alerts SET status = 'acknowledged', acknowledged_at = now(), acknowledged_by = $2, note = $3
WHERE id = $1 AND status = 'open' RETURNING *;

-- name: resolve_alert
-- A live alert is over, as a person says; no row when it is not live.
UPDATE alerts SET status = 'resolved', resolved_at = now(), resolved_by = $2
WHERE id = $1 AND status <> 'resolved' RETURNING *;

-- name: alert
-- One alert.
SELECT * FROM alerts WHERE id = $1;
