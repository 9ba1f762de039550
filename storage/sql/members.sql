-- name: append_member
-- Append to the membership log: $1 space, $2 expected version, $3 previous hash, $4 entry hash, $5 payload,
-- $6 client, $7 CIDs, $8 local only. The function authorises, checks and writes under the lock of the space's row.
SELECT status, chain_seq, new_cursor, version FROM lsync_append_member_v1($1, $2, $3, $4, $5, $6, $7, $8);

-- name: list_members
-- Space $1 (the row whose `client_id` is set; none: the space is missing) with those of the CIDs $3 that are
-- revoked there, and the entries of its membership log after $2, ascending. One snapshot of all.
SELECT s.id, s.client_id, s.root_public_key, s.key_generation, s.min_key_generation, s.metadata_version, s.cursor,
       s.rewrap_epoch, s.home_server,
       ARRAY(SELECT v.ucan_cid FROM revocations v WHERE v.space_id = $1 AND v.ucan_cid = ANY ($3::text[])) AS revoked,
       NULL::int AS chain_seq, NULL::bigint AS entry_cursor, NULL::bytea AS prev_hash, NULL::bytea AS entry_hash,
       NULL::bytea AS payload
FROM spaces s WHERE s.id = $1
UNION ALL
SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, m.*
FROM (SELECT chain_seq, cursor, prev_hash, entry_hash, payload FROM members
      WHERE space_id = $1 AND chain_seq > $2 ORDER BY chain_seq) m;
