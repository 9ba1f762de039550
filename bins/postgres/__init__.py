"""The embedded Postgres, and what is read from a database beside the server."""
