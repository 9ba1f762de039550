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
