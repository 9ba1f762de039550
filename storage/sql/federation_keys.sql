-- name: store_federation_key
-- Store signing key $1 (private half $2, public half $3), primary with $4, unless the primary is of host $5.
SELECT status, kid, public_key, signs FROM lsync_fed_key_v1($1, $2, $3, $4, $5);

-- name: promote_federation_key
-- Let key $1 sign and no other.
SELECT known FROM lsync_promote_fed_key_v1($1);

-- name: deactivate_federation_key
-- Take key $1 out of use; with $2 also the one that signs.
SELECT lsync_deactivate_fed_key_v1($1, $2) AS status;

-- name: list_federation_keys
-- All keys without their private halves, oldest first.
SELECT kid, public_key, created_at, is_active, is_primary, deactivated_at
FROM federation_signing_keys ORDER BY created_at, kid;

-- name: active_federation_keys
-- The keys in use, oldest first, with the private half of the one that signs.
SELECT kid, public_key, CASE WHEN is_primary THEN private_key END AS private_key
FROM federation_signing_keys WHERE is_active ORDER BY created_at, kid;
