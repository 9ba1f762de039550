-- Rows of files (docs/files.md 3). What 0101 and 0102 say of snapshots, locks, the search_path, planner settings
-- and version suffixes holds here too.

-- Take the lock of one file, until the transaction ends, and read its row as it is then (NULLs: there is none).
-- `p_key` is the number of the lock, made of space and file by the caller. The row is read by a statement of its
-- own, so it is that of whoever held the lock before. A content may be on its way to its store for long while this
-- transaction is idle: the session's limit is lifted for it.
CREATE FUNCTION lsync_lock_file_v1(
  p_key bigint, p_space uuid, p_file uuid,
  OUT record_id uuid, OUT size bigint, OUT wrapped_dek bytea, OUT cursor bigint)
LANGUAGE plpgsql VOLATILE
SET search_path FROM CURRENT
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off
AS $$
BEGIN
  PERFORM set_config('idle_in_transaction_session_timeout', '0', true);
  PERFORM pg_advisory_xact_lock(p_key);
  SELECT f.record_id, f.size, f.wrapped_dek, f.cursor INTO record_id, size, wrapped_dek, cursor
    FROM files f WHERE f.space_id = p_space AND f.id = p_file;
END $$;

-- Record a file whose content is stored. The record it belongs to must be in this space and live, which is looked
-- at under the lock of the space's row: a tombstone comes before, and the file is refused, or after, and finds it.
-- A row that is there is overwritten with `p_replace`, and else left alone without moving the cursor.
-- `replaced` tells that there was one. status: 1 the row is there, 4 no such live record.
CREATE FUNCTION lsync_record_file_v1(
  p_space uuid, p_file uuid, p_record uuid, p_size bigint, p_dek bytea, p_replace boolean,
  p_client text DEFAULT NULL, p_cids text[] DEFAULT NULL, p_local_only boolean DEFAULT false,
  OUT status smallint, OUT new_cursor bigint, OUT replaced boolean)
LANGUAGE plpgsql VOLATILE
SET search_path FROM CURRENT
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off
AS $$
DECLARE s record;
BEGIN
  SELECT * INTO s FROM lsync_lock_space_v1(p_space, p_client, p_cids, p_local_only);
  status := s.status; new_cursor := 0; replaced := false;
  IF status <> 0 THEN RETURN; END IF;
  PERFORM 1 FROM records r WHERE r.id = p_record AND r.space_id = p_space AND NOT r.deleted;
  IF NOT FOUND THEN status := 4; RETURN; END IF;
  PERFORM 1 FROM files f WHERE f.space_id = p_space AND f.id = p_file;
  replaced := FOUND;
  IF replaced AND NOT p_replace THEN status := 1; RETURN; END IF;
  new_cursor := s.cur + 1;
  INSERT INTO files (space_id, id, record_id, size, wrapped_dek, cursor)
    VALUES (p_space, p_file, p_record, p_size, p_dek, new_cursor)
    ON CONFLICT (space_id, id) DO UPDATE
      SET record_id = p_record, size = p_size, wrapped_dek = p_dek, cursor = excluded.cursor, deleted = false;
  UPDATE spaces x SET cursor = new_cursor WHERE x.id = p_space;
END $$;
