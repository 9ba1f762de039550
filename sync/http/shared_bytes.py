"""Memory that many connections share a bound of."""


class SharedBytes:
    """Counts what connections hold together, `bytes_max` at most. For one event loop."""

    __slots__ = ("bytes_max", "taken")

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self.taken = 0

    def take(self, wanted: int) -> bool:
        """Count `wanted` bytes, unless that is more than is left; says whether it did."""
        if self.taken + wanted > self.bytes_max:
            return False
        self.taken += wanted
        return True

    def give_back(self, count: int) -> None:
        """Undo a `take`."""
        self.taken -= count
