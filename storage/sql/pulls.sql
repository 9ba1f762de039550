-- All of these read the entries of a space in the columns of `storage.types.PullRow`. A blob or payload longer
-- than a bound the caller passes comes as NULL with a negative kind (a record's length then stands in `n`), so
-- that no batch can be larger than its rows times that bound; the caller reads such values by themselves.
--
-- The conditions stand outside the UNION ALL: inside the branches PostgreSQL cannot use the order of the
-- index (space_id, cursor, id) and sorts the whole result, blobs included.
--
-- They are ordered by cursor alone, which every branch has an index for, and sessions forbid sorts, so the only
-- plan, whatever the statistics, merges three index scans. Within a cursor the records come in the order of
-- their index, by id; members and files have their cursor for themselves. With ORDER BY c, id PostgreSQL sorts
-- the whole result when it believes the space to be small.

-- name: pull_first
-- Space $1 and its entries above $2, at most $3, values up to $4 bytes, in one snapshot. No row: the space is
-- missing; one row with kind NULL: no entries. Tombstones are left out when $2 is 0.
SELECT e.k, e.c, e.id, e.b1, e.b2, e.b3, e.rid, e.n, e.del, s.cursor, s.key_generation, s.rewrap_epoch,
       s.root_public_key IS NOT NULL
FROM spaces s LEFT JOIN (
  SELECT CASE WHEN octet_length(b1) > $4 THEN -k ELSE k END AS k, c, id,
         CASE WHEN octet_length(b1) > $4 THEN NULL ELSE b1 END AS b1, b2, b3, rid, n, del
  FROM (
    SELECT r.space_id AS sp, 1::int2 AS k, r.cursor AS c, r.id, r.blob AS b1, r.wrapped_dek AS b2,
           NULL::bytea AS b3, NULL::uuid AS rid, NULL::bigint AS n, r.deleted AS del FROM records r
    UNION ALL
    SELECT m.space_id, 2::int2, m.cursor, NULL::uuid, m.payload, m.entry_hash,
           m.prev_hash, NULL::uuid, m.chain_seq::bigint, false FROM members m
    UNION ALL
    SELECT f.space_id, 3::int2, f.cursor, f.id, NULL::bytea, f.wrapped_dek,
           NULL::bytea, f.record_id, f.size, f.deleted FROM files f) u
  WHERE sp = $1 AND c > $2 AND ($2::bigint <> 0 OR NOT del)
  ORDER BY c LIMIT $3) e ON true
WHERE s.id = $1;

-- name: pull_meta
-- What a pull tells of space $1 before its entries.
SELECT cursor, key_generation, rewrap_epoch, root_public_key IS NOT NULL FROM spaces WHERE id = $1;

-- name: pull_bound
-- What a pull from a replica must have of space $1, told by the primary, and what its snapshot has, told by the
-- replica: as pull_meta, the version of the membership log, when the space was made, whether nobody has locked the
-- row since it was last changed, and whether a standby answers. A re-wrap locks the row and changes DEKs alone; who
-- changed the row may have locked it himself before, in the same transaction.
SELECT cursor, key_generation, rewrap_epoch, root_public_key IS NOT NULL AS shared, metadata_version, created_at,
       xmax = '0'::xid OR xmax = xmin AS settled, pg_is_in_recovery() AS standby
FROM spaces WHERE id = $1;

-- name: pull_first_of_replica
-- As pull_first, and after its columns the rest of pull_bound, in the same snapshot.
SELECT e.k, e.c, e.id, e.b1, e.b2, e.b3, e.rid, e.n, e.del, s.cursor, s.key_generation, s.rewrap_epoch,
       s.root_public_key IS NOT NULL, s.metadata_version, s.created_at,
       s.xmax = '0'::xid OR s.xmax = s.xmin, pg_is_in_recovery()
FROM spaces s LEFT JOIN (
  SELECT CASE WHEN octet_length(b1) > $4 THEN -k ELSE k END AS k, c, id,
         CASE WHEN octet_length(b1) > $4 THEN NULL ELSE b1 END AS b1, b2, b3, rid, n, del
  FROM (
    SELECT r.space_id AS sp, 1::int2 AS k, r.cursor AS c, r.id, r.blob AS b1, r.wrapped_dek AS b2,
           NULL::bytea AS b3, NULL::uuid AS rid, NULL::bigint AS n, r.deleted AS del FROM records r
    UNION ALL
    SELECT m.space_id, 2::int2, m.cursor, NULL::uuid, m.payload, m.entry_hash,
           m.prev_hash, NULL::uuid, m.chain_seq::bigint, false FROM members m
    UNION ALL
    SELECT f.space_id, 3::int2, f.cursor, f.id, NULL::bytea, f.wrapped_dek,
           NULL::bytea, f.record_id, f.size, f.deleted FROM files f) u
  WHERE sp = $1 AND c > $2 AND ($2::bigint <> 0 OR NOT del)
  ORDER BY c LIMIT $3) e ON true
WHERE s.id = $1;

-- name: is_standby
-- Whether this database only follows another.
SELECT pg_is_in_recovery();

-- name: identify_primary
-- Which cluster this is, and on which timeline it writes. An error on a standby: it writes on none.
SELECT system_identifier, ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int AS timeline
FROM pg_control_system();

-- name: identify_standby
-- Which cluster this is a copy of, the timeline it has followed until its last checkpoint, and whether it follows.
SELECT s.system_identifier, c.timeline_id AS timeline, pg_is_in_recovery() AS standby
FROM pg_control_system() s, pg_control_checkpoint() c;

-- name: pull_all
-- The entries of space $1 above cursor $2, values up to $4 bytes; tombstones unless $3 is 0. Read by a portal.
SELECT CASE WHEN octet_length(b1) > $4 THEN -k ELSE k END AS k, c, id,
       CASE WHEN octet_length(b1) > $4 THEN NULL ELSE b1 END AS b1, b2, b3, rid,
       CASE WHEN k = 1 AND octet_length(b1) > $4 THEN octet_length(b1) ELSE n END AS n, del
FROM (
  SELECT r.space_id AS sp, 1::int2 AS k, r.cursor AS c, r.id, r.blob AS b1, r.wrapped_dek AS b2,
         NULL::bytea AS b3, NULL::uuid AS rid, NULL::bigint AS n, r.deleted AS del FROM records r
  UNION ALL
  SELECT m.space_id, 2::int2, m.cursor, NULL::uuid, m.payload, m.entry_hash,
         m.prev_hash, NULL::uuid, m.chain_seq::bigint, false FROM members m
  UNION ALL
  SELECT f.space_id, 3::int2, f.cursor, f.id, NULL::bytea, f.wrapped_dek,
         NULL::bytea, f.record_id, f.size, f.deleted FROM files f) u
WHERE sp = $1 AND c > $2 AND ($3::bigint <> 0 OR NOT del)
ORDER BY c;

-- name: pull_page
-- As pull_all, but after the position cursor $2, id $5, up to cursor $6, at most $7 entries. A member has no
-- id and its cursor for itself, so it is left out at the cursor of the position, where it was sent.
SELECT CASE WHEN octet_length(b1) > $4 THEN -k ELSE k END AS k, c, id,
       CASE WHEN octet_length(b1) > $4 THEN NULL ELSE b1 END AS b1, b2, b3, rid,
       CASE WHEN k = 1 AND octet_length(b1) > $4 THEN octet_length(b1) ELSE n END AS n, del
FROM (
  SELECT r.space_id AS sp, 1::int2 AS k, r.cursor AS c, r.id, r.blob AS b1, r.wrapped_dek AS b2,
         NULL::bytea AS b3, NULL::uuid AS rid, NULL::bigint AS n, r.deleted AS del FROM records r
  UNION ALL
  SELECT m.space_id, 2::int2, m.cursor, NULL::uuid, m.payload, m.entry_hash,
         m.prev_hash, NULL::uuid, m.chain_seq::bigint, false FROM members m
  UNION ALL
  SELECT f.space_id, 3::int2, f.cursor, f.id, NULL::bytea, f.wrapped_dek,
         NULL::bytea, f.record_id, f.size, f.deleted FROM files f) u
WHERE sp = $1 AND c >= $2 AND (c, id) > ($2, $5::uuid) AND c <= $6 AND ($3::bigint <> 0 OR NOT del)
ORDER BY c LIMIT $7;

-- name: pull_legacy
-- The members and files of space $1 from before there were cursors, all at cursor 0, in order of kind, id and
-- chain_seq, after the position kind $3, id $4, number $5, at most $6; values up to $2 bytes. A file's row
-- counts as number 0. No record has cursor 0.
SELECT CASE WHEN octet_length(b1) > $2 THEN -k ELSE k END AS k, 0::bigint AS c, id,
       CASE WHEN octet_length(b1) > $2 THEN NULL ELSE b1 END AS b1, b2, b3, rid, n, del
FROM (
  SELECT 2::int2 AS k, NULL::uuid AS id, m.payload AS b1, m.entry_hash AS b2, m.prev_hash AS b3,
         NULL::uuid AS rid, m.chain_seq::bigint AS n, false AS del
  FROM members m WHERE m.space_id = $1 AND m.cursor = 0
  UNION ALL
  SELECT 3::int2, f.id, NULL::bytea, f.wrapped_dek, NULL::bytea, f.record_id, f.size, f.deleted
  FROM files f WHERE f.space_id = $1 AND f.cursor = 0) u
WHERE (u.k, coalesce(u.id, '00000000-0000-0000-0000-000000000000'), CASE WHEN u.k = 2 THEN u.n ELSE 0 END)
      > ($3::int2, $4::uuid, $5::bigint)
ORDER BY u.k, coalesce(u.id, '00000000-0000-0000-0000-000000000000'), CASE WHEN u.k = 2 THEN u.n ELSE 0 END
LIMIT $6;

-- name: pull_blobs
-- The blobs of records $2 of space $1 with the cursors they have now.
SELECT id, cursor, blob FROM records WHERE id = ANY ($2::uuid[]) AND space_id = $1;

-- name: pull_payload
-- The payload of entry $2 in the membership log of space $1.
SELECT payload FROM members WHERE space_id = $1 AND chain_seq = $2;
