-- Keys are rotated: several are published, one signs, old ones are switched off but kept.
ALTER TABLE federation_signing_keys ADD COLUMN is_active BOOLEAN NOT NULL DEFAULT TRUE;
ALTER TABLE federation_signing_keys ADD COLUMN is_primary BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE federation_signing_keys ADD COLUMN deactivated_at TIMESTAMPTZ;

-- The oldest key has been signing so far.
UPDATE federation_signing_keys SET is_primary = TRUE
    WHERE kid = (SELECT kid FROM federation_signing_keys ORDER BY created_at, kid LIMIT 1);

CREATE UNIQUE INDEX federation_signing_keys_single_primary_idx
    ON federation_signing_keys ((is_primary)) WHERE is_primary = TRUE;
