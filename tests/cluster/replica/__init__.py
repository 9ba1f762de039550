"""Pulls from real standbys (docs/scaling.md 5)."""
