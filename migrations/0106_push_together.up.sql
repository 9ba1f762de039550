-- Pushes that need no check before they are written (docs/storage.md 4.1). What 0101 says holds here too. `lsync_push_v1`
-- stays: these two call it or stand beside it, and servers of the release before may run at the same time.

-- As `lsync_push_v1`, for many records, whose columns come packed: the driver takes longer to make arrays of them than
-- the server to decode them, and the executor would copy every blob twice more.
--
-- p_ids: 16 bytes a record. p_expected: the expected cursors, NULL when all are 0. p_blobs: all blobs end to end, and
-- p_sizes: the size of each, NULL for a tombstone. p_deks: 44 bytes a record, or NULL when there are none.
--
-- New records are inserted without looking whether they are there. The primary key finds that out anyway, and then the
-- insert alone is undone; what is there decides between 1 and 3. Cursors of the others are compared before. Statuses as
-- of `lsync_push_v1`.
CREATE FUNCTION lsync_push_v2(
  p_space uuid, p_ids bytea, p_expected bigint[], p_blobs bytea, p_sizes int[], p_deks bytea,
  p_client text DEFAULT NULL, p_cids text[] DEFAULT NULL, p_min_epoch bigint DEFAULT NULL, p_local_only boolean DEFAULT false,
  OUT status smallint, OUT new_cursor bigint, OUT key_gen int, OUT rewrap int, OUT file_ids uuid[], OUT file_records uuid[])
LANGUAGE plpgsql VOLATILE
SET search_path FROM CURRENT
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
DECLARE s record; v_n int := coalesce(cardinality(p_sizes), 0); v_old int := 0; v_met int; v_next bigint; v_ids uuid[]; v_starts int[];
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
  SELECT array_agg(c.id ORDER BY c.n), array_agg(c.start ORDER BY c.n) INTO v_ids, v_starts
    FROM (SELECT u.n, encode(substr(p_ids, u.n::int * 16 - 15, 16), 'hex')::uuid AS id,
                 (sum(u.size) OVER (ORDER BY u.n ROWS UNBOUNDED PRECEDING))::int - u.size + 1 AS start
          FROM unnest(p_sizes) WITH ORDINALITY AS u(size, n)) c;
  IF p_expected IS NOT NULL THEN
    SELECT count(*), count(*) FILTER (WHERE r.space_id = p_space AND r.cursor = c.e) INTO v_old, v_met
      FROM unnest(v_ids, p_expected) AS c(id, e)
      LEFT JOIN LATERAL (SELECT y.space_id, y.cursor FROM records y WHERE y.id = c.id LIMIT 1) r ON true
      WHERE c.e <> 0;
    IF v_met < v_old THEN status := 1; RETURN; END IF;
  END IF;
  v_next := s.cur + 1;
  IF v_old < v_n THEN
    BEGIN
      -- Sorted before the blobs are cut out: what is sorted is short.
      INSERT INTO records (id, space_id, blob, cursor, wrapped_dek, deleted)
        SELECT c.id, p_space, substr(p_blobs, c.start, c.size), v_next, substr(p_deks, c.n * 44 - 43, 44), c.size IS NULL
        FROM (SELECT u.id, u.start, u.size, u.n::int AS n
              FROM unnest(v_ids, v_starts, p_sizes, p_expected) WITH ORDINALITY AS u(id, start, size, e, n)
              WHERE u.e IS NULL OR u.e = 0 ORDER BY u.id OFFSET 0) c;
    EXCEPTION WHEN unique_violation THEN
      status := CASE WHEN EXISTS (
        SELECT 1 FROM unnest(v_ids, p_expected) AS c(id, e)
        CROSS JOIN LATERAL (SELECT y.space_id FROM records y WHERE y.id = c.id LIMIT 1) r
        WHERE coalesce(c.e, 0) = 0 AND r.space_id = p_space) THEN 1 ELSE 3 END;
      RETURN;
    END;
  END IF;
  IF v_old > 0 THEN
    UPDATE records r
      SET blob = substr(p_blobs, c.start, c.size), cursor = v_next, wrapped_dek = substr(p_deks, c.n::int * 44 - 43, 44),
          deleted = c.size IS NULL
      FROM unnest(v_ids, v_starts, p_sizes, p_expected) WITH ORDINALITY AS c(id, start, size, e, n)
      WHERE r.id = c.id AND c.e <> 0;
    IF array_position(p_sizes, NULL) IS NOT NULL THEN
      WITH d AS (DELETE FROM files f USING unnest(v_ids, p_sizes) AS c(id, size)
                 WHERE f.record_id = c.id AND f.space_id = p_space AND c.size IS NULL RETURNING f.id, f.record_id)
      SELECT array_agg(d.id), array_agg(d.record_id) INTO file_ids, file_records FROM d;
    END IF;
  END IF;
  UPDATE spaces x SET cursor = v_next WHERE x.id = p_space;
  new_cursor := v_next;
  status := 0;
END $$;

-- Pushes of one record each, of any spaces: one row of the answer each, in the order of the arrays, as so many calls of
-- `lsync_push_v1` would give. Spaces must stand in the order of their ids, pushes of one space as they came.
--
-- p_cids: the CIDs of each push, with commas between them; empty when no push has any. p_local_only: empty when none is.
-- p_expected: empty when all are 0. p_deks: empty when there are none.
--
-- Nearly always each of them can be written. So all are written at once: one update of the spaces, which takes their
-- locks in the order of their ids, one of the records, one insert. Whatever is not as it should be undoes that, locks
-- included, and then each is pushed by itself. What decides is read after the locks are there: the rows of the spaces
-- are those that the update wrote, cursors of records are compared by their update, and a record that is there already
-- is found by the primary key.
CREATE FUNCTION lsync_push_changes_v2(
  p_spaces uuid[], p_clients text[], p_cids text[], p_min_epochs bigint[], p_local_only boolean[],
  p_ids uuid[], p_expected bigint[], p_blobs bytea[], p_deks bytea[])
