-- A mutation is one call of one function: check and write happen under the lock of the space's row,
-- in one round trip. Each statement in a VOLATILE function sees what was committed before it began,
-- so what it reads after the lock is current; a single statement with CTEs would decide on the
-- snapshot taken before it waited for the lock, and lose updates.
--
-- The functions carry the search_path of the migration (several deployments may share a database)
-- and a version suffix: a changed function is a new name, so servers of two releases can run at once.

-- Push (docs/storage.md 4.1). Locks the row of the space FOR NO KEY UPDATE: excludes every other
-- writer of the space, those of the existing servers included, but not foreign-key checks.
-- The planner settings keep every lookup on the primary key, whatever the statistics say: a plan made
-- while the tables were empty stays with the session. Rows are inserted in id order so that two
-- spaces racing for the same ids cannot deadlock.
--
-- status: 0 written (or nothing to write), 1 conflict, 2 no such space, 3 an id belongs to another
-- space, 4 DEK epoch below the minimum, 5 a delegation is revoked, 6 the space's home is elsewhere,
-- 7 personal path, but the space is shared.
CREATE FUNCTION lsync_push_v1(
  p_space uuid, p_ids uuid[], p_expected bigint[], p_blobs bytea[], p_deks bytea[],
  p_client text DEFAULT NULL, p_cids text[] DEFAULT NULL, p_min_epoch bigint DEFAULT NULL, p_local_only boolean DEFAULT false,
  OUT status smallint, OUT new_cursor bigint, OUT key_gen int, OUT rewrap int, OUT file_ids uuid[], OUT file_records uuid[])
LANGUAGE plpgsql VOLATILE
SET search_path FROM CURRENT
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
DECLARE s record; v_n int := coalesce(cardinality(p_ids), 0); v_old int; v_bad int; v_foreign int; v_where uuid; v_at bigint;
BEGIN
  new_cursor := 0;
  LOOP
    SELECT x.cursor AS cur, x.root_public_key IS NOT NULL AS shared, x.key_generation AS kg,
           x.min_key_generation AS mkg, x.rewrap_epoch AS re, x.home_server AS hs
      INTO s FROM spaces x WHERE x.id = p_space FOR NO KEY UPDATE;
    EXIT WHEN FOUND;
    IF p_client IS NULL THEN status := 2; RETURN; END IF;
    INSERT INTO spaces (id, client_id) VALUES (p_space, p_client) ON CONFLICT (id) DO NOTHING;
  END LOOP;
  key_gen := s.kg; rewrap := s.re;
  IF p_client IS NOT NULL AND s.shared THEN status := 7; RETURN; END IF;
  IF p_cids IS NOT NULL AND EXISTS (SELECT 1 FROM revocations v WHERE v.space_id = p_space AND v.ucan_cid = ANY (p_cids)) THEN
    status := 5; RETURN; END IF;
  IF p_local_only AND s.hs IS NOT NULL THEN status := 6; RETURN; END IF;
  IF v_n = 0 THEN status := 0; new_cursor := s.cur; RETURN; END IF;
  IF s.shared AND s.mkg > 1 AND p_min_epoch < s.mkg THEN status := 4; RETURN; END IF;
  IF v_n = 1 THEN
    -- The commonest push by far: the same rules as below without building a set of one.
    v_old := (p_expected[1] <> 0)::int;
    SELECT y.space_id, y.cursor INTO v_where, v_at FROM records y WHERE y.id = p_ids[1];
    IF v_where = p_space THEN
      v_bad := (p_expected[1] = 0 OR v_at <> p_expected[1])::int; v_foreign := 0;
    ELSE
      v_bad := v_old; v_foreign := (v_where IS NOT NULL)::int;
    END IF;
  ELSE
    SELECT count(*) FILTER (WHERE c.e <> 0),
           count(*) FILTER (WHERE CASE WHEN r.space_id IS DISTINCT FROM p_space THEN c.e <> 0
                                       ELSE c.e = 0 OR r.cursor <> c.e END),
           count(*) FILTER (WHERE r.space_id <> p_space)
      INTO v_old, v_bad, v_foreign
      FROM unnest(p_ids, p_expected) AS c(id, e)
      LEFT JOIN LATERAL (SELECT y.space_id, y.cursor FROM records y WHERE y.id = c.id LIMIT 1) r ON true;
  END IF;
  IF v_bad > 0 THEN status := 1; RETURN; END IF;
  IF v_foreign > 0 THEN status := 3; RETURN; END IF;
  new_cursor := s.cur + 1;
  IF v_n = 1 AND v_old = 0 THEN
    INSERT INTO records (id, space_id, blob, cursor, wrapped_dek, deleted)
      VALUES (p_ids[1], p_space, p_blobs[1], new_cursor, p_deks[1], p_blobs[1] IS NULL);
  ELSIF v_n = 1 THEN
    UPDATE records r
      SET blob = p_blobs[1], cursor = new_cursor, wrapped_dek = p_deks[1], deleted = p_blobs[1] IS NULL
      WHERE r.id = p_ids[1];
  ELSIF v_old > 0 THEN
    UPDATE records r SET blob = c.b, cursor = new_cursor, wrapped_dek = c.d, deleted = c.b IS NULL
      FROM unnest(p_ids, p_expected, p_blobs, p_deks) AS c(id, e, b, d)
      WHERE r.id = c.id AND c.e <> 0;
  END IF;
  IF v_n > 1 AND v_old < v_n THEN
    INSERT INTO records (id, space_id, blob, cursor, wrapped_dek, deleted)
      SELECT c.id, p_space, c.b, new_cursor, c.d, c.b IS NULL
      FROM unnest(p_ids, p_expected, p_blobs, p_deks) AS c(id, e, b, d) WHERE c.e = 0 ORDER BY c.id;
  END IF;
  UPDATE spaces x SET cursor = new_cursor WHERE x.id = p_space;
  IF v_old > 0 AND array_position(p_blobs, NULL) IS NOT NULL THEN
    WITH d AS (DELETE FROM files f USING unnest(p_ids, p_blobs) AS c(id, b)
               WHERE f.record_id = c.id AND f.space_id = p_space AND c.b IS NULL RETURNING f.id, f.record_id)
    SELECT array_agg(d.id), array_agg(d.record_id) INTO file_ids, file_records FROM d;
  END IF;
  status := 0;
