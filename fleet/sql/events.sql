-- name: write_events
-- Write events with one delivery per enabled webhook that asked for the type. The lock on the webhook's row
-- waits for whoever is deleting it and then leaves it out, so that a change never fails for that.
WITH told AS (
  INSERT INTO webhook_events (id, type, payload)
  SELECT * FROM unnest($1::text[], $2::text[], $3::bytea[])
  RETURNING id, type),
wanted AS (
  SELECT w.id AS webhook_id, told.id AS event_id FROM webhooks w JOIN told
    ON w.events && ARRAY[told.type, split_part(told.type, '.', 1) || '.*', '*']
  WHERE w.enabled FOR KEY SHARE OF w)
INSERT INTO webhook_deliveries (id, webhook_id, event_id)
SELECT gen_random_uuid(), webhook_id, event_id FROM wanted;
