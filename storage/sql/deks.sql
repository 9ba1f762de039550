-- The listings read a page each: entries above the position (cursor $2, id $3) up to cursor $4 (NULL: the one the
-- space has now), at most $5 entries, and none after their DEKs have reached $6 bytes: a DEK may be as
-- long as whoever pushed it liked. The lengths come from the rows' headers, so nothing is read to be left out.

-- name: record_deks
-- Space $1 (the row whose `client_id` is set; none: the space is missing) with those of the CIDs $7 that are
-- revoked there, and a page of its records' DEKs in order of cursor and id, tombstones included. One snapshot.
SELECT s.id, s.client_id, s.root_public_key, s.key_generation, s.min_key_generation, s.metadata_version, s.cursor,
       s.rewrap_epoch, s.home_server,
       ARRAY(SELECT v.ucan_cid FROM revocations v WHERE v.space_id = $1 AND v.ucan_cid = ANY ($7::text[])) AS revoked,
       NULL::uuid AS row_id, NULL::bytea AS dek, NULL::bigint AS row_cursor
FROM spaces s WHERE s.id = $1
UNION ALL
SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, p.id, p.wrapped_dek, p.cursor
FROM (SELECT r.id, r.wrapped_dek, r.cursor,
             sum(octet_length(r.wrapped_dek)) OVER (ORDER BY r.cursor, r.id ROWS UNBOUNDED PRECEDING) AS total
      FROM (SELECT id, wrapped_dek, cursor FROM records
            WHERE space_id = $1 AND cursor >= $2 AND (cursor, id) > ($2, $3::uuid)
              AND cursor <= coalesce($4::bigint, 9223372036854775807) AND wrapped_dek IS NOT NULL
            ORDER BY cursor, id LIMIT $5) r) p
WHERE p.total - octet_length(p.wrapped_dek) < $6::bigint;

-- name: file_deks
-- As record_deks, of its files. Their index has no id: files of one cursor, which only those from before there
-- were cursors share, come whole and are put in order afterwards.
SELECT s.id, s.client_id, s.root_public_key, s.key_generation, s.min_key_generation, s.metadata_version, s.cursor,
       s.rewrap_epoch, s.home_server,
       ARRAY(SELECT v.ucan_cid FROM revocations v WHERE v.space_id = $1 AND v.ucan_cid = ANY ($7::text[])) AS revoked,
       NULL::uuid AS row_id, NULL::bytea AS dek, NULL::bigint AS row_cursor
FROM spaces s WHERE s.id = $1
UNION ALL
SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, p.id, p.wrapped_dek, p.cursor
FROM (SELECT f.id, f.wrapped_dek, f.cursor,
             sum(octet_length(f.wrapped_dek)) OVER (ORDER BY f.cursor, f.id ROWS UNBOUNDED PRECEDING) AS total
      FROM (SELECT id, wrapped_dek, cursor FROM files
            WHERE space_id = $1 AND cursor >= $2 AND (cursor, id) > ($2, $3::uuid)
              AND cursor <= coalesce($4::bigint, 9223372036854775807)
            ORDER BY cursor FETCH FIRST ($5) ROWS WITH TIES) f) p
WHERE p.total - octet_length(p.wrapped_dek) < $6::bigint;

-- name: rewrap
-- Replace DEKs, all or none: $1 space, $2 whether of files, $3 ids (NULL: names none), $4 DEKs, $5 cursor up to
-- which the caller has read (NULL: not said), $6 client, $7 CIDs, $8 local only. The function authorises, checks
-- and writes under the lock of the space's row.
SELECT status, bad_epoch, missing, changed FROM lsync_rewrap_v1($1, $2, $3, $4, $5, $6, $7, $8);
