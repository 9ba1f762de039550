-- name: sealed_samples
-- One kept secret of each column that has any, the newest, with the place it was sealed for.
(SELECT 'webhooks.secret:' || id AS place, secret AS sealed FROM webhooks ORDER BY created_at DESC, id LIMIT 1)
UNION ALL
(SELECT 'signing_keys.secret:' || kid, secret FROM signing_keys ORDER BY created_at DESC, kid LIMIT 1);