END $$;

-- The row of a space, created for `p_client` if there is none (docs/storage.md 5.1); with NULL nothing
-- is created, and a missing space is a row of NULLs. `created` tells the one caller that made the row.
-- The primary key settles the race; the loop ends because rows of `spaces` are never deleted, so a lost
-- race is followed by a select that finds the winner's row.
CREATE FUNCTION lsync_space_v1(
  p_space uuid, p_client text,
  OUT id uuid, OUT client_id text, OUT root_public_key bytea, OUT key_generation int, OUT min_key_generation int,
  OUT metadata_version int, OUT cursor bigint, OUT rewrap_epoch int, OUT home_server text, OUT created boolean)
LANGUAGE plpgsql VOLATILE
SET search_path FROM CURRENT
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
#variable_conflict use_column
BEGIN
  created := false;
  LOOP
    SELECT x.id, x.client_id, x.root_public_key, x.key_generation, x.min_key_generation, x.metadata_version, x.cursor,
           x.rewrap_epoch, x.home_server
      INTO id, client_id, root_public_key, key_generation, min_key_generation, metadata_version, cursor,
           rewrap_epoch, home_server
      FROM spaces x WHERE x.id = p_space;
    EXIT WHEN FOUND OR p_client IS NULL;
    INSERT INTO spaces (id, client_id) VALUES (p_space, p_client) ON CONFLICT (id) DO NOTHING;
    created := FOUND;
  END LOOP;
END $$;

-- Rate-limit rows are deleted by age; without this every clean-up reads the whole table.
CREATE INDEX idx_rate_limit_actions_created_at ON rate_limit_actions (created_at);
