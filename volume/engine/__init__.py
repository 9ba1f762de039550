"""Volumes on disk: reading, appending, deleting, loading, repairing, compacting. One loop, no locks."""
