-- Without `is_active` a key that was switched off counts as published again.
DROP INDEX federation_signing_keys_single_primary_idx;
ALTER TABLE federation_signing_keys DROP COLUMN deactivated_at;
ALTER TABLE federation_signing_keys DROP COLUMN is_primary;
ALTER TABLE federation_signing_keys DROP COLUMN is_active;
