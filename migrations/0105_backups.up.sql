-- What a backup asks of files (docs/files.md 3.6). What 0103 says holds here too. `lsync_lock_file_v1` stays for
-- servers of the release before, which may run at the same time.

-- As `lsync_lock_file_v1`, and `held_by_backup` tells that a backup is under way. While it is false none can begin:
-- a backup holds this lock alone from before its snapshot to its end, and waits for whoever shares it. Asked before
-- the lock of the file, which may be long in coming: whoever waits for that one keeps backups out all the while, and
-- nobody who waits for a backup keeps the file.
CREATE FUNCTION lsync_lock_file_v2(
  p_key bigint, p_space uuid, p_file uuid,
  OUT record_id uuid, OUT size bigint, OUT wrapped_dek bytea, OUT cursor bigint, OUT held_by_backup boolean)
LANGUAGE plpgsql VOLATILE
SET search_path FROM CURRENT
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off
AS $$
BEGIN
  held_by_backup := NOT pg_try_advisory_xact_lock_shared(hashtextextended('less-sync:backup', 0));
  SELECT f.record_id, f.size, f.wrapped_dek, f.cursor INTO record_id, size, wrapped_dek, cursor
    FROM lsync_lock_file_v1(p_key, p_space, p_file) f;
END $$;
