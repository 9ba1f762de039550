-- name: ping
-- Health check: does the database answer.
SELECT 1;

-- name: get_spaces
-- The spaces that exist among $1, in any order.
SELECT id, client_id, root_public_key, key_generation, min_key_generation, metadata_version, cursor,
       rewrap_epoch, home_server
FROM spaces WHERE id = ANY ($1::uuid[]);

-- name: create_space
-- Insert space $1 for client $2 with root key $3 (NULL: personal) and return it. No row: the id is taken.
-- The primary key decides between two that race; the loser writes nothing.
INSERT INTO spaces (id, client_id, root_public_key) VALUES ($1, $2, $3)
ON CONFLICT (id) DO NOTHING
RETURNING id, client_id, root_public_key, key_generation, min_key_generation, metadata_version, cursor,
          rewrap_epoch, home_server;

-- name: get_or_create_space
-- Space $1, created for client $2 without root key if it is missing.
SELECT id, client_id, root_public_key, key_generation, min_key_generation, metadata_version, cursor,
       rewrap_epoch, home_server
FROM lsync_space_v1($1, $2);
