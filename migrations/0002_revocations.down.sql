-- Every revoked delegation becomes valid again.
DROP TABLE revocations;
