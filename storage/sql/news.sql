-- What a node reads to know whether the news it has heard is all there is (docs/storage.md 7.7). Every one goes by an
-- index and is bounded by what it is asked for.

-- name: compare_spaces
-- Of the spaces that exist among $1: cursor, home, and how many revocations there are, which move no cursor.
SELECT s.id, s.cursor, s.home_server, (SELECT count(*) FROM revocations v WHERE v.space_id = s.id)
FROM spaces s WHERE s.id = ANY ($1::uuid[]);

-- name: news_between
-- Space $1 and its entries above cursor $2 up to cursor $3, at most $4, in one snapshot, in the columns of
-- `storage.types.PullRow` and behind them how many bytes all values have; where that is more than $5 no value comes.
-- Tombstones come too. No row: the space is missing; one row with kind NULL: no entries. A length is read without
-- the value, so nothing long is read in vain.
SELECT e.k, e.c, e.id, CASE WHEN e.total <= $5::bigint THEN e.b1 END, e.b2, e.b3, e.rid, e.n, e.del,
       s.cursor, s.key_generation, s.rewrap_epoch, e.total
FROM spaces s LEFT JOIN (
  SELECT f.*, sum(coalesce(octet_length(b1), 0) + coalesce(octet_length(b2), 0)) OVER () AS total
  FROM (
    SELECT k, c, id, b1, b2, b3, rid, n, del
    FROM (
      SELECT r.space_id AS sp, 1::int2 AS k, r.cursor AS c, r.id, r.blob AS b1, r.wrapped_dek AS b2,
             NULL::bytea AS b3, NULL::uuid AS rid, NULL::bigint AS n, r.deleted AS del FROM records r
      UNION ALL
      SELECT m.space_id, 2::int2, m.cursor, NULL::uuid, m.payload, m.entry_hash,
             m.prev_hash, NULL::uuid, m.chain_seq::bigint, false FROM members m
      UNION ALL
      SELECT f.space_id, 3::int2, f.cursor, f.id, NULL::bytea, f.wrapped_dek,
             NULL::bytea, f.record_id, f.size, f.deleted FROM files f) u
    WHERE sp = $1 AND c > $2 AND c <= $3
    ORDER BY c LIMIT $4) f) e ON true
WHERE s.id = $1;

-- name: revoked_among
-- Those of the pairs of space $1 and CID $2 that are revoked.
SELECT v.space_id, v.ucan_cid
FROM unnest($1::uuid[], $2::text[]) AS asked (space_id, ucan_cid)
JOIN revocations v ON v.space_id = asked.space_id AND v.ucan_cid = asked.ucan_cid;

-- name: invited_since
-- Invitations stored in the last $1 seconds by the database's clock, in any mailbox, after the position of expiry $2
-- and id $3, at most $4, with their age in seconds. They expire 168 hours after they were stored, and have an index
-- by that.
SELECT id, mailbox_id, expires_at,
       extract(epoch FROM NOW() + interval '168 hours' - expires_at)::float8
FROM invitations
WHERE expires_at > NOW() + interval '168 hours' - make_interval(secs => $1::float8)
  AND expires_at >= $2::timestamptz AND (expires_at, id) > ($2::timestamptz, $3::uuid)
ORDER BY expires_at, id LIMIT $4;
