"""less-sync: a local-first, end-to-end-encrypted sync server and its Python client.

`from less_sync import SyncClient`, and whatever else `less_sync.sync.client` lists: docs/python.md.

The rooms lie beside this folder and are linked into it, so `less_sync.ROOM` is their only name.
"""

from pathlib import Path
from typing import TYPE_CHECKING

if not Path(__file__).with_name("auth").is_dir():
    raise ImportError(
        "less_sync/auth is a text file where a symbolic link belongs: "
        "git config core.symlinks true && rm -r less_sync && git checkout less_sync"
    )

if TYPE_CHECKING:
    from less_sync.sync.client import *  # noqa: F403  the client's `__all__` is the only list of names
else:
    # Type checkers do not see this: with a `__getattr__` they would take any name.

    def __getattr__(name: str) -> object:
        """Import the client when a name of it is first asked for, so that one room does not bring all."""
        # A room is asked for here by `from less_sync import ROOM`, before the import system looks for it.
        is_room = Path(__file__).with_name(name).is_dir()
        if not is_room and (name == "__all__" or not name.startswith("_")):
            from less_sync.sync import client

            if name == "__all__":
                return list(client.__all__)
            if name in client.__all__:
                return getattr(client, name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted([*globals(), *__getattr__("__all__")])
