-- name: claim_run
-- Take a periodic run if it is due, and say when the one before it was taken (year 1 for the first ever); no
-- row when it is not due. The insert of a missing row and the lock on one that is there let one instance in. A run that
-- was taken in the future was taken before the clock was set back; a minute of it may be due to waiting for the lock.
INSERT INTO worker_state AS kept (name, last_run_at, owner, state)
VALUES ($1, now(), $3, jsonb_build_object('before', '0001-01-01T00:00:00Z'))
ON CONFLICT (name) DO UPDATE SET last_run_at = now(), owner = $3,
  state = kept.state || jsonb_build_object('before', kept.last_run_at)
WHERE kept.last_run_at <= now() - make_interval(secs => $2::float8) OR kept.last_run_at > now() + interval '1 minute'
RETURNING (state ->> 'before')::timestamptz;
