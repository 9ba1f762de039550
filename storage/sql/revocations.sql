-- name: revoke
-- Revoke a delegation: $1 space, $2 its CID, $3 client, $4 CIDs of the caller, $5 local only. The function
-- authorises and writes under the lock of the space's row.
SELECT lsync_revoke_v1($1, $2, $3, $4, $5) AS status;
