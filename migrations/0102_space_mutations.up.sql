-- The other mutations of a space, as a push: authorise, check and write are one call of one function,
-- under the lock of the space's row, in one round trip. What 0101 says of snapshots, the search_path,
-- planner settings and version suffixes holds here too.
--
-- status of all of them: 0 done, 2 no such space, 5 a delegation of the caller is revoked, 6 the space's
-- home is elsewhere, 7 personal path, but the space is shared; 1, 3 and 4 are each function's own.

-- What every mutation begins with: lock the row of the space FOR NO KEY UPDATE, created for `p_client` if
-- there is none, and authorise. The row is locked whatever the status, unless that is 2. The lock excludes
-- every other writer of the space, those of the existing servers included, but not foreign-key checks; the
-- caller's next statement sees all that was committed before the lock was obtained. The planner's settings
-- are the calling function's.
-- `p_client` is given on the personal path alone, `p_cids` on the shared one.
CREATE FUNCTION lsync_lock_space_v1(
  p_space uuid, p_client text, p_cids text[], p_local_only boolean,
  OUT status smallint, OUT cur bigint, OUT version int, OUT kg int, OUT re int)
LANGUAGE plpgsql VOLATILE
SET search_path FROM CURRENT
AS $$
DECLARE v_shared boolean; v_home text;
BEGIN
  LOOP
    SELECT x.cursor, x.metadata_version, x.key_generation, x.rewrap_epoch, x.root_public_key IS NOT NULL, x.home_server
      INTO cur, version, kg, re, v_shared, v_home
      FROM spaces x WHERE x.id = p_space FOR NO KEY UPDATE;
    EXIT WHEN FOUND;
    IF p_client IS NULL THEN status := 2; RETURN; END IF;
    INSERT INTO spaces (id, client_id) VALUES (p_space, p_client) ON CONFLICT (id) DO NOTHING;
  END LOOP;
  status := CASE
    WHEN p_client IS NOT NULL AND v_shared THEN 7
    WHEN p_cids IS NOT NULL AND EXISTS (
      SELECT 1 FROM revocations v WHERE v.space_id = p_space AND v.ucan_cid = ANY (p_cids)) THEN 5
    WHEN p_local_only AND v_home IS NOT NULL THEN 6
    ELSE 0 END;
END $$;

-- Append one entry to the membership log (docs/storage.md 5.2). The version is compared before the chain.
-- `version` is the log's after the call, that of the entry if it was appended; 0 unless the row was read.
-- status: 1 `p_expected` is not the log's version, 3 `p_prev` is not the hash of the last entry.
CREATE FUNCTION lsync_append_member_v1(
  p_space uuid, p_expected int, p_prev bytea, p_hash bytea, p_payload bytea,
  p_client text DEFAULT NULL, p_cids text[] DEFAULT NULL, p_local_only boolean DEFAULT false,
  OUT status smallint, OUT chain_seq int, OUT new_cursor bigint, OUT version int)
LANGUAGE plpgsql VOLATILE
SET search_path FROM CURRENT
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off
AS $$
DECLARE s record; v_last record; v_prev bytea := nullif(p_prev, '');
BEGIN
  SELECT * INTO s FROM lsync_lock_space_v1(p_space, p_client, p_cids, p_local_only);
  status := s.status; chain_seq := 0; new_cursor := 0; version := coalesce(s.version, 0);
  IF status <> 0 THEN RETURN; END IF;
  IF s.version <> p_expected THEN status := 1; RETURN; END IF;
  SELECT m.chain_seq, m.entry_hash INTO v_last
    FROM members m WHERE m.space_id = p_space ORDER BY m.chain_seq DESC LIMIT 1;
  IF v_last.entry_hash IS DISTINCT FROM v_prev THEN status := 3; RETURN; END IF;
  chain_seq := coalesce(v_last.chain_seq, 0) + 1; new_cursor := s.cur + 1; version := s.version + 1;
  INSERT INTO members (space_id, chain_seq, prev_hash, entry_hash, payload, cursor)
    VALUES (p_space, chain_seq, v_prev, p_hash, p_payload, new_cursor);
  UPDATE spaces x SET cursor = new_cursor, metadata_version = version WHERE x.id = p_space;
END $$;

