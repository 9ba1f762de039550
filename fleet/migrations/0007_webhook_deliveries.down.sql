-- What has not been delivered yet never will be.
DROP TABLE webhook_attempts;
DROP TABLE webhook_deliveries;
