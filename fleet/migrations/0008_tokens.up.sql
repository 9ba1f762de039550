-- The plane's own keys, their private halves encrypted before they come here. Keys that sign releases are not among
-- them: those never reach the plane.
CREATE TABLE signing_keys (
    kid TEXT PRIMARY KEY,
    purpose TEXT NOT NULL CHECK (purpose IN ('license', 'token', 'ssh')),
    public_key BYTEA NOT NULL CHECK (octet_length(public_key) = 32),
    secret BYTEA NOT NULL,
    is_primary BOOLEAN NOT NULL DEFAULT FALSE,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    retired_at TIMESTAMPTZ
);
CREATE UNIQUE INDEX signing_keys_primary_key ON signing_keys (purpose) WHERE is_primary;

CREATE TABLE issued_tokens (
    jti UUID PRIMARY KEY,
    subject TEXT NOT NULL,
    audience TEXT NOT NULL,
    scopes TEXT[] NOT NULL,
    kid TEXT NOT NULL,
    issued_by TEXT NOT NULL,
    issued_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    expires_at TIMESTAMPTZ NOT NULL,
    revoked_at TIMESTAMPTZ
);
CREATE INDEX issued_tokens_expiry_idx ON issued_tokens (expires_at);
