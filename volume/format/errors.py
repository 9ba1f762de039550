"""What can be wrong with bytes or texts of the format."""


class FormatError(ValueError):
    """Bytes or text that do not have the form they should. The message is what a client may be told."""


class DamagedNeedleError(FormatError):
    """A record whose bytes contradict each other: lengths beyond its end, or a wrong checksum."""


class SuperblockError(FormatError):
    """The head of a data file that is none, or of a version that nobody knows."""
