-- The keys are gone, and what they signed can be told from a forgery by nobody who asks here.
DROP TABLE issued_tokens;
DROP TABLE signing_keys;