-- Replace wrapped DEKs of records, or of files, all or none (docs/storage.md 5.4); cursors do not move.
-- Ids must not repeat; a NULL id names no row. `bad_epoch`, `missing` and `changed` are the positions, from 1,
-- of the first DEK whose epoch is not the space's, of the first id without a row in this space, and of the
-- first row that was written after `p_read_cursor` and is not at the epoch yet. With `p_read_cursor`, rows
-- that are at the epoch already keep their DEK (docs/protocol.md 7.16). Rows are looked up by primary key.
-- status: 1 one of the positions is set, and nothing was written.
CREATE FUNCTION lsync_rewrap_v1(
  p_space uuid, p_files boolean, p_ids uuid[], p_deks bytea[], p_read_cursor bigint DEFAULT NULL,
  p_client text DEFAULT NULL, p_cids text[] DEFAULT NULL, p_local_only boolean DEFAULT false,
  OUT status smallint, OUT bad_epoch int, OUT missing int, OUT changed int)
LANGUAGE plpgsql VOLATILE
SET search_path FROM CURRENT
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off
SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
DECLARE s record; v_epoch bytea;
BEGIN
  SELECT * INTO s FROM lsync_lock_space_v1(p_space, p_client, p_cids, p_local_only);
  status := s.status;
  IF status <> 0 THEN RETURN; END IF;
  IF s.kg > 0 THEN v_epoch := int4send(s.kg); END IF;
  IF p_files THEN
    SELECT min(c.n) FILTER (WHERE substring(c.d, 1, 4) IS DISTINCT FROM v_epoch),
           min(c.n) FILTER (WHERE r.id IS NULL),
           min(c.n) FILTER (WHERE r.cursor > p_read_cursor AND substring(r.wrapped_dek, 1, 4) IS DISTINCT FROM v_epoch)
      INTO bad_epoch, missing, changed
      FROM unnest(p_ids, p_deks) WITH ORDINALITY AS c(id, d, n)
      LEFT JOIN LATERAL (SELECT f.id, f.cursor, f.wrapped_dek FROM files f
                         WHERE f.space_id = p_space AND f.id = c.id LIMIT 1) r ON true;
  ELSE
    SELECT min(c.n) FILTER (WHERE substring(c.d, 1, 4) IS DISTINCT FROM v_epoch),
           min(c.n) FILTER (WHERE r.space_id IS DISTINCT FROM p_space),
           min(c.n) FILTER (WHERE r.space_id = p_space AND r.cursor > p_read_cursor
                              AND substring(r.wrapped_dek, 1, 4) IS DISTINCT FROM v_epoch)
      INTO bad_epoch, missing, changed
      FROM unnest(p_ids, p_deks) WITH ORDINALITY AS c(id, d, n)
      LEFT JOIN LATERAL (SELECT y.space_id, y.cursor, y.wrapped_dek FROM records y
                         WHERE y.id = c.id LIMIT 1) r ON true;
  END IF;
  IF coalesce(bad_epoch, missing, changed) IS NOT NULL THEN status := 1; RETURN; END IF;
  IF p_files THEN
    UPDATE files f SET wrapped_dek = c.d
      FROM unnest(p_ids, p_deks) AS c(id, d)
      WHERE f.space_id = p_space AND f.id = c.id AND f.wrapped_dek IS DISTINCT FROM c.d
        AND (p_read_cursor IS NULL OR substring(f.wrapped_dek, 1, 4) IS DISTINCT FROM v_epoch);
  ELSE
    UPDATE records r SET wrapped_dek = c.d
      FROM unnest(p_ids, p_deks) AS c(id, d)
      WHERE r.id = c.id AND r.wrapped_dek IS DISTINCT FROM c.d
        AND (p_read_cursor IS NULL OR substring(r.wrapped_dek, 1, 4) IS DISTINCT FROM v_epoch);
  END IF;
END $$;

-- Move a space to the epoch after its current one and mark its re-wrapping as pending (docs/storage.md 5.3).
-- `current` and `rewrap` are the state after the call, which on a conflict is the one that decided.
-- status: 1 `p_epoch` is not the successor, or a re-wrapping is pending.
CREATE FUNCTION lsync_advance_epoch_v1(
  p_space uuid, p_epoch int, p_set_min boolean,
  p_client text DEFAULT NULL, p_cids text[] DEFAULT NULL, p_local_only boolean DEFAULT false,
  OUT status smallint, OUT current int, OUT rewrap int)
LANGUAGE plpgsql VOLATILE
SET search_path FROM CURRENT
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off
AS $$
DECLARE s record;
BEGIN
  SELECT * INTO s FROM lsync_lock_space_v1(p_space, p_client, p_cids, p_local_only);
  status := s.status; current := coalesce(s.kg, 0); rewrap := s.re;
  IF status <> 0 THEN RETURN; END IF;
  -- As bigint: the predecessor of the smallest integer must be a conflict, not an overflow.
  IF p_epoch::bigint - 1 <> s.kg OR s.re IS NOT NULL THEN status := 1; RETURN; END IF;
  UPDATE spaces x
    SET key_generation = p_epoch, rewrap_epoch = p_epoch,
        min_key_generation = CASE WHEN p_set_min THEN p_epoch ELSE x.min_key_generation END
    WHERE x.id = p_space;
  current := p_epoch; rewrap := p_epoch;
