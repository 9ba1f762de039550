-- Only this project's server calls these; the existing servers do not notice.
DROP INDEX idx_spaces_home_server;
DROP FUNCTION lsync_space_home_v1(uuid, bytea, text, text, boolean);
DROP FUNCTION lsync_deactivate_fed_key_v1(text, boolean);
DROP FUNCTION lsync_fed_key_v1(text, bytea, bytea, boolean, text);
DROP FUNCTION lsync_promote_fed_key_v1(text);
DROP FUNCTION lsync_lock_fed_keys_v1();