RETURNS TABLE (status smallint, new_cursor bigint, key_gen int, rewrap int, file_ids uuid[], file_records uuid[])
LANGUAGE plpgsql VOLATILE
SET search_path FROM CURRENT
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
DECLARE
  v_n int := cardinality(p_ids); v_old int := 0; v_met int; v_usual boolean := true;
  v_cursors bigint[]; v_key_gens int[]; v_rewraps int[];
BEGIN
  IF p_expected <> '{}' THEN
    -- A hint only, which keeps conflicts from being written and undone. A tombstone may take files along.
    SELECT count(*), count(*) FILTER (WHERE r.space_id = c.space AND r.cursor = c.e AND c.blob IS NOT NULL)
      INTO v_old, v_met
      FROM unnest(p_spaces, p_ids, p_expected, p_blobs) AS c(space, id, e, blob)
      LEFT JOIN LATERAL (SELECT y.space_id, y.cursor FROM records y WHERE y.id = c.id LIMIT 1) r ON true
      WHERE c.e <> 0;
    v_usual := v_met = v_old;
  END IF;
  IF v_usual THEN
    BEGIN
      WITH p AS (
        SELECT u.*, row_number() OVER (PARTITION BY u.space ORDER BY u.n) AS k
        FROM unnest(p_spaces, p_clients, p_min_epochs, p_local_only)
             WITH ORDINALITY AS u(space, client, min_epoch, local_only, n)),
      x AS (
        UPDATE spaces y SET cursor = y.cursor + c.pushes
        FROM (SELECT p.space, count(*) AS pushes FROM p GROUP BY p.space ORDER BY p.space) c
        WHERE y.id = c.space
        RETURNING y.id, y.cursor - c.pushes AS before, y.root_public_key IS NOT NULL AS shared, y.key_generation AS kg,
                  y.min_key_generation AS mkg, y.rewrap_epoch AS re, y.home_server AS hs)
      SELECT array_agg(x.before + p.k ORDER BY p.n), array_agg(x.kg ORDER BY p.n), array_agg(x.re ORDER BY p.n),
             count(*) = v_n AND NOT bool_or(
               x.shared AND (p.client IS NOT NULL OR (x.mkg > 1 AND coalesce(p.min_epoch < x.mkg, false)))
               OR coalesce(p.local_only, false) AND x.hs IS NOT NULL)
        INTO v_cursors, v_key_gens, v_rewraps, v_usual
        FROM p JOIN x ON x.id = p.space;
      IF v_usual AND p_cids <> '{}' THEN
        v_usual := NOT EXISTS (
          SELECT 1 FROM unnest(p_spaces, p_cids) AS c(space, cids) JOIN revocations v
            ON v.space_id = c.space AND v.ucan_cid = ANY (string_to_array(c.cids, ',')));
      END IF;
      IF v_usual AND v_old > 0 THEN
        UPDATE records r SET blob = c.blob, cursor = c.next, wrapped_dek = c.dek, deleted = c.blob IS NULL
          FROM unnest(p_spaces, p_ids, p_expected, p_blobs, p_deks, v_cursors) AS c(space, id, e, blob, dek, next)
          WHERE r.id = c.id AND r.space_id = c.space AND r.cursor = c.e AND c.e <> 0;
        GET DIAGNOSTICS v_met = ROW_COUNT;
        v_usual := v_met = v_old;
      END IF;
      IF NOT v_usual THEN RAISE SQLSTATE 'LS001'; END IF;
      IF v_old < v_n THEN
        INSERT INTO records (id, space_id, blob, cursor, wrapped_dek, deleted)
          SELECT c.id, c.space, c.blob, c.next, c.dek, c.blob IS NULL
          FROM unnest(p_ids, p_spaces, p_expected, p_blobs, p_deks, v_cursors) AS c(id, space, e, blob, dek, next)
          WHERE c.e IS NULL OR c.e = 0 ORDER BY c.id;
      END IF;
      RETURN QUERY SELECT 0::smallint, c.next, c.kg, c.re, NULL::uuid[], NULL::uuid[]
        FROM unnest(v_cursors, v_key_gens, v_rewraps) AS c(next, kg, re);
      RETURN;
    EXCEPTION WHEN unique_violation OR SQLSTATE 'LS001' THEN
      NULL;
    END;
  END IF;
  RETURN QUERY SELECT f.status, f.new_cursor, f.key_gen, f.rewrap, f.file_ids, f.file_records
    FROM unnest(p_spaces, p_clients, p_cids, p_min_epochs, p_local_only, p_ids, p_expected, p_blobs, p_deks)
         AS p(space, client, cids, min_epoch, local_only, id, e, blob, dek)
    CROSS JOIN LATERAL lsync_push_v1(
      p.space, ARRAY[p.id], ARRAY[coalesce(p.e, 0)], ARRAY[p.blob], ARRAY[p.dek], p.client, string_to_array(p.cids, ','),
      p.min_epoch, coalesce(p.local_only, false)) f;
END $$;
