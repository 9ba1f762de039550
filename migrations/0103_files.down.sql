-- Only this project's server calls these; the existing servers do not notice.
DROP FUNCTION lsync_record_file_v1(uuid, uuid, uuid, bigint, bytea, boolean, text, text[], boolean);
DROP FUNCTION lsync_lock_file_v1(bigint, uuid, uuid);
