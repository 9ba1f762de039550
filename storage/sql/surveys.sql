-- What operators ask of a whole database. These statements read tables from end to end, or a sample of their pages:
-- $1 is mostly the percentage of pages that is read, and at 100 they count exactly. $2 to $3 is a range of ids that
-- is left out, where a server keeps a space of its own.

-- name: table_sizes
-- Tables among $1: bytes of rows, of their indexes and of all; rows written, changed and deleted since counting began.
SELECT c.relname AS name, pg_relation_size(c.oid) AS row_bytes, pg_indexes_size(c.oid) AS index_bytes,
       pg_total_relation_size(c.oid) AS total_bytes,
       pg_stat_get_tuples_inserted(c.oid) AS inserted, pg_stat_get_tuples_updated(c.oid) AS updated,
       pg_stat_get_tuples_deleted(c.oid) AS deleted
FROM pg_class c
WHERE c.relnamespace = to_regnamespace(quote_ident(current_schema())) AND c.relname = ANY ($1::text[])
  AND c.relkind IN ('r', 'p')
ORDER BY c.relname;

-- name: catalogue
-- Rows, bytes and the mean size of contents as of the last analyze, scaled to today's pages; and which database this is.
SELECT max(n) FILTER (WHERE relname = 'spaces') AS spaces, max(n) FILTER (WHERE relname = 'records') AS records,
       max(n) FILTER (WHERE relname = 'files') AS files, sum(pg_total_relation_size(oid))::bigint AS storage_bytes,
       max(CASE n WHEN 0 THEN 0 ELSE round(n * sizes.mean) END) FILTER (WHERE relname = 'files')::bigint AS file_bytes,
       CASE WHEN has_function_privilege('pg_control_system()', 'execute')
            THEN (SELECT system_identifier::text FROM pg_control_system()) END AS system,
       current_database()::text AS database, current_schema()::text AS schema
FROM (SELECT oid, relname,
             CASE WHEN pg_relation_size(oid) = 0 THEN 0 WHEN relpages > 0 AND reltuples >= 0
                  THEN round(reltuples::float8 / relpages * pg_relation_size(oid) / current_setting('block_size')::int)
                  END::bigint AS n
      FROM pg_class
      WHERE relnamespace = to_regnamespace(quote_ident(current_schema())) AND relkind = 'r') AS tables
LEFT JOIN (SELECT coalesce((SELECT sum(v * f) FROM unnest(most_common_vals::text::bigint[], most_common_freqs) AS common (v, f)), 0)
                + coalesce((SELECT avg(v) FROM unnest(histogram_bounds::text::bigint[]) AS other (v)), 0)
                * greatest(0, 1 - null_frac - coalesce((SELECT sum(f) FROM unnest(most_common_freqs) AS frequent (f)), 0)) AS mean
           FROM pg_stats WHERE schemaname = current_schema() AND tablename = 'files' AND attname = 'size') AS sizes ON true;

-- name: survey_spaces
-- How many spaces, shared ones, and ones whose home is elsewhere.
SELECT count(*) AS spaces, count(root_public_key) AS shared, count(home_server) AS elsewhere
FROM spaces TABLESAMPLE SYSTEM ($1) WHERE id NOT BETWEEN $2 AND $3;

-- name: survey_records
-- How many records, and tombstones among them; bytes of blobs and of DEKs.
SELECT count(*) AS records, count(*) FILTER (WHERE deleted) AS tombstones,
       coalesce(sum(octet_length(blob)), 0)::bigint AS blob_bytes,
       coalesce(sum(octet_length(wrapped_dek)), 0)::bigint AS dek_bytes
FROM records TABLESAMPLE SYSTEM ($1) WHERE space_id NOT BETWEEN $2 AND $3;

-- name: survey_files
-- How many files, and bytes of their contents as the rows tell them.
SELECT count(*) AS files, coalesce(sum(size), 0)::bigint AS content_bytes
FROM files TABLESAMPLE SYSTEM ($1) WHERE space_id NOT BETWEEN $2 AND $3;

