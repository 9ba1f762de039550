-- One position per space over records, members and files, so that one pull in one order delivers
-- all three and nothing is missed between separate counters.
ALTER TABLE spaces RENAME COLUMN sequence TO cursor;

-- An empty blob is a live record, so the tombstone gets a column of its own.
ALTER TABLE records RENAME COLUMN sequence TO cursor;
ALTER TABLE records ADD COLUMN deleted BOOLEAN NOT NULL DEFAULT FALSE;
UPDATE records SET deleted = TRUE WHERE blob IS NULL;
DROP INDEX idx_records_sync;
CREATE INDEX idx_records_sync ON records (space_id, cursor, id);

-- Rows of before keep cursor 0, which no pull delivers (`migrate repair-cursors` gives them one).
ALTER TABLE members RENAME COLUMN seq TO chain_seq;
ALTER TABLE members ADD COLUMN cursor BIGINT NOT NULL DEFAULT 0;
CREATE INDEX idx_members_cursor ON members (space_id, cursor);

DROP INDEX idx_files_space_dek;
ALTER TABLE files DROP CONSTRAINT files_size_positive;
ALTER TABLE files DROP CONSTRAINT files_wrapped_dek_length;
ALTER TABLE files DROP COLUMN file_seq;
ALTER TABLE files ADD COLUMN cursor BIGINT NOT NULL DEFAULT 0;
ALTER TABLE files ADD COLUMN deleted BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE files ADD CONSTRAINT files_not_deleted_check
    CHECK (deleted OR (size >= 0 AND wrapped_dek IS NOT NULL AND length(wrapped_dek) = 44));
DROP INDEX idx_files_space_id;
CREATE INDEX idx_files_space_cursor ON files (space_id, cursor);
