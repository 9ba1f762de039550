-- name: ping
-- Answered when the database can work.
SELECT 1;
