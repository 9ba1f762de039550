"""What `pip install less-sync` leaves out, said in words: the libraries of `server` and `volume`."""

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from less_sync.bins.errors import CommandError


@contextmanager
def server_parts(who: str) -> Iterator[None]:
    """Around imports that need the libraries of the server; `who` is the command that cannot do without.

    Raises:
        CommandError: one of them is not installed.
    """
    with _parts(f"{who} needs the server's parts: pip install 'less-sync[server]'"):
        _import_structlog()
        yield


def _import_structlog() -> None:
    """Load it without rich, which it would load for coloured tracebacks: no log of ours has any.

    It takes rich for something that may be missing. With it came a tenth of what a server loads.
    """
    if "rich" in sys.modules:
        import structlog
    else:
        sys.modules["rich"] = None  # type: ignore[assignment]  # the import system's word for "there is none"
        try:
            import structlog  # noqa: F401
        finally:
            del sys.modules["rich"]


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
