-- name: lock_audit
-- Until the end of the transaction nobody else writes to the audit trail of this schema.
SELECT pg_advisory_xact_lock(hashtextextended(current_schema() || '.audit_log', 0));

-- name: last_audit
-- What the next row follows: its number, its time, the hash of the row before it (null: it is the first).
SELECT nextval(pg_get_serial_sequence('audit_log', 'id')) AS id, clock_timestamp() AS at,
  (SELECT hash FROM audit_log ORDER BY id DESC LIMIT 1) AS hash;

-- name: write_audit
-- Write a row of the audit trail.
INSERT INTO audit_log (id, at, actor, action, subject_type, subject_id, request_id, ip, detail, prev_hash, hash)
OVERRIDING SYSTEM VALUE VALUES ($1, $2, $3, $4, $5, $6, $7, $8::text::inet, $9, $10, $11);

-- name: audit
-- A page of the audit trail, newest first, filtered by what is not null.
SELECT * FROM audit_log
WHERE ($1::text IS NULL OR actor = $1) AND ($2::text IS NULL OR action = $2)
  AND ($3::text IS NULL OR subject_id = $3) AND ($4::timestamptz IS NULL OR at >= $4)
  AND ($5::bigint IS NULL OR id < $5) ORDER BY id DESC LIMIT $6;
