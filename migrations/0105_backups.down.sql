-- Only this project's server calls it; the existing servers do not notice.
DROP FUNCTION lsync_lock_file_v2(bigint, uuid, uuid);
