"""less-sync: a local-first, end-to-end-encrypted sync server and its Python client.

The rooms lie beside this folder and are linked into it, so `less_sync.ROOM` is their only name.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

if not Path(__file__).with_name("auth").is_dir():
    raise ImportError(
        "less_sync/auth is a text file where a symbolic link belongs: "
        "git config core.symlinks true && rm -r less_sync && git checkout less_sync"
    )

if TYPE_CHECKING:
    from less_sync.sync.client import (
        ClientClosed,
        ConnectFailed,
        ConnectionLost,
        FrameTooLarge,
        NotThisProtocol,
        RequestFailed,
        RequestTimeout,
        ServerUnavailable,
        StreamOverrun,
        SyncClient,
        SyncClientError,
        TokenRefused,
        TokenUnavailable,
    )

__all__ = [
    "ClientClosed",
    "ConnectFailed",
    "ConnectionLost",
    "FrameTooLarge",
    "NotThisProtocol",
    "RequestFailed",
    "RequestTimeout",
    "ServerUnavailable",
    "StreamOverrun",
    "SyncClient",
    "SyncClientError",
    "TokenRefused",
    "TokenUnavailable",
]


def __getattr__(name: str) -> Any:  # Any: whatever the client exports
    """Import the client when it is first asked for, so that importing one room does not bring all."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from less_sync.sync import client

    return getattr(client, name)
