-- Versions of the servers that agents may be told to run. `sort_key` puts them in the order of SemVer 2.0.0 precedence
-- when it is compared byte by byte, hence the collation.
CREATE TABLE releases (
    version TEXT PRIMARY KEY,
    sort_key TEXT COLLATE "C" NOT NULL UNIQUE,
    channel TEXT NOT NULL CHECK (channel IN ('stable', 'beta', 'nightly')),
    status TEXT NOT NULL DEFAULT 'draft' CHECK (status IN ('draft', 'published', 'yanked')),
    notes TEXT NOT NULL DEFAULT '',
    min_upgrade_from TEXT,
    critical BOOLEAN NOT NULL DEFAULT FALSE,
    rollout_percent SMALLINT NOT NULL DEFAULT 100 CHECK (rollout_percent BETWEEN 0 AND 100),
    yanked_reason TEXT,
    created_by TEXT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    published_at TIMESTAMPTZ,
    yanked_at TIMESTAMPTZ
);
CREATE INDEX releases_latest_idx ON releases (channel, sort_key DESC) WHERE status = 'published';

-- One file per version and platform; its bytes are in the store of releases, under `object_key`.
CREATE TABLE release_artifacts (
    id UUID PRIMARY KEY,
    version TEXT NOT NULL REFERENCES releases (version),
    os TEXT NOT NULL,
    arch TEXT NOT NULL,
    object_key TEXT NOT NULL UNIQUE,
    filename TEXT NOT NULL,
    size_bytes BIGINT NOT NULL CHECK (size_bytes > 0),
    sha256 BYTEA NOT NULL CHECK (octet_length(sha256) = 32),
    manifest BYTEA NOT NULL,
    signature BYTEA NOT NULL CHECK (octet_length(signature) = 64),
    key_id TEXT NOT NULL,
    uploaded_at TIMESTAMPTZ,
    downloads BIGINT NOT NULL DEFAULT 0,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    UNIQUE (version, os, arch)
);
