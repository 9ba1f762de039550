-- name: agent_of_token
-- The agent that a token is of, by its hash: its own, or the one before it for as long as that is good.
SELECT agent_id FROM agents
WHERE status <> 'retired'
  AND (token_hash = $1 OR (previous_token_hash = $1 AND previous_token_until > now()));

-- name: usable_enrolment_token
-- An enrolment token by its hash, while it is neither revoked nor expired. One that is used up is found: the
-- server it was used for may have lost the answer.
SELECT id FROM enrolment_tokens WHERE token_hash = $1 AND revoked_at IS NULL AND expires_at > now();

-- name: operator_of_session
-- Who has signed in, by the hash of the session's token. Its use is noted at most once a minute, or twice in the
-- time it may idle if that is less, so that use keeps it alive.
WITH used AS (
  UPDATE operator_sessions SET last_seen_at = now()
  WHERE token_hash = $1 AND expires_at > now() AND last_seen_at > now() - make_interval(mins => $2::int)
    AND last_seen_at < now() - make_interval(secs => least(60, $2 * 30)))
SELECT o.id, o.username, o.role FROM operator_sessions s JOIN operators o ON o.id = s.operator_id
WHERE s.token_hash = $1 AND s.expires_at > now() AND s.last_seen_at > now() - make_interval(mins => $2::int)
  AND NOT o.disabled;
