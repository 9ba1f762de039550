"""What `pip install less-sync` leaves out, said in words: the libraries of `server` and `volume`."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from less_sync.bins.errors import CommandError


def server_parts(who: str) -> AbstractContextManager[None]:
    """Around imports that need the libraries of the server; `who` is the command that cannot do without.

    Raises:
        CommandError: one of them is not installed.
    """
    return _parts(f"{who} needs the server's parts: pip install 'less-sync[server]'")


def cluster_parts(what: str) -> AbstractContextManager[None]:
    """Around imports that need what several nodes talk by; `what` is the setting that asks for it.

    Raises:
        CommandError: one of them is not installed.
    """
    return _parts(f"{what} needs the parts of a cluster: pip install 'less-sync[server,cluster]'")


def volume_parts() -> AbstractContextManager[None]:
    """Around imports that need the libraries of the volume server.

    Raises:
        CommandError: one of them is not installed.
    """
    return _parts("the volume server needs its parts: pip install 'less-sync[volume]'")


@contextmanager
def _parts(advice: str) -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "less_sync":
            raise  # not a library: a fault of ours
        raise CommandError(advice) from error
