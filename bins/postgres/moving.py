"""A data directory on its way to another major version of Postgres, and the file that says so.

`upgrade-data.json` is written before the old cluster is moved aside, and removed once the new one holds
everything. While it is there nobody else starts a Postgres in the directory: it would make an empty cluster,
or serve one that is not full yet.
"""

import json
import struct
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from less_sync.bins.postgres.files import EmbeddedPostgresError, refused
from less_sync.client import durable

STATE: Final = "upgrade-data.json"
_CONTROL_FILE: Final = Path("global", "pg_control")
_SYSTEM_IDENTIFIER: Final = struct.Struct("=Q")
"""What `pg_control` begins with in every version of Postgres, in the byte order of the machine."""


@dataclass(frozen=True, slots=True)
class Moving:
    """A move that was begun."""

    digest: str
    """Of the backup that the new cluster gets its rows from."""
    aside: str
    """The name under which the old cluster lies beside the new one."""


def moving(data_dir: Path) -> Moving | None:
    """The move that was begun and has not finished.

    Raises:
        EmbeddedPostgresError: the file about it cannot be read or understood.
    """
    path = data_dir / STATE
    try:
        return Moving(**json.loads(path.read_text("utf-8")))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise refused(error, f"read {path}") from error
    except (ValueError, TypeError):
        raise EmbeddedPostgresError(f"{path} is damaged: it says how far `upgrade-data` came") from None


def refuse_half_moved(data_dir: Path) -> None:
    """Let nobody use a data directory whose move has not finished.

    Raises:
        EmbeddedPostgresError: one has not; the text says what finishes it.
    """
    found = moving(data_dir)
    if found is not None:
        raise EmbeddedPostgresError(
            f"the move of {data_dir} to another Postgres has not finished (backup {found.digest[:12]}): "
            "`less-sync upgrade-data BACKUP` with that backup finishes it"
        )


def begin(data_dir: Path, digest: str, *, now: datetime) -> Moving:
    """Write down that the cluster goes aside, under a name made of its version and the time.

    Raises:
        OSError: it cannot be written; nothing has changed then.
    """
    version = (data_dir / "postgres" / "PG_VERSION").read_text("ascii").strip()
    return keep(data_dir, Moving(digest, f"postgres.{version}-{now.astimezone(UTC):%Y%m%dT%H%M%SZ}"))


def keep(data_dir: Path, state: Moving) -> Moving:
    """Write the state of a move, whole or not at all. Raises OSError."""
    durable.replace(data_dir / STATE, json.dumps(asdict(state)).encode())
    return state


def move_aside(data_dir: Path, state: Moving) -> None:
    """Rename the old cluster, unless that was done already. Raises OSError."""
    if not (data_dir / state.aside).exists():
        (data_dir / "postgres").rename(data_dir / state.aside)
        durable.DISK.sync(data_dir)


def finish(data_dir: Path) -> None:
    """The move is over: everybody may use the directory again. Raises OSError."""
    (data_dir / STATE).unlink(missing_ok=True)
    durable.DISK.sync(data_dir)


def system_identifier(cluster: Path) -> str:
    """The number by which Postgres tells clusters apart, of one that no Postgres of ours can start.

    Raises:
        EmbeddedPostgresError: it cannot be read.
    """
    path = cluster / _CONTROL_FILE
    try:
        with path.open("rb") as file:
            head = file.read(_SYSTEM_IDENTIFIER.size)
    except OSError as error:
        raise refused(error, f"read {path}") from error
    if len(head) != _SYSTEM_IDENTIFIER.size:
        raise EmbeddedPostgresError(f"{path} is damaged: it is too short")
    return str(_SYSTEM_IDENTIFIER.unpack(head)[0])


def last_stopped(cluster: Path) -> datetime:
    """When Postgres last wrote down the state of a cluster: at its last checkpoint, such as that of a stop.

    Raises:
        EmbeddedPostgresError: it cannot be read.
    """
    path = cluster / _CONTROL_FILE
    try:
        return datetime.fromtimestamp(path.stat().st_mtime, UTC)
    except OSError as error:
        raise refused(error, f"read {path}") from error
