"""What `pip install less-sync` leaves out, said in words: the libraries of the extra `server`."""

from collections.abc import Iterator
from contextlib import contextmanager

from less_sync.bins.errors import CommandError


@contextmanager
def server_parts(who: str) -> Iterator[None]:
    """Around imports that need the libraries of the server; `who` is the command that cannot do without.

    Raises:
        CommandError: one of them is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "less_sync":
            raise  # not a library: a fault of ours
        raise CommandError(f"{who} needs the server's parts: pip install 'less-sync[server]'") from error
