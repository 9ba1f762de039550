-- Mailboxes must reach the server as `bpchar`, the type of the column, or no index is used: no casts of them. How
-- many invitations a mailbox holds is up to strangers, so a page reads its own rows alone, in the order of the
-- index (mailbox_id, created_at): ties of time come whole and are put in order of id afterwards. `IS TRUE`
-- keeps a condition out of the choice of an index, where the row is to be found by its key.

-- name: create_invitation
-- Leave payload $2 in mailbox $1 for seven days of 24 hours, whatever the session's zone does meanwhile.
INSERT INTO invitations (mailbox_id, payload, expires_at) VALUES ($1, $2, NOW() + interval '168 hours')
RETURNING id, payload, created_at, expires_at;

-- name: list_invitations
-- The oldest invitations of mailbox $1 that have not expired, at most $2, and none after their payloads have
-- reached $3 bytes.
SELECT p.id, p.payload, p.created_at, p.expires_at
FROM (SELECT i.id, i.payload, i.created_at, i.expires_at,
             sum(octet_length(i.payload)) OVER (ORDER BY i.created_at, i.id ROWS UNBOUNDED PRECEDING) AS total
      FROM (SELECT id, payload, created_at, expires_at FROM invitations
            WHERE mailbox_id = $1 AND expires_at > NOW()
            ORDER BY created_at FETCH FIRST ($2) ROWS WITH TIES) i) p
WHERE p.total - octet_length(p.payload) < $3::bigint
ORDER BY p.created_at, p.id LIMIT $2;

-- name: list_invitations_after
-- As list_invitations, those after invitation $4, which may have expired; none if it is not in mailbox $1.
SELECT p.id, p.payload, p.created_at, p.expires_at
FROM (SELECT i.id, i.payload, i.created_at, i.expires_at,
             sum(octet_length(i.payload)) OVER (ORDER BY i.created_at, i.id ROWS UNBOUNDED PRECEDING) AS total
      FROM (SELECT id, payload, created_at, expires_at FROM invitations
            WHERE mailbox_id = $1 AND expires_at > NOW()
              AND (created_at, id) > (
                (SELECT created_at FROM invitations WHERE id = $4 AND (mailbox_id = $1) IS TRUE), $4::uuid)
            ORDER BY created_at FETCH FIRST ($2) ROWS WITH TIES) i) p
WHERE p.total - octet_length(p.payload) < $3::bigint
ORDER BY p.created_at, p.id LIMIT $2;

-- name: get_invitation
-- Invitation $1 if it is in mailbox $2 and has not expired.
SELECT id, payload, created_at, expires_at FROM invitations
WHERE id = $1 AND (mailbox_id = $2) IS TRUE AND (expires_at > NOW()) IS TRUE;

-- name: delete_invitation
-- Delete invitation $1 if it is in mailbox $2, expired or not. A row: it was there.
DELETE FROM invitations WHERE id = $1 AND (mailbox_id = $2) IS TRUE RETURNING id;

-- name: purge_invitations
-- Delete up to $1 expired invitations, if nobody else does maintenance now ($2 is the lock's name): the lock is
-- the transaction's, which in autocommit is this statement. A row each.
DELETE FROM invitations WHERE ctid = ANY (ARRAY(
  SELECT ctid FROM invitations
  WHERE (SELECT pg_try_advisory_xact_lock(hashtextextended($2, 0))) AND expires_at < NOW()
  ORDER BY expires_at LIMIT $1))
RETURNING 1;
