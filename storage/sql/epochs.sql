-- name: advance_epoch
-- Begin an epoch: $1 space, $2 epoch, $3 whether it becomes the lowest accepted one, $4 client, $5 CIDs,
-- $6 local only. The function authorises, compares and sets under the lock of the space's row.
SELECT status, current, rewrap FROM lsync_advance_epoch_v1($1, $2, $3, $4, $5, $6);

-- name: complete_rewrap
-- End the re-wrapping for an epoch: $1 space, $2 epoch, $3 client, $4 CIDs, $5 local only. Under the same lock.
SELECT status, stale FROM lsync_complete_rewrap_v1($1, $2, $3, $4, $5);
