-- One transaction runs these, in this order: files refer to records, and all of them to the space.

-- name: lock_space_to_purge
-- Take the row of space $1 until the transaction ends. Stronger than the lock of every write (docs/storage.md 3.2): it
-- also keeps out rows that refer to the space. No row: there is no such space.
SELECT id FROM spaces WHERE id = $1 FOR UPDATE;

-- name: purge_files
-- Delete the rows of the files of space $1.
DELETE FROM files WHERE space_id = $1;

-- name: purge_records
-- Delete the records of space $1, tombstones included.
DELETE FROM records WHERE space_id = $1;

-- name: purge_members
-- Delete the membership log of space $1.
DELETE FROM members WHERE space_id = $1;

-- name: purge_revocations
-- Delete what is revoked in space $1.
DELETE FROM revocations WHERE space_id = $1;

-- name: purge_space
-- Delete the row of space $1 itself.
DELETE FROM spaces WHERE id = $1;
