"""Databases and servers that a run starts and removes itself (docs/validation.md 6)."""


class Scratch:
    """What a run makes of the newest backup."""
