"""New, empty migration scripts."""

import re
from pathlib import Path
from typing import Final

from less_sync.migrations.catalog import OWN_FIRST, SCRIPTS
from less_sync.migrations.errors import MigrationError

_OTHER_CHARACTERS: Final = re.compile(r"[^a-z0-9]+")
_VERSION: Final = re.compile(r"(\d+)_")


def create(
    name: str, *, folder: Path = SCRIPTS, own: Path = SCRIPTS, first: int = OWN_FIRST
) -> tuple[Path, Path]:
    """Write the next numbered up and down script and return their paths.

    The number follows the highest one in `folder`, from `first`. The name is lower-cased, and every run of
    characters other than letters a-z and digits becomes `_`. Never overwrites.

    Args:
        own: where the scripts of this line lie in this package. In a checkout that is the place of a new one;
            an installed package would lose it with the next upgrade.
        first: the lowest number of the line.

    Raises:
        MigrationError: nothing is left of the name, the folder is one of an installed package, or the files
            cannot be written.
    """
    # The scripts are in a room, or in a folder of one: what lies above an installed package says nothing.
    checkout = any((parent / "pyproject.toml").exists() for parent in own.resolve().parents[:2])
    if folder.resolve() == own.resolve() and not checkout:
        raise MigrationError(f"{folder} belongs to an installed package: name a folder of yours with --dir")
    slug = _OTHER_CHARACTERS.sub("_", name.lower())
    if not slug.strip("_"):
        raise MigrationError("a migration's name needs a letter or a digit")
    numbers = [int(m[1]) for m in (_VERSION.match(path.name) for path in folder.glob("*.sql")) if m]
    version = max([first - 1, *numbers]) + 1
    up, down = (folder / f"{version:04d}_{slug}.{part}.sql" for part in ("up", "down"))
    try:
        for path, purpose in ((up, "why this change is made"), (down, "what reverting loses")):
            with path.open("x", encoding="utf-8") as file:
                file.write(f"-- Say here {purpose}.\n")
    except OSError as error:
        raise MigrationError(f"cannot write {error.filename}: {error.strerror}") from error
    return up, down
