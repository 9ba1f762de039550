-- name: write_test_event
-- An event for one webhook, whatever it asked for; tells the delivery.
WITH told AS (INSERT INTO webhook_events (id, type, payload) VALUES ($2, $3, $4) RETURNING id)
INSERT INTO webhook_deliveries (id, webhook_id, event_id) SELECT gen_random_uuid(), $1, id FROM told RETURNING id;

-- name: claim_deliveries
-- Lease due deliveries to one look ($1): at most $2, and at most $3 under way per webhook, of which $4 names the
-- webhook of each that this instance has under way already. One that is failing gets one at a time, behind
-- those that are well, so that receivers which answer late or never do not fill the batch. Two instances get
-- different rows: each skips what the other has locked, and sees the lease when it is committed.
WITH due AS (
  SELECT d.id FROM webhooks w CROSS JOIN LATERAL (
    SELECT id, next_attempt_at FROM webhook_deliveries
    WHERE webhook_id = w.id AND status = 'pending' AND next_attempt_at <= now() AND lease_until <= now()
    ORDER BY next_attempt_at
    LIMIT greatest(0, CASE WHEN w.first_failure_at IS NULL THEN $3::int ELSE 1 END
                      - (SELECT count(*) FROM unnest($4::uuid[]) AS busy (id) WHERE busy.id = w.id))
    FOR UPDATE SKIP LOCKED) d
  WHERE w.enabled AND (w.throttled_until IS NULL OR w.throttled_until <= now())
  ORDER BY w.first_failure_at IS NOT NULL, d.next_attempt_at LIMIT $2),
claimed AS (
  UPDATE webhook_deliveries d
  SET lease_owner = $1, lease_until = now() + interval '60 seconds', attempts = attempts + 1
  FROM due WHERE d.id = due.id
  RETURNING d.id, d.webhook_id, d.event_id, d.attempts)
SELECT c.*, e.type, e.payload, w.url, w.secret, extract(epoch FROM now())::float8 AS now_s,
  CASE WHEN w.previous_secret_until > now() THEN w.previous_secret END AS previous_secret
FROM claimed c JOIN webhooks w ON w.id = c.webhook_id JOIN webhook_events e ON e.id = c.event_id;

-- name: delivery_succeeded
-- Write a good result, if the lease ($2) is still the one of this attempt ($3); tells whether the webhook ($4) was
-- failing until now. It takes no lock on the webhook's row, which others take before the delivery's.
WITH done AS (
  UPDATE webhook_deliveries SET status = 'delivered', completed_at = now(), lease_owner = NULL,
    lease_until = '-infinity', last_status = $5, last_error = NULL, last_response = $6, last_duration_ms = $7
  WHERE id = $1 AND lease_owner = $2 AND attempts = $3 AND status = 'pending'
  RETURNING id, attempts)
INSERT INTO webhook_attempts (delivery_id, attempt, status, duration_ms) SELECT id, attempts, $5, $7 FROM done
RETURNING (SELECT first_failure_at IS NOT NULL FROM webhooks WHERE id = $4) AS failing;

-- name: delivery_failed
-- Write a bad result, if the lease ($2) is still the one of this attempt ($3): the next attempt comes in so many
-- seconds ($8), or never (null).
WITH done AS (
  UPDATE webhook_deliveries SET status = CASE WHEN $8::float8 IS NULL THEN 'dead' ELSE 'pending' END,
    completed_at = CASE WHEN $8::float8 IS NULL THEN now() END, lease_owner = NULL, lease_until = '-infinity',
    next_attempt_at = coalesce(now() + make_interval(secs => $8::float8), next_attempt_at),
    last_status = $4, last_error = $5, last_response = $6, last_duration_ms = $7
  WHERE id = $1 AND lease_owner = $2 AND attempts = $3 AND status = 'pending'
  RETURNING id, attempts)
INSERT INTO webhook_attempts (delivery_id, attempt, status, error, duration_ms)
SELECT id, attempts, $4, $5, $7 FROM done
RETURNING delivery_id;

-- name: all_deliveries_page
-- A page of deliveries, newest first.
SELECT d.*, e.type AS event_type FROM webhook_deliveries d JOIN webhook_events e ON e.id = d.event_id
WHERE ($2::timestamptz IS NULL OR (d.created_at, d.id) < ($2, $3::uuid))
  AND ($4::text IS NULL OR d.status = $4) AND ($5::text IS NULL OR e.type = $5)
  AND ($6::timestamptz IS NULL OR d.created_at >= $6)
ORDER BY d.created_at DESC, d.id DESC LIMIT $1;

-- name: deliveries_page
-- The same of one webhook ($7).
SELECT d.*, e.type AS event_type FROM webhook_deliveries d JOIN webhook_events e ON e.id = d.event_id
WHERE d.webhook_id = $7 AND ($2::timestamptz IS NULL OR (d.created_at, d.id) < ($2, $3::uuid))
  AND ($4::text IS NULL OR d.status = $4) AND ($5::text IS NULL OR e.type = $5)
  AND ($6::timestamptz IS NULL OR d.created_at >= $6)
ORDER BY d.created_at DESC, d.id DESC LIMIT $1;

-- name: delivery
-- One delivery with its event.
SELECT d.*, e.type AS event_type, e.payload FROM webhook_deliveries d JOIN webhook_events e ON e.id = d.event_id
WHERE d.id = $1;

-- name: attempts_of_delivery
-- Its last attempts, oldest first; a delivery that was sent again by hand has more than one with a number.
SELECT attempt, at, status, error, duration_ms FROM (
  SELECT * FROM webhook_attempts WHERE delivery_id = $1 ORDER BY id DESC LIMIT $2) AS last
ORDER BY id;

-- name: webhook_of_delivery
-- Whose delivery it is.
SELECT webhook_id FROM webhook_deliveries WHERE id = $1;

-- name: redeliver
-- Begin a delivery anew. The lease is taken from whoever holds it: what comes of that attempt counts no more.
UPDATE webhook_deliveries SET status = 'pending', attempts = 0, next_attempt_at = now(), completed_at = NULL,
  lease_owner = NULL, lease_until = '-infinity'
WHERE id = $1 RETURNING webhook_id;

-- name: has_dead_deliveries
-- Whether a webhook has deliveries that were given up.
SELECT EXISTS (SELECT FROM webhook_deliveries WHERE webhook_id = $1 AND status = 'dead');
