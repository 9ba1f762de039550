-- Of a key only the digest is kept, and a hint by which a person recognises it. `token` is the signed form that a server
-- can check by itself; `serial` grows with each change, so that a server knows the newer of two.
CREATE TABLE licenses (
    id UUID PRIMARY KEY,
    key_hash BYTEA NOT NULL UNIQUE CHECK (octet_length(key_hash) = 32),
    key_hint TEXT NOT NULL,
    customer TEXT NOT NULL,
    email TEXT,
    tier TEXT NOT NULL CHECK (tier IN ('community', 'team', 'business', 'enterprise')),
    features TEXT[] NOT NULL DEFAULT '{}',
    limits JSONB NOT NULL DEFAULT '{}',
    metadata JSONB NOT NULL DEFAULT '{}',
    active BOOLEAN NOT NULL DEFAULT TRUE,
    serial INTEGER NOT NULL DEFAULT 1,
    token TEXT NOT NULL,
    starts_at TIMESTAMPTZ NOT NULL,
    expires_at TIMESTAMPTZ,
    grace_days SMALLINT NOT NULL DEFAULT 14 CHECK (grace_days BETWEEN 0 AND 90),
    last_validated_at TIMESTAMPTZ,
    deactivated_at TIMESTAMPTZ,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT now()
);
CREATE INDEX licenses_page_idx ON licenses (created_at, id);
CREATE INDEX licenses_expiry_idx ON licenses (expires_at) WHERE active AND expires_at IS NOT NULL;

ALTER TABLE agents ADD CONSTRAINT agents_license_fk FOREIGN KEY (license_id) REFERENCES licenses (id);
CREATE INDEX agents_license_idx ON agents (license_id) WHERE status <> 'retired';
