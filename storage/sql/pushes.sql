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

-- name: push_many
-- The same for many records, in packed columns: $2 ids of 16 bytes each, $3 expected cursors or none when all are 0,
-- $4 blobs end to end, $5 their sizes as the text of an array, $6 DEKs of 44 bytes each or NULL.
SELECT status, new_cursor, key_gen, rewrap, file_ids, file_records
FROM lsync_push_v2($1, $2, nullif($3::bigint[], '{}'), $4, $5::text::int[], $6, $7, $8, $9, $10);

-- name: push_changes
-- Pushes of one change each, written together; one row each in the order of the arrays. $1 spaces, $2 clients,
-- $3 CIDs with commas between them or none, $4 smallest epochs, $5 local only or none, $6 ids, $7 expected cursors or
-- none, $8 blobs, $9 DEKs or none. Ids and numbers come as the text of an array: the driver asks two abstract classes
-- about each element of an array that is neither text nor bytes.
SELECT status, new_cursor, key_gen, rewrap, file_ids, file_records
FROM lsync_push_changes_v2(
  $1::text::uuid[], $2, $3, $4::text::bigint[], $5, $6::text::uuid[], $7::text::bigint[], $8, $9);

-- name: push_packed
-- Any pushes in packed columns, one call of the function each, in the order of the arrays. $1 spaces, $2 clients,
-- $3 local only, $4 smallest epochs, $5/$6 first and last change, $7/$8 where the blobs begin, from 1, and their bytes,
-- $9/$10 first and last CID (last below first: none); of all pushes $11 ids, $12 expected cursors or none, $13 blobs,
-- $14 their sizes as the text of an array, $15 DEKs or NULL, $16 CIDs.
SELECT f.status, f.new_cursor, f.key_gen, f.rewrap, f.file_ids, f.file_records
FROM (SELECT $14::text::int[] AS sizes, nullif($12::bigint[], '{}') AS expected OFFSET 0) c
CROSS JOIN unnest($1::uuid[], $2::text[], $3::boolean[], $4::bigint[], $5::int[], $6::int[], $7::int[], $8::int[],
                  $9::int[], $10::int[])
     AS p(space, client, local_only, min_epoch, first, last, start, bytes, first_cid, last_cid)
CROSS JOIN LATERAL lsync_push_v2(
  p.space, substr($11::bytea, p.first * 16 - 15, (p.last - p.first + 1) * 16), c.expected[p.first:p.last],
  substr($13::bytea, p.start, p.bytes), c.sizes[p.first:p.last],
  substr($15::bytea, p.first * 44 - 43, (p.last - p.first + 1) * 44), p.client,
  CASE WHEN p.last_cid >= p.first_cid THEN ($16::text[])[p.first_cid:p.last_cid] END, p.min_epoch, p.local_only) f;

-- name: push_batch
-- Any pushes, one call of the function each, in the order of the arrays; one row each in that order.
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
