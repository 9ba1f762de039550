"""The settings of `security.toml`: one file of a list of places, with single keys from the environment."""

import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from less_sync.volume.logs import Logger

if TYPE_CHECKING:
    from less_sync.volume.options import Options

_log = Logger(__name__)
FILE_NAME: Final = "security.toml"
FILE_BYTES_MAX: Final = 1 << 20
_SYSTEM_PLACES: Final = (Path("/usr/local/etc/seaweedfs"), Path("/etc/seaweedfs"))
_TRUE: Final = frozenset({"1", "t", "true"})


class SecuritySettings:
    """Dotted, lower-case keys. A key that a later reading does not find keeps its value."""

    def __init__(self, options: "Options", environment: Mapping[str, str]) -> None:
        self._options: Final = options
        self._environment: Final = environment
        self._kept: Final[dict[str, str]] = {}

    def read(self) -> None:
        """Read the first file there is. A missing or broken one leaves everything as it was."""
        path = self._place()
        if path is None:
            return
        try:
            with path.open("rb") as file:
                read = tomllib.loads(file.read(FILE_BYTES_MAX).decode())
            found = dict(_flat(read))
        except (OSError, ValueError, RecursionError) as error:
            _log.warning("security file cannot be read", path=str(path), kind=type(error).__name__)
            return
        self._kept.update(found)

    def text(self, key: str) -> str:
        """The value of a key; empty if nothing sets it."""
        variable = "WEED_" + key.upper().replace(".", "_")
        return self._environment.get(variable) or self._kept.get(key.lower(), "")

    def boolean(self, key: str) -> bool:
        """Whether a key is set to a word for true."""
        return self.text(key).lower() in _TRUE

    def path(self, key: str) -> Path | None:
        """The file that a key names."""
        text = self.text(key)
        home = self._environment.get("HOME")
        if home and text.startswith("~/"):
            text = home + text[1:]
        return Path(text) if text else None

    def _place(self) -> Path | None:
        if self._options.security_file is not None:
            return self._options.security_file
        own = self._options.config_directory
        home = self._environment.get("HOME")
        places = [
            *([own] if own else []),
            Path(os.curdir),
            *([Path(home) / ".seaweedfs"] if home else []),
            *_SYSTEM_PLACES,
        ]
        return next((place / FILE_NAME for place in places if (place / FILE_NAME).is_file()), None)


def _flat(tables: Mapping[str, object], above: str = "") -> Iterator[tuple[str, str]]:
    """Keys with their tables before them, and values as text; a list is joined by commas."""
    for key, value in tables.items():
        name = f"{above}{key}".lower()
        if isinstance(value, Mapping):
            yield from _flat(value, f"{name}.")
        elif isinstance(value, list):
            yield name, ",".join(str(one) for one in value)
        else:
            yield name, str(value)
