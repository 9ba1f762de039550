"""Several processes of the server, and the NATS between them, as real processes (`make test-cluster`)."""
