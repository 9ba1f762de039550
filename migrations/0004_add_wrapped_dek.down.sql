-- The wrapped keys exist nowhere else: no record can be decrypted afterwards.
ALTER TABLE records DROP COLUMN wrapped_dek;
