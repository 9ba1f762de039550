-- name: get_space_home
-- Where space $1 has its home; NULL: here.
SELECT home_server FROM spaces WHERE id = $1;

-- name: list_space_homes
-- The spaces whose home is elsewhere, and where.
SELECT id, home_server FROM spaces WHERE home_server IS NOT NULL ORDER BY id;

-- name: any_remote_home
-- Whether the home of any space is elsewhere.
SELECT EXISTS (SELECT 1 FROM spaces WHERE home_server IS NOT NULL) AS any_remote;

-- name: set_remote_home
-- Space $1 with root key $2 has its home at $3; made for client $4 if missing; $5 whatever it holds.
SELECT status, created FROM lsync_space_home_v1($1, $2, $3, $4, $5);

-- name: set_local_home
-- Space $1 has its home here. No row: there is no such space.
UPDATE spaces SET home_server = NULL WHERE id = $1 RETURNING id;
