"""The admin listener and what it tells."""
