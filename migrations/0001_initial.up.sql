-- The tables everything else hangs on. A space owns its records, files and membership log, so
-- they go with it (ON DELETE CASCADE). `sequence` is the per-space position clients sync by.
CREATE TABLE spaces (
    id UUID PRIMARY KEY,
    client_id TEXT NOT NULL,
    root_public_key BYTEA,
    key_generation INTEGER NOT NULL DEFAULT 1,
    min_key_generation INTEGER NOT NULL DEFAULT 1,
    metadata_version INTEGER NOT NULL DEFAULT 0,
    sequence BIGINT NOT NULL DEFAULT 0,
    created_at TIMESTAMPTZ NOT NULL DEFAULT NOW(),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT NOW()
);

-- A row without blob is a tombstone: devices that were away must still learn of the deletion.
CREATE TABLE records (
    id UUID PRIMARY KEY,
    space_id UUID NOT NULL REFERENCES spaces (id) ON DELETE CASCADE,
    blob BYTEA,
    sequence BIGINT NOT NULL
);

-- A pull walks one space in order of sequence.
CREATE INDEX idx_records_sync ON records (space_id, sequence, id);

-- Content lives in the object store; here are its size and its wrapped key (always 44 bytes).
CREATE TABLE files (
    space_id UUID NOT NULL REFERENCES spaces (id) ON DELETE CASCADE,
    id UUID NOT NULL,
    size BIGINT NOT NULL,
    wrapped_dek BYTEA NOT NULL,
    file_seq BIGSERIAL,
    created_at TIMESTAMPTZ NOT NULL DEFAULT NOW(),
    PRIMARY KEY (space_id, id),
    CONSTRAINT files_size_positive CHECK (size >= 0),
    CONSTRAINT files_wrapped_dek_length CHECK (length(wrapped_dek) = 44)
);

CREATE INDEX idx_files_space_id ON files (space_id);
CREATE INDEX idx_files_created_at ON files (created_at);
CREATE INDEX idx_files_space_dek ON files (space_id, file_seq);

-- The hash-chained membership log; its payload is opaque to the server.
CREATE TABLE members (
    space_id UUID NOT NULL REFERENCES spaces (id) ON DELETE CASCADE,
    seq INTEGER NOT NULL,
    prev_hash BYTEA,
    entry_hash BYTEA NOT NULL,
    payload BYTEA NOT NULL,
    created_at TIMESTAMPTZ NOT NULL DEFAULT NOW(),
    PRIMARY KEY (space_id, seq)
);

CREATE OR REPLACE FUNCTION update_updated_at_column() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
    NEW.updated_at = NOW();
    RETURN NEW;
END;
$$;

CREATE TRIGGER spaces_updated_at BEFORE UPDATE ON spaces
    FOR EACH ROW EXECUTE FUNCTION update_updated_at_column();