END $$;

-- Declare the re-wrapping of a space for an epoch complete (docs/storage.md 5.3). `stale` counts the DEKs of
-- records and files that carry another epoch than the space's; it is for logs alone and refuses nothing, so it
-- is counted before the lock is taken: in a large space that takes long enough to hold up its writers.
-- status: 1 this epoch's re-wrapping is not pending.
CREATE FUNCTION lsync_complete_rewrap_v1(
  p_space uuid, p_epoch int,
  p_client text DEFAULT NULL, p_cids text[] DEFAULT NULL, p_local_only boolean DEFAULT false,
  OUT status smallint, OUT stale bigint)
LANGUAGE plpgsql VOLATILE
SET search_path FROM CURRENT
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off
AS $$
DECLARE s record; v_epoch bytea;
BEGIN
  stale := 0;
  SELECT int4send(x.key_generation) INTO v_epoch FROM spaces x WHERE x.id = p_space AND x.rewrap_epoch = p_epoch;
  IF FOUND THEN
    SELECT (SELECT count(*) FROM records r WHERE r.space_id = p_space AND substring(r.wrapped_dek, 1, 4) <> v_epoch)
         + (SELECT count(*) FROM files f WHERE f.space_id = p_space AND substring(f.wrapped_dek, 1, 4) <> v_epoch)
      INTO stale;
  END IF;
  SELECT * INTO s FROM lsync_lock_space_v1(p_space, p_client, p_cids, p_local_only);
  status := s.status;
  IF status <> 0 THEN RETURN; END IF;
  IF s.re IS DISTINCT FROM p_epoch THEN status := 1; RETURN; END IF;
  UPDATE spaces x SET rewrap_epoch = NULL WHERE x.id = p_space;
END $$;

-- Revoke a delegation by its CID (docs/storage.md 5.5); again changes nothing. Under the lock of the space's
-- row, which every mutation checks revocations under: once this has returned, nobody writes by that CID.
CREATE FUNCTION lsync_revoke_v1(
  p_space uuid, p_cid text,
  p_client text DEFAULT NULL, p_cids text[] DEFAULT NULL, p_local_only boolean DEFAULT false,
  OUT status smallint)
LANGUAGE plpgsql VOLATILE
SET search_path FROM CURRENT
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off
AS $$
DECLARE s record;
BEGIN
  SELECT * INTO s FROM lsync_lock_space_v1(p_space, p_client, p_cids, p_local_only);
  status := s.status;
  IF status <> 0 THEN RETURN; END IF;
  INSERT INTO revocations (space_id, ucan_cid) VALUES (p_space, p_cid)
    ON CONFLICT (space_id, ucan_cid) DO NOTHING;
END $$;

-- Take one of `p_max` slots of an actor for an action in the last `p_window_s` seconds (docs/storage.md 5.7).
-- The transaction's advisory lock makes callers of one action and actor take turns; the next one's statements
-- see this one's row. By the clock, not by the transaction's start: that is before the wait for the lock.
-- `row_id` and `taken_at` name the row, so that the slot can be given back.
CREATE FUNCTION lsync_rate_take_v1(
  p_action varchar, p_hash bpchar, p_window_s int, p_max int,
  OUT taken boolean, OUT row_id tid, OUT taken_at timestamptz)
LANGUAGE plpgsql VOLATILE
SET search_path FROM CURRENT
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off
AS $$
DECLARE v_used int; v_now timestamptz;
BEGIN
  PERFORM pg_advisory_xact_lock(hashtextextended(p_action || p_hash, 0));
  v_now := clock_timestamp();
  SELECT count(*) INTO v_used
    FROM (SELECT 1 FROM rate_limit_actions a
          WHERE a.action = p_action AND a.actor_hash = p_hash
            AND a.created_at > v_now - make_interval(secs => p_window_s)
          LIMIT greatest(p_max, 0)) x;
  taken := v_used < p_max;
  IF taken THEN
    INSERT INTO rate_limit_actions AS a (action, actor_hash, created_at)
      VALUES (p_action, p_hash, v_now)
      RETURNING a.ctid, a.created_at INTO row_id, taken_at;
  END IF;
END $$;
