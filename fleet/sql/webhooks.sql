-- name: lock_webhooks
-- Until the end of the transaction nobody else of this schema makes or removes a webhook.
SELECT pg_advisory_xact_lock(hashtextextended(current_schema() || '.webhooks', 0));

-- name: count_webhooks
-- How many there are.
SELECT count(*) FROM webhooks;

-- name: add_webhook
-- Make one.
INSERT INTO webhooks (id, url, description, events, secret, enabled) VALUES ($1, $2, $3, $4, $5, $6)
RETURNING *;

-- name: webhooks_page
-- A page of them, oldest first.
SELECT * FROM webhooks WHERE $2::timestamptz IS NULL OR (created_at, id) > ($2, $3::uuid)
ORDER BY created_at, id LIMIT $1;

-- name: webhook
-- One of them.
SELECT * FROM webhooks WHERE id = $1;

-- name: lock_webhook
-- One of them, which nobody else changes before the end of the transaction. Who changes a webhook and its
-- deliveries takes the webhook's row first.
SELECT * FROM webhooks WHERE id = $1 FOR NO KEY UPDATE;

-- name: change_webhook
-- Set what is not null; enabling it forgets its failures.
UPDATE webhooks SET url = coalesce($2, url), events = coalesce($3::text[], events),
  description = coalesce($4, description), enabled = coalesce($5, enabled),
  disabled_reason = CASE WHEN $5 IS NULL THEN disabled_reason END,
  first_failure_at = CASE WHEN $5 THEN NULL ELSE first_failure_at END,
  throttled_until = CASE WHEN $5 THEN NULL ELSE throttled_until END,
  updated_at = now()
WHERE id = $1;

-- name: change_webhook_secret
-- Set a secret; the one before it goes on for some seconds, if there is one to go on.
UPDATE webhooks SET secret = $2, previous_secret = $3,
  previous_secret_until = CASE WHEN $3::bytea IS NOT NULL THEN now() + make_interval(secs => $4::float8) END,
  updated_at = now()
WHERE id = $1;

-- name: remove_webhook
-- Remove one with all its deliveries.
DELETE FROM webhooks WHERE id = $1 RETURNING id;

-- name: webhook_well
-- Forget its failures.
UPDATE webhooks SET first_failure_at = NULL WHERE id = $1 AND first_failure_at IS NOT NULL;

-- name: webhook_failed
-- Note a failed attempt: since when there was no good one, until when the webhook wants to be left alone ($2
-- seconds, or null), and whether it is disabled now: it is gone ($3), or has failed for five days. Tells the
-- reason if it was enabled until now.
WITH failed AS (
  SELECT id, CASE WHEN enabled AND $3::boolean THEN 'endpoint answered 410'
                  WHEN enabled AND first_failure_at <= now() - interval '5 days' THEN 'failing for 5 days' END AS reason
  FROM webhooks WHERE id = $1)
UPDATE webhooks w SET first_failure_at = coalesce(first_failure_at, now()),
  throttled_until = greatest(throttled_until, now() + make_interval(secs => $2::float8)),
  enabled = enabled AND reason IS NULL, disabled_reason = coalesce(reason, disabled_reason),
  updated_at = CASE WHEN reason IS NULL THEN updated_at ELSE now() END
FROM failed WHERE w.id = failed.id
RETURNING reason;
