-- A re-wrap in progress would be forgotten.
ALTER TABLE spaces DROP COLUMN rewrap_epoch;
