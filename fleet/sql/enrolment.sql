-- name: add_enrolment_token
-- A token with which servers register for the first time.
INSERT INTO enrolment_tokens (id, token_hash, label, max_uses, labels, expires_at, created_by)
VALUES ($1, $2, $3, $4, $5, now() + make_interval(secs => $6::float8), $7)
RETURNING *;

-- name: enrolment_tokens_page
-- Enrolment tokens in the order in which they were made.
SELECT * FROM enrolment_tokens WHERE $1::timestamptz IS NULL OR (created_at, id) > ($1, $2::uuid)
ORDER BY created_at, id LIMIT $3;

-- name: revoke_enrolment_token
-- It counts no longer; once is enough.
UPDATE enrolment_tokens SET revoked_at = coalesce(revoked_at, now()) WHERE id = $1 RETURNING id, label;

-- name: lock_enrolment_token
-- A token that counts; until the end of the transaction nobody else registers with it.
SELECT * FROM enrolment_tokens WHERE id = $1 AND revoked_at IS NULL AND expires_at > now() FOR NO KEY UPDATE;

-- name: use_enrolment_token
-- One use of a locked token; no row when all are taken.
UPDATE enrolment_tokens SET uses = uses + 1 WHERE id = $1 AND uses < max_uses RETURNING uses;

-- name: license_exists
-- Whether there is such a licence.
SELECT EXISTS (SELECT FROM licenses WHERE id = $1);
