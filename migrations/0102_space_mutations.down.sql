-- Only this project's server calls these; the existing servers do not notice.
DROP FUNCTION lsync_rate_take_v1(varchar, bpchar, int, int);
DROP FUNCTION lsync_revoke_v1(uuid, text, text, text[], boolean);
DROP FUNCTION lsync_complete_rewrap_v1(uuid, int, text, text[], boolean);
DROP FUNCTION lsync_advance_epoch_v1(uuid, int, boolean, text, text[], boolean);
DROP FUNCTION lsync_rewrap_v1(uuid, boolean, uuid[], bytea[], bigint, text, text[], boolean);
DROP FUNCTION lsync_append_member_v1(uuid, int, bytea, bytea, bytea, text, text[], boolean);
DROP FUNCTION lsync_lock_space_v1(uuid, text, text[], boolean);
