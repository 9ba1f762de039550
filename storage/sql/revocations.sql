-- name: revoke
-- Revoke a delegation: $1 space, $2 its CID, $3 client, $4 CIDs of the caller, $5 local only. The function
-- authorises and writes under the lock of the space's row.
SELECT lsync_revoke_v1($1, $2, $3, $4, $5) AS status;

-- name: tagged_revocations
-- Of the pairs of space $1 and tag $2, those with a revocation in the space whose CID, behind $3, has a SHA-256
-- that begins with the tag. Hashed here: a space may have any number of revocations.
SELECT asked.space_id, asked.tag
FROM unnest($1::uuid[], $2::bytea[]) AS asked (space_id, tag)
WHERE EXISTS (
    SELECT FROM revocations v
    WHERE v.space_id = asked.space_id
      AND substr(sha256($3::bytea || convert_to(v.ucan_cid, 'UTF8')), 1, length(asked.tag)) = asked.tag
);
