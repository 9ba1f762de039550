-- Forgets which record a file belongs to; going up again needs an empty files table.
DROP INDEX idx_files_record_id;
ALTER TABLE files DROP CONSTRAINT files_record_fk;
ALTER TABLE files DROP COLUMN record_id;
