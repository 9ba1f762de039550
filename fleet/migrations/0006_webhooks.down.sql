-- Endpoints and their secrets are gone, and every event.
DROP TABLE webhook_events;
DROP TABLE webhooks;
