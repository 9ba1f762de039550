"""Builds what would be published, and installs it without network or pip: by unpacking and by links."""

import importlib.metadata
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT: Final = Path(__file__).parents[2]
TIMEOUT_S: Final = 120.0
BUILD: Final = (
    "import sys; from setuptools import build_meta; print(getattr(build_meta, sys.argv[1])(sys.argv[2]))"
)


def copy_tracked(to: Path, *, links: bool = True) -> Path:
    """Copy the files git knows, so that no stale build gets in; without `links`, these become text files."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    for name in filter(None, listed.stdout.decode().split("\0")):
        source, target = ROOT / name, to / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_symlink() and not links:
            target.write_text(os.readlink(source))
        elif source.is_symlink() or source.exists():  # not one that was just deleted
            shutil.copy2(source, target, follow_symlinks=False)
    return to


def build(kind: str, source: Path, to: Path) -> Path:
    """Have the build backend make a `wheel` or an `sdist` of `source`, as pip would, and return its path."""
    to.mkdir(exist_ok=True)
    command = [sys.executable, "-c", BUILD, f"build_{kind}", str(to)]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert done.returncode == 0, done.stderr
    return to / done.stdout.splitlines()[-1]


def link_requirements(to: Path, *extras: str) -> Path:
    """A directory like the `site-packages` after `pip install less-sync[EXTRAS]`: what that requires."""
    to.mkdir()
    for name in _closure(extras):
        files = importlib.metadata.files(name) or []
        for top in {file.parts[0] for file in files} - {"..", "__pycache__", "bin"}:
            link = to / top
            if not link.is_symlink():
                link.symlink_to(Path(str(importlib.metadata.distribution(name).locate_file(top))))
    return to


def _closure(extras: tuple[str, ...]) -> set[str]:
    """The names of everything that the base requirements and those of the extras bring."""
    found: set[str] = set()
    waiting = [("less-sync", extra) for extra in ("", *extras)]
    while waiting:
        name, extra = waiting.pop()
        for line in importlib.metadata.requires(name) or []:
            wanted = Requirement(line)
            if wanted.marker is None or wanted.marker.evaluate({"extra": extra}):
                more = [(wanted.name, one) for one in ("", *wanted.extras)]
                new = [pair for pair in more if canonicalize_name(wanted.name) not in found or pair[1]]
                found.add(canonicalize_name(wanted.name))
                waiting += new
    return found


@dataclass(frozen=True, slots=True)
class Installed:
    """An installation that is nothing but directories on `sys.path`."""

    path: tuple[Path, ...]

    def run(self, *arguments: str, cwd: Path) -> "subprocess.CompletedProcess[str]":
        """Run Python with these directories and the standard library: no `site-packages`, no checkout."""
        return subprocess.run(
            [sys.executable, "-S", *arguments],
            cwd=cwd,
            env={"PATH": os.defpath, "HOME": str(cwd), "PYTHONPATH": os.pathsep.join(map(str, self.path))},
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )

    def command(self, *arguments: str, cwd: Path) -> "subprocess.CompletedProcess[str]":
        """Run `less-sync`."""
        return self.run("-m", "less_sync.bins.commands.main", *arguments, cwd=cwd)
