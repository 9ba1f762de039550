-- Set while a new epoch has begun and its re-wrapping is not finished: a client that dies in
-- between leaves the fact behind, and no second epoch can begin over the first.
ALTER TABLE spaces ADD COLUMN rewrap_epoch INTEGER;
