"""What the admin listener serves: metrics, readiness, draining (docs/operations.md 12 and 13)."""
