"""Secrets, masked by value at the only place where files are written (docs/validation.md 7.4)."""


class Redactor:
    """Knows every secret that the run read, made or received."""

    def __init__(self) -> None:
        self.known: dict[str, str] = {}
        """Name by value."""

    def add(self, name: str, value: str) -> None:
        """From now on this value is masked in whatever is written."""
        self.known[value] = name
