-- Back to one counter per kind. The cursors of files and members are lost; files keep their order.
DROP INDEX idx_files_space_cursor;
ALTER TABLE files DROP CONSTRAINT files_not_deleted_check;
DELETE FROM files WHERE deleted;
ALTER TABLE files ADD COLUMN file_seq BIGSERIAL;
UPDATE files f SET file_seq = o.n
    FROM (SELECT space_id, id, row_number() OVER (ORDER BY cursor, space_id, id) AS n FROM files) o
    WHERE f.space_id = o.space_id AND f.id = o.id;
SELECT setval('files_file_seq_seq', (SELECT coalesce(max(file_seq), 0) + 1 FROM files), false);
ALTER TABLE files DROP COLUMN deleted;
ALTER TABLE files DROP COLUMN cursor;
ALTER TABLE files ADD CONSTRAINT files_size_positive CHECK (size >= 0);
ALTER TABLE files ADD CONSTRAINT files_wrapped_dek_length CHECK (length(wrapped_dek) = 44);
CREATE INDEX idx_files_space_id ON files (space_id);
CREATE INDEX idx_files_space_dek ON files (space_id, file_seq);

DROP INDEX idx_members_cursor;
ALTER TABLE members DROP COLUMN cursor;
ALTER TABLE members RENAME COLUMN chain_seq TO seq;

-- Without `deleted` only a missing blob tells a tombstone.
DROP INDEX idx_records_sync;
UPDATE records SET blob = NULL WHERE deleted AND blob IS NOT NULL;
ALTER TABLE records DROP COLUMN deleted;
ALTER TABLE records RENAME COLUMN cursor TO sequence;
CREATE INDEX idx_records_sync ON records (space_id, sequence, id);

ALTER TABLE spaces RENAME COLUMN cursor TO sequence;
