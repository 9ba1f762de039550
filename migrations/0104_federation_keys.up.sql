-- This server's signing keys, and which spaces have their home elsewhere (docs/storage.md 5.9 and 5.10). What 0101
-- and 0102 say of snapshots, locks, the search_path and version suffixes holds here too.

-- Whatever changes the keys takes turns under one advisory lock: at most one row may be primary, and without the lock
-- two first inserts would both want to be it. Readers take no lock.
CREATE FUNCTION lsync_lock_fed_keys_v1() RETURNS void
LANGUAGE sql VOLATILE
SET search_path FROM CURRENT
AS $$ SELECT pg_advisory_xact_lock(hashtextextended('less-sync:federation-keys', 0)) $$;

-- Let a key sign, and no other; one that was deactivated is active again. Nothing changes if there is none.
CREATE FUNCTION lsync_promote_fed_key_v1(p_kid text, OUT known boolean)
LANGUAGE plpgsql VOLATILE
SET search_path FROM CURRENT
AS $$
BEGIN
  PERFORM lsync_lock_fed_keys_v1();
  known := EXISTS (SELECT 1 FROM federation_signing_keys k WHERE k.kid = p_kid);
  IF NOT known THEN RETURN; END IF;
  -- Two statements: within one, the index could see the new primary before the old one is cleared.
  UPDATE federation_signing_keys k SET is_primary = false WHERE k.is_primary AND k.kid <> p_kid;
  UPDATE federation_signing_keys k SET is_primary = true, is_active = true, deactivated_at = NULL WHERE k.kid = p_kid;
END $$;

-- Store a key, active; a kid that is there keeps its row as it is. The new row is primary if no active one is, or with
-- `p_promote`. With `p_unless_host` nothing is stored when the active primary is a key of that host (lower case, with
-- its port unless that is 443), or has a kid that is no URL and so belongs to whatever host the server has.
-- status: 0 stored, 1 the kid is there, 2 such a primary is there. `kid`, `public_key` and `signs` are those of the
-- row that was stored or is there.
CREATE FUNCTION lsync_fed_key_v1(
  p_kid text, p_private bytea, p_public bytea, p_promote boolean, p_unless_host text DEFAULT NULL,
  OUT status smallint, OUT kid text, OUT public_key bytea, OUT signs boolean)
LANGUAGE plpgsql VOLATILE
SET search_path FROM CURRENT
AS $$
#variable_conflict use_column
DECLARE s record; v_first boolean;
BEGIN
  PERFORM lsync_lock_fed_keys_v1();
  SELECT k.kid, k.public_key INTO s FROM federation_signing_keys k WHERE k.is_primary AND k.is_active;
  v_first := NOT FOUND;
  IF NOT v_first AND p_unless_host IS NOT NULL AND (s.kid NOT LIKE '%://%' OR p_unless_host =
      regexp_replace(lower(substring(s.kid FROM '://([^/?#]*)')), '\.*(:443)*$', '')) THEN
    status := 2; kid := s.kid; public_key := s.public_key; signs := true; RETURN;
  END IF;
  SELECT k.kid, k.public_key, k.is_primary AND k.is_active AS signs INTO s
    FROM federation_signing_keys k WHERE k.kid = p_kid;
  IF FOUND THEN status := 1; kid := s.kid; public_key := s.public_key; signs := s.signs; RETURN; END IF;
  status := 0; kid := p_kid; public_key := p_public; signs := v_first OR p_promote;
  INSERT INTO federation_signing_keys (kid, private_key, public_key) VALUES (p_kid, p_private, p_public);
  IF signs THEN PERFORM lsync_promote_fed_key_v1(p_kid); END IF;
END $$;

-- Take a key out of use; its row stays. status: 0 done, 1 no such key, 2 it is the one that signs and `p_primary_too`
-- is not set. When the one that signs goes, none does.
CREATE FUNCTION lsync_deactivate_fed_key_v1(p_kid text, p_primary_too boolean, OUT status smallint)
LANGUAGE plpgsql VOLATILE
SET search_path FROM CURRENT
AS $$
DECLARE v_signs boolean;
BEGIN
  PERFORM lsync_lock_fed_keys_v1();
  SELECT k.is_primary AND k.is_active INTO v_signs FROM federation_signing_keys k WHERE k.kid = p_kid;
  status := CASE WHEN v_signs IS NULL THEN 1 WHEN v_signs AND NOT p_primary_too THEN 2 ELSE 0 END;
  IF status <> 0 THEN RETURN; END IF;
  UPDATE federation_signing_keys k SET is_active = false, is_primary = false, deactivated_at = now() WHERE k.kid = p_kid;
END $$;

-- Say that a shared space has its home at another server; the row is made, for `p_client`, if there is none. A row
-- whose space lives here is left alone, under the lock that every writer of the space takes: what it holds would be
-- out of everybody's reach. `p_force` does it all the same, and the rows stay.
-- status: 0 done, 1 there are records, members or files, 2 the space has no root key, 3 it has another one.
CREATE FUNCTION lsync_space_home_v1(
  p_space uuid, p_root_key bytea, p_home text, p_client text, p_force boolean,
  OUT status smallint, OUT created boolean)
LANGUAGE plpgsql VOLATILE
SET search_path FROM CURRENT
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
DECLARE v_key bytea;
BEGIN
  INSERT INTO spaces (id, client_id, root_public_key, home_server) VALUES (p_space, p_client, p_root_key, p_home)
    ON CONFLICT (id) DO NOTHING;
  created := FOUND; status := 0;
  IF created THEN RETURN; END IF;
  SELECT x.root_public_key INTO v_key FROM spaces x WHERE x.id = p_space FOR NO KEY UPDATE;
  status := CASE
    WHEN v_key IS NULL THEN 2
    WHEN v_key <> p_root_key THEN 3
    WHEN NOT p_force AND (
      EXISTS (SELECT 1 FROM records r WHERE r.space_id = p_space)
      OR EXISTS (SELECT 1 FROM members m WHERE m.space_id = p_space)
      OR EXISTS (SELECT 1 FROM files f WHERE f.space_id = p_space)) THEN 1
    ELSE 0 END;
  IF status = 0 THEN UPDATE spaces x SET home_server = p_home WHERE x.id = p_space; END IF;
END $$;

-- Which spaces those are: a few among many.
CREATE INDEX idx_spaces_home_server ON spaces (id) WHERE home_server IS NOT NULL;
