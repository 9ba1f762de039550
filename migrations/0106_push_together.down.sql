-- Only this project's server calls these; the existing servers do not notice.
DROP FUNCTION lsync_push_changes_v2(uuid[], text[], text[], bigint[], boolean[], uuid[], bigint[], bytea[], bytea[]);
DROP FUNCTION lsync_push_v2(uuid, bytea, bigint[], bytea, int[], bytea, text, text[], bigint, boolean);
