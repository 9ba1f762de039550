-- Every file belongs to a record, so that the record's tombstone can take its files along.
-- Files that exist already belong to no known record: the nil id is none, and the foreign key
-- refuses to adopt them.
ALTER TABLE files ADD COLUMN record_id UUID NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000';
ALTER TABLE files ALTER COLUMN record_id DROP DEFAULT;
ALTER TABLE files ADD CONSTRAINT files_record_fk FOREIGN KEY (record_id) REFERENCES records (id);

CREATE INDEX idx_files_record_id ON files (record_id);
