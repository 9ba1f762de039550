-- The private keys exist nowhere else.
ALTER TABLE spaces DROP COLUMN home_server;
DROP TABLE federation_signing_keys;
