-- name: sign_in_state
-- What a password is checked against, by the name in lower case.
SELECT id, username, password_hash FROM operators WHERE lower(username) = $1;

-- name: sign_in
-- Let an operator in whose password was right, unless since it was looked up it was changed, or the account was
-- disabled or locked: the check took its time, and the row is what counts.
UPDATE operators SET failed_attempts = 0, locked_until = NULL, last_login_at = now()
WHERE id = $1 AND password_hash = $2 AND NOT disabled AND (locked_until IS NULL OR locked_until <= now())
RETURNING id, username, role;

-- name: sign_in_failed
-- Count a wrong password, and lock the account from the fifth in a row on: for a minute, then twice as long each
-- time, an hour at most. What is locked is not counted on, or a stranger could keep it locked for ever. The
-- commit is not waited for: its time would tell that there is such an operator.
WITH quick AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true) AS set)
UPDATE operators SET failed_attempts = least(failed_attempts + 1, 1000),
  locked_until = CASE WHEN failed_attempts + 1 >= 5
    THEN now() + least(interval '1 minute' * power(2, least(failed_attempts + 1 - 5, 6)), interval '1 hour') END
FROM quick WHERE quick.set IS NOT NULL AND id = $1 AND (locked_until IS NULL OR locked_until <= now())
RETURNING username, locked_until;

-- name: begin_session
-- A session, which ends after so many hours at the latest.
INSERT INTO operator_sessions (token_hash, operator_id, expires_at, ip, user_agent)
VALUES ($1, $2, now() + make_interval(hours => $3::int), $4::text::inet, $5) RETURNING expires_at;

-- name: session
-- When a session ends at the latest, with its operator.
SELECT s.expires_at, o.id, o.username, o.role
FROM operator_sessions s JOIN operators o ON o.id = s.operator_id WHERE s.token_hash = $1;

-- name: end_session
-- End one session.
DELETE FROM operator_sessions WHERE token_hash = $1 RETURNING operator_id;

-- name: end_sessions
-- End all sessions of an operator.
DELETE FROM operator_sessions WHERE operator_id = $1;

-- name: operators
-- A page of operators, oldest first.
SELECT id, username, role, disabled, last_login_at, created_at FROM operators
WHERE $1::timestamptz IS NULL OR (created_at, id) > ($1, $2::uuid) ORDER BY created_at, id LIMIT $3;

-- name: operator
-- One operator, locked against a sign-in.
SELECT id, username, role, disabled FROM operators WHERE id = $1 FOR UPDATE;

-- name: username
-- What an operator is called, who may be gone.
SELECT username FROM operators WHERE id = $1;

-- name: lock_operators
-- Until the end of the transaction nobody else changes or removes operators of this schema: of two who remove
-- each other one waits, and then sees what the other has left.
SELECT pg_advisory_xact_lock(hashtextextended(current_schema() || '.operators', 0));

-- name: admins
-- All enabled admins.
SELECT id FROM operators WHERE role = 'admin' AND NOT disabled;

-- name: create_operator
-- A new operator; no row when the name is taken.
INSERT INTO operators (id, username, password_hash, role) VALUES (gen_random_uuid(), $1, $2, $3)
ON CONFLICT (lower(username)) DO NOTHING RETURNING id, username, role, disabled, last_login_at;

-- name: change_operator
-- Change what is not null; a new password unlocks.
UPDATE operators SET role = coalesce($2, role), disabled = coalesce($3, disabled),
  password_hash = coalesce($4, password_hash),
  failed_attempts = CASE WHEN $4 IS NULL THEN failed_attempts ELSE 0 END,
  locked_until = CASE WHEN $4 IS NULL THEN locked_until END, updated_at = now()
WHERE id = $1 RETURNING id, username, role, disabled, last_login_at;

-- name: delete_operator
-- Remove an operator; the sessions go along.
DELETE FROM operators WHERE id = $1;
