-- Only this project's server calls these; the existing servers do not notice.
DROP INDEX idx_rate_limit_actions_created_at;
DROP FUNCTION lsync_space_v1(uuid, text);
DROP FUNCTION lsync_push_v1(uuid, uuid[], bigint[], bytea[], bytea[], text, text[], bigint, boolean);
