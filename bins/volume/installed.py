"""What `pip install less-sync` leaves out, said in words: the libraries of the extra `volume`."""

from collections.abc import Iterator
from contextlib import contextmanager

from less_sync.bins.errors import CommandError


@contextmanager
def volume_parts() -> Iterator[None]:
    """Around imports that need the libraries of the volume server.

    Raises:
        CommandError: one of them is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "less_sync":
            raise  # not a library: a fault of ours
        text = "the volume server needs its parts: pip install 'less-sync[volume]'"
        raise CommandError(text) from error
