-- name: look_at_file
-- All that a request about file $2 of space $1 asks, in one snapshot and one row: the space (NULLs: missing), which
-- of the CIDs $3 are revoked in it, the file's row (NULLs: none), and whether record $4 is in the space and live.
SELECT s.id, s.client_id, s.root_public_key, s.key_generation, s.min_key_generation, s.metadata_version, s.cursor,
       s.rewrap_epoch, s.home_server,
       ARRAY(SELECT v.ucan_cid FROM revocations v WHERE v.space_id = $1 AND v.ucan_cid = ANY ($3::text[])) AS revoked,
       EXISTS (SELECT 1 FROM records r WHERE r.id = $4 AND r.space_id = $1 AND NOT r.deleted) AS live,
       f.record_id, f.size, f.wrapped_dek, f.cursor
FROM (SELECT $1::uuid AS space, $2::uuid AS file) AS asked
LEFT JOIN spaces s ON s.id = asked.space
LEFT JOIN files f ON f.space_id = asked.space AND f.id = asked.file;

-- name: lock_file
-- Take lock $1 of file $3 of space $2 for the rest of the transaction, and read the file's row (NULLs: none), and whether a
-- backup is under way.
SELECT record_id, size, wrapped_dek, cursor, held_by_backup FROM lsync_lock_file_v2($1, $2, $3);

-- name: still_there
-- Ask within a transaction whether it still stands: nothing else is of interest.
SELECT 1;

-- name: record_file
-- Record file $2 of space $1: $3 its record, $4 size, $5 wrapped DEK, $6 whether a row that is there is overwritten,
-- $7 client, $8 CIDs, $9 local only. Under the lock of the space's row, which the function takes first.
SELECT status, new_cursor, replaced FROM lsync_record_file_v1($1, $2, $3, $4, $5, $6, $7, $8, $9);

-- name: forget_file
-- Delete the row of file $2 of space $1 whose content is lost, if it is still the one of cursor $3.
DELETE FROM files WHERE space_id = $1 AND id = $2 AND cursor = $3 RETURNING id;

-- name: known_files
-- The pairs of space and file, of those in $1 and $2, that have a row.
SELECT f.space_id, f.id
FROM unnest($1::uuid[], $2::uuid[]) AS asked (space, file)
JOIN files f ON f.space_id = asked.space AND f.id = asked.file;
