-- name: ping
-- Health check: does the database answer.
SELECT 1;

-- name: get_spaces
-- The spaces that exist among $1, in any order.
SELECT id, client_id, root_public_key, key_generation, min_key_generation, metadata_version, cursor,
       rewrap_epoch, home_server
FROM spaces WHERE id = ANY ($1::uuid[]);

-- name: read_spaces
-- The spaces that exist among $1, and a row for each pair of space $2 and CID $3 that is revoked there: its
-- `ucan_cid` is set and all but its id empty. One snapshot of both.
SELECT id, client_id, root_public_key, key_generation, min_key_generation, metadata_version, cursor,
       rewrap_epoch, home_server, NULL::text AS ucan_cid
FROM spaces WHERE id = ANY ($1::uuid[])
UNION ALL
SELECT v.space_id, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, v.ucan_cid
FROM unnest($2::uuid[], $3::text[]) AS asked (space_id, ucan_cid)
JOIN revocations v ON v.space_id = asked.space_id AND v.ucan_cid = asked.ucan_cid;

-- name: create_space
-- Insert space $1 for client $2 with root key $3 (NULL: personal) and home $4 (NULL: here) and return it. No row:
-- the id is taken. The primary key decides between two that race; the loser writes nothing.
INSERT INTO spaces (id, client_id, root_public_key, home_server) VALUES ($1, $2, $3, $4)
ON CONFLICT (id) DO NOTHING
RETURNING id, client_id, root_public_key, key_generation, min_key_generation, metadata_version, cursor,
          rewrap_epoch, home_server;

-- name: get_or_create_space
-- Space $1, created for client $2 without root key if it is missing.
SELECT id, client_id, root_public_key, key_generation, min_key_generation, metadata_version, cursor,
       rewrap_epoch, home_server
FROM lsync_space_v1($1, $2);
