"""The JavaScript client, run by Node against a real server."""
