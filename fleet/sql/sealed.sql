-- name: sealed_samples
-- One kept secret of each column that has any, the newest, with the place it was sealed for.
(SELECT 'webhooks.secret:' || id AS place, secret AS sealed FROM webhooks ORDER BY created_at DESC, id LIMIT 1)
UNION ALL
(SELECT 'signing_keys.secret:' || kid, secret FROM signing_keys ORDER BY created_at DESC, kid LIMIT 1);

-- name: sealed_values
-- Every kept secret behind a place, in the order of places: which column it is in, of which row.
SELECT kept.* FROM (
  SELECT 'webhooks.secret' AS place, id::text AS key, secret AS sealed FROM webhooks
  UNION ALL
  SELECT 'webhooks.previous_secret', id::text, previous_secret FROM webhooks WHERE previous_secret IS NOT NULL
  UNION ALL
  SELECT 'signing_keys.secret', kid, secret FROM signing_keys) kept
WHERE (kept.place, kept.key) > ($1, $2) ORDER BY kept.place, kept.key LIMIT $3;

-- name: reseal_webhook
-- Another text for the same secret, unless it has been exchanged meanwhile.
UPDATE webhooks SET secret = $3 WHERE id = $1::text::uuid AND secret = $2 RETURNING 1;

-- name: reseal_previous_webhook
-- The same for the one that still counts beside it.
UPDATE webhooks SET previous_secret = $3 WHERE id = $1::text::uuid AND previous_secret = $2 RETURNING 1;

-- name: reseal_signing_key
-- The same for the plane's own keys.
UPDATE signing_keys SET secret = $3 WHERE kid = $1 AND secret = $2 RETURNING 1;
