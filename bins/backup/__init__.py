"""Copies of a server's database and contents of files in a folder (docs/operations.md 14)."""
