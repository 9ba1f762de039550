-- Hashes must reach the server as `bpchar`, the type of the column, or no index is used: no casts of them.

-- name: take_rate
-- Take a slot of action $1 for actor $2 in a window of $3 seconds with $4 slots. The function counts and inserts
-- under an advisory lock of action and actor.
SELECT taken, row_id, taken_at FROM lsync_rate_take_v1($1, $2, $3, $4);

-- name: undo_rate
-- Give back the slot of action $1, actor $2 that is row $3 of time $4. No row: it has been cleaned up.
DELETE FROM rate_limit_actions WHERE ctid = $3 AND action = $1 AND actor_hash = $2 AND created_at = $4 RETURNING 1;

-- name: forget_slots
-- Delete the slots of action $1 and actor $2 from before $3. A row each.
DELETE FROM rate_limit_actions WHERE action = $1 AND actor_hash = $2 AND created_at < $3 RETURNING 1;

-- name: purge_rates
-- Delete up to $1 slots older than $3 seconds, if nobody else does maintenance now ($2, as in purge_invitations).
-- A row each. Not the last turn of a periodic task, one row each, which says when it was done: an interval may
-- be longer than the window.
DELETE FROM rate_limit_actions WHERE ctid = ANY (ARRAY(
  SELECT ctid FROM rate_limit_actions
  WHERE (SELECT pg_try_advisory_xact_lock(hashtextextended($2, 0)))
    AND created_at < NOW() - make_interval(secs => $3) AND action <> 'less-sync:turn'
  ORDER BY created_at LIMIT $1))
RETURNING 1;
