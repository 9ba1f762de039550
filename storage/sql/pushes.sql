-- name: push
-- One push: $1 space, $2 ids, $3 expected cursors or none when all are 0, $4 blobs, $5 DEKs or none when there
-- are none, $6 client, $7 CIDs, $8 smallest epoch, $9 local only. The function checks and writes under the lock
-- of the space's row; where it unnests the columns together, DEKs that are not there are NULL.
SELECT status, new_cursor, key_gen, rewrap, file_ids, file_records
FROM lsync_push_v1(
  $1, $2, CASE WHEN $3::bigint[] = '{}' THEN array_fill(0::bigint, ARRAY[cardinality($2::uuid[])]) ELSE $3 END,
  $4, $5, $6, $7, $8, $9);

-- name: push_change
-- The same for a push of one change: $2 id, $3 expected cursor, $4 blob, $5 DEK. Arrays of one are made here,
-- since the driver takes longer to pack four of them than all the rest.
SELECT status, new_cursor, key_gen, rewrap, file_ids, file_records
FROM lsync_push_v1($1, ARRAY[$2::uuid], ARRAY[$3::bigint], ARRAY[$4::bytea], ARRAY[$5::bytea], $6, $7, $8, $9);

-- name: push_changes
-- Pushes of one change each on the personal path, one call of the function each, in the order of the arrays; one
-- row each in that order. $1 spaces, $2 clients, $3 smallest epochs, $4 ids, $5 expected cursors, $6 blobs, $7 DEKs.
SELECT f.status, f.new_cursor, f.key_gen, f.rewrap, f.file_ids, f.file_records
FROM unnest($1::uuid[], $2::text[], $3::bigint[], $4::uuid[], $5::bigint[], $6::bytea[], $7::bytea[])
     AS p(space, client, min_epoch, id, expected, blob, dek)
CROSS JOIN LATERAL lsync_push_v1(
  p.space, ARRAY[p.id], ARRAY[p.expected], ARRAY[p.blob], ARRAY[p.dek], p.client, NULL, p.min_epoch, false) f;

-- name: push_batch
-- Any pushes, otherwise the same.
-- $1 spaces, $2 clients, $3 local only, $4 smallest epochs, $5/$6 first and last change, $7/$8 first and last
-- CID (last below first: none), $9 ids, $10 expected cursors, $11 blobs, $12 DEKs, $13 CIDs, of all pushes.
SELECT f.status, f.new_cursor, f.key_gen, f.rewrap, f.file_ids, f.file_records
FROM unnest($1::uuid[], $2::text[], $3::boolean[], $4::bigint[], $5::int[], $6::int[], $7::int[], $8::int[])
     AS p(space, client, local_only, min_epoch, first, last, first_cid, last_cid)
CROSS JOIN LATERAL lsync_push_v1(
  p.space, ($9::uuid[])[p.first:p.last], ($10::bigint[])[p.first:p.last], ($11::bytea[])[p.first:p.last],
  ($12::bytea[])[p.first:p.last], p.client,
  CASE WHEN p.last_cid >= p.first_cid THEN ($13::text[])[p.first_cid:p.last_cid] END,
  p.min_epoch, p.local_only) f;
