"""Another release of less-sync for tests: a copy of the installed package under another version.

As a newer one it has one more migration, which only adds an index, and its down. Nothing of an old build or
of the history is needed. The copy is made of hard links where that can be done.
"""

import os
import shutil
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent.parent
ROOMS: Final = (
    "auth",
    "bins",
    "client",
    "federation",
    "migrations",
    "storage",
    "sync",
    "validation",
    "volume",
)
NEXT_NAME: Final = "next_release"
UP: Final = "-- For tests of a newer release.\nCREATE INDEX idx_next_release ON records (space_id, id);\n"
DOWN: Final = "-- Nothing is lost.\nDROP INDEX idx_next_release;\n"
LOSS: Final = '\n[[down]]\nversion = {version}\nname = "nothing"\n'


@dataclass(frozen=True, slots=True)
class Release:
    """A copy of the package."""

    folder: Path
    version: str

    @property
    def words(self) -> tuple[str, ...]:
        """That run its `less-sync`."""
        return (sys.executable, str(self.folder / "less-sync.py"))

    @property
    def serve(self) -> tuple[str, ...]:
        """That start its server."""
        return (*self.words, "serve")

    @property
    def migrations(self) -> Path:
        """Its scripts."""
        return self.folder / "less_sync" / "migrations"

    def with_migration(self, *, up: str = UP, down: str = DOWN, loss: str = LOSS) -> int:
        """Give it one more migration, in place of the one it was given before; returns its version."""
        for path in self.migrations.glob(f"*_{NEXT_NAME}.*.sql"):
            path.unlink()
        version = max(int(path.name[:4]) for path in self.migrations.glob("*.up.sql")) + 1
        for part, text in (("up", up), ("down", down)):
            (self.migrations / f"{version:04d}_{NEXT_NAME}.{part}.sql").write_text(text)
        listed = self.migrations / "losses.toml"
        listed.unlink()  # it may be a link to the one of the checkout
        listed.write_text((ROOT / "migrations/losses.toml").read_text() + loss.format(version=version))
        return version


def another_release(folder: Path, version: str = "9.9.9") -> Release:
    """Copy the package into a folder.

    The program puts the copy before the checkout, tells its own version, and is the command else.
    """
    package = folder / "less_sync"
    package.mkdir(parents=True)
    shutil.copy(ROOT / "less_sync" / "__init__.py", package)
    for room in ROOMS:
        shutil.copytree(
            ROOT / room,
            package / room,
            copy_function=_linked,
        )
    name = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["name"]
    facts = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (folder / "less-sync.py").write_text(
        f"import sys\nsys.path.insert(0, {str(folder)!r})\nsys.argv[0] = 'less-sync'\n"
        "from less_sync.bins.commands.main import main\nmain()\n"
    )
    return Release(folder, version)


def _linked(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copy2(source, target)
