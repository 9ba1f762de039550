"""What reverting each migration loses: the list beside the scripts, `losses.toml`, read (docs/migrations.md).

The only home of the rule: `migrate down` asks by it, and whoever decides about a way back holds it against
what was acknowledged.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

from less_sync.migrations.catalog import SCRIPTS

LOSSES_FILE: Final = "losses.toml"
NOTHING: Final = "nothing"
"""The name of no loss."""
_NAME: Final = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


@dataclass(frozen=True, slots=True)
class Loss:
    """What reverting one version loses."""

    version: int
    name: str
    """By which it is acknowledged."""
    text: str = ""
    """Goes on from "reverting NNN name ..."."""
    asks: bool = False
    """Whether `migrate down` wants to be told that this is meant."""
    table: str = ""
    """Only rows of this table are lost, as far as they meet `where`; empty: something is lost in any case."""
    where: str = "TRUE"

    @property
    def is_nothing(self) -> bool:
        """Whether nothing is lost."""
        return self.name == NOTHING

    @property
    def query(self) -> str | None:
        """Says of a database whether it has what would be lost; None: it needs no asking."""
        if not self.table:
            return None
        return f"SELECT EXISTS (SELECT 1 FROM {self.table} WHERE {self.where})"


def losses(folder: Path = SCRIPTS) -> Mapping[int, Loss]:
    """The list beside the scripts of a folder, by version, ascending.

    Raises:
        ValueError: a row is not as it must be, or a version or a name is there twice.
        OSError: there is no list.
    """
    import tomllib  # a server that only serves never reads the list

    document = tomllib.loads((folder / LOSSES_FILE).read_text(encoding="utf-8"))
    found: dict[int, Loss] = {}
    for row in document.get("down", []):
        loss = _loss(row)
        taken = {one.name for one in found.values() if not one.is_nothing}
        if loss.version in found or loss.name in taken:
            raise ValueError(f"{LOSSES_FILE}: {loss.version} or {loss.name!r} is there twice")
        found[loss.version] = loss
    return dict(sorted(found.items()))


def _loss(row: Mapping[str, Any]) -> Loss:
    kinds = {field.name: field.type for field in fields(Loss)}
    wrong = [key for key, value in row.items() if key not in kinds or type(value) is not kinds[key]]
    if wrong or not {"version", "name"} <= row.keys():
        raise ValueError(f"{LOSSES_FILE}: a row is not as it must be: {dict(row)}")
    loss = Loss(**row)
    if (
        not _NAME.fullmatch(loss.name)
        or loss.is_nothing == bool(loss.text)
        or (loss.is_nothing and loss.asks)
    ):
        raise ValueError(
            f"{LOSSES_FILE}: version {loss.version}: a loss has a name and a text, nothing neither"
        )
    return loss
