-- What `doctor` asks of a database, which may be any: each of these works before a migration has run, too.

-- name: inspect_server
-- Which server this is, by its clock what time it is, and whether the way to it is encrypted.
SELECT current_setting('server_version_num')::int AS version, current_setting('server_version') AS named,
       extract(epoch FROM clock_timestamp())::float8 AS now_s, pg_is_in_recovery() AS standby,
       host(inet_server_addr()) AS address,
       (SELECT s.version FROM pg_stat_ssl s WHERE s.pid = pg_backend_pid() AND s.ssl) AS tls;

-- name: inspect_connections
-- How many connections may be open, are kept for others, are open, and which of those are ours ($1: their name).
SELECT current_setting('max_connections')::int AS most,
       current_setting('superuser_reserved_connections')::int
         + coalesce(current_setting('reserved_connections', true)::int, 0) AS kept,
       count(*) FILTER (WHERE a.backend_type = 'client backend') AS used,
       count(*) FILTER (WHERE a.application_name = $1 AND a.pid <> pg_backend_pid()) AS ours,
       (SELECT least(nullif(d.datconnlimit, -1), nullif(r.rolconnlimit, -1)) FROM pg_database d, pg_roles r
        WHERE d.datname = current_database() AND r.rolname = current_user) AS bound
FROM pg_stat_activity a;

-- name: inspect_rights
-- What this role may not do: of privileges $2 on the tables $1 that are there, of running functions, of making tables.
SELECT t.name || ': ' || p.name AS missing FROM unnest($1::text[]) AS t (name), unnest($2::text[]) AS p (name)
WHERE to_regclass(quote_ident(current_schema()) || '.' || quote_ident(t.name)) IS NOT NULL
  AND NOT has_table_privilege(quote_ident(current_schema()) || '.' || quote_ident(t.name), p.name)
UNION ALL
SELECT f.proname || ': EXECUTE' FROM pg_proc f
WHERE f.pronamespace = to_regnamespace(quote_ident(current_schema())) AND f.proname LIKE 'lsync\_%'
  AND NOT has_function_privilege(f.oid, 'EXECUTE')
UNION ALL
SELECT 'schema ' || current_schema() || ': CREATE'
WHERE NOT coalesce(has_schema_privilege(current_schema(), 'CREATE'), false)
ORDER BY missing;

-- name: inspect_tables
-- Of the tables $1: rows, dead rows, rows changed since they were analysed, and when that was.
SELECT relname AS name, n_live_tup AS live, n_dead_tup AS dead, n_mod_since_analyze AS changed,
       greatest(last_analyze, last_autoanalyze) AS analysed
FROM pg_stat_user_tables WHERE schemaname = current_schema() AND relname = ANY ($1::text[]) ORDER BY relname;

-- name: inspect_broken_indexes
-- Indexes of the tables $1 that no query uses: a build of theirs failed, or goes on.
SELECT c.relname AS name FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_class t ON t.oid = i.indrelid
WHERE t.relnamespace = to_regnamespace(quote_ident(current_schema())) AND t.relname = ANY ($1::text[])
  AND NOT (i.indisvalid AND i.indisready)
ORDER BY c.relname;

-- name: inspect_commonest_space
-- The space that most records belong to, as far as the statistics know. No row: nothing was analysed.
SELECT (most_common_vals::text::uuid[])[1] AS space FROM pg_stats
WHERE schemaname = current_schema() AND tablename = 'records' AND attname = 'space_id'
  AND most_common_vals IS NOT NULL;

-- name: inspect_table_there
-- Whether there is a table $1.
SELECT to_regclass(quote_ident(current_schema()) || '.' || quote_ident($1)) IS NOT NULL AS there;
