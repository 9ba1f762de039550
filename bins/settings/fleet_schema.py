"""Where the fleet plane's tables are: for the plane, and for the command that migrates them."""

import re
from pathlib import Path
from typing import Final

from less_sync.bins.settings.reader import SettingsReader
from less_sync.fleet.line import DEFAULT_SCHEMA

_NAME: Final = re.compile(r"(?!pg_)[a-z_][a-z0-9_]{0,62}")


def fleet_directory(data_dir: Path) -> Path:
    """The plane's own part of `DATA_DIR`: its embedded Postgres, its keys. The sync server's is beside it."""
    return data_dir / "fleet"


def read_fleet_schema(reader: SettingsReader) -> str:
    """`FLEET_SCHEMA`. What it may be needs no quotes, so that psql takes it as it is typed."""
    value = reader.text("FLEET_SCHEMA")
    if value is None:
        return DEFAULT_SCHEMA
    if not _NAME.fullmatch(value):
        reader.problems.append(
            "FLEET_SCHEMA must be 1 to 63 of a-z, 0-9 and _, and begin with neither a digit nor pg_"
        )
    return value