-- name: survey_members
-- How many entries the membership logs have.
SELECT count(*) AS entries FROM members TABLESAMPLE SYSTEM ($1) WHERE space_id NOT BETWEEN $2 AND $3;

-- name: survey_revocations
-- How many UCANs are revoked.
SELECT count(*) AS revocations FROM revocations TABLESAMPLE SYSTEM ($1) WHERE space_id NOT BETWEEN $2 AND $3;

-- name: survey_invitations
-- How many invitations wait.
SELECT count(*) AS invitations, count(*) FILTER (WHERE expires_at < NOW()) AS expired
FROM invitations TABLESAMPLE SYSTEM ($1);

-- name: survey_own
-- Rows of the spaces that are left out, which have ids from $1 to $2 and few rows.
SELECT (SELECT count(*) FROM spaces WHERE id BETWEEN $1 AND $2) AS spaces,
       (SELECT count(*) FROM records WHERE space_id BETWEEN $1 AND $2) AS records;

-- name: spaces_by_weight
-- Spaces with ids from $6 to $7, heaviest first: by records if $4, else by bytes. $5 percent of the pages of files are
-- read, $1 of those of records. At most $8 spaces after the first $9.
SELECT s.id, coalesce(w.records, 0)::float8 AS records, coalesce(w.bytes, 0)::float8 AS bytes
FROM spaces s LEFT JOIN (
  SELECT u.space_id, sum(u.records) AS records, sum(u.bytes) AS bytes FROM (
    SELECT r.space_id, 100 / $1::float8 AS records,
           100 / $1::float8 * (coalesce(octet_length(r.blob), 0) + coalesce(octet_length(r.wrapped_dek), 0)) AS bytes
    FROM records r TABLESAMPLE SYSTEM ($1::float8::real)
    UNION ALL
    SELECT f.space_id, 0, 100 / $5::float8 * f.size FROM files f TABLESAMPLE SYSTEM ($5::float8::real)) u
  GROUP BY u.space_id) w ON w.space_id = s.id
WHERE s.id NOT BETWEEN $2 AND $3 AND s.id BETWEEN $6 AND $7
ORDER BY CASE WHEN $4::boolean THEN coalesce(w.records, 0) ELSE coalesce(w.bytes, 0) END DESC, s.id
LIMIT $8 OFFSET $9;

-- name: spaces_by_cursor
-- Spaces with ids from $3 to $4 but not from $1 to $2, those with most changes first; at most $5 after the first $6.
SELECT id FROM spaces WHERE id NOT BETWEEN $1 AND $2 AND id BETWEEN $3 AND $4
ORDER BY cursor DESC, id LIMIT $5 OFFSET $6;

-- name: spaces_by_age
-- As spaces_by_cursor, the youngest first.
SELECT id FROM spaces WHERE id NOT BETWEEN $1 AND $2 AND id BETWEEN $3 AND $4
ORDER BY created_at DESC, id LIMIT $5 OFFSET $6;

-- name: describe_spaces
-- What the spaces $1 hold, counted, in their order.
SELECT s.id, s.root_public_key IS NOT NULL AS shared, s.home_server AS home, s.cursor, s.created_at,
       r.records, r.tombstones, r.bytes AS record_bytes, f.files, f.bytes AS file_bytes,
       (SELECT count(*) FROM members m WHERE m.space_id = s.id) AS members,
       (SELECT count(*) FROM revocations v WHERE v.space_id = s.id) AS revocations
FROM unnest($1::uuid[]) WITH ORDINALITY AS asked (id, place)
JOIN spaces s ON s.id = asked.id
CROSS JOIN LATERAL (
  SELECT count(*) FILTER (WHERE NOT x.deleted) AS records, count(*) FILTER (WHERE x.deleted) AS tombstones,
         coalesce(sum(coalesce(octet_length(x.blob), 0) + coalesce(octet_length(x.wrapped_dek), 0)), 0)::bigint AS bytes
  FROM records x WHERE x.space_id = s.id) r
CROSS JOIN LATERAL (
  SELECT count(*) AS files, coalesce(sum(y.size), 0)::bigint AS bytes FROM files y WHERE y.space_id = s.id) f
ORDER BY asked.place;
