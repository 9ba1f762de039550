"""Programs of Debian's packages for tests, without root: from PATH, or unpacked into a cache folder.

A package is fetched with apt and unpacked with dpkg-deb, together with its dependencies where the program
misses libraries. Nothing is installed. Where that is impossible the test fails, and says what it lacks.
"""

import fcntl
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

TIMEOUT_S: Final = 240.0
LIBRARY_ROUNDS_MAX: Final = 4
"""How often the dependencies of what was unpacked are unpacked as well."""
SYSTEM_FOLDERS: Final = ("/usr/sbin", "/sbin", "/usr/bin", "/bin")
"""Daemons are in folders that an ordinary user's PATH lacks."""


class NotAvailable(Exception):
    """A program is neither installed nor to be had from the system's package sources."""


@dataclass(frozen=True, slots=True)
class Program:
    """A program that can be started."""

    path: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    """What it needs beside the usual variables: where its libraries are."""


def program(name: str, package: str) -> Program:
    """The program called `name`: the installed one, else that of Debian's `package`.

    Raises:
        NotAvailable: it is not installed and cannot be fetched.
    """
    found = shutil.which(name, path=os.pathsep.join((os.environ.get("PATH", os.defpath), *SYSTEM_FOLDERS)))
    if found is not None:
        return Program(Path(found))
    missing = [tool for tool in ("apt-get", "apt-cache", "dpkg-deb") if shutil.which(tool) is None]
    if missing:
        raise NotAvailable(
            f"{name} is not installed, and without {missing[0]} it cannot be fetched: install it"
        )
    cache = _cache()
    with _locked(cache):
        return _unpacked(name, package, cache)


def _cache() -> Path:
    """A folder of this user's own that outlives a run."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or tempfile.gettempdir())
    folder = base / f"less-sync-debian-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise NotAvailable(f"{folder} belongs to another user")
    return folder


@contextmanager
def _locked(cache: Path) -> Iterator[None]:
    """One test process at a time: the others find what it has fetched."""
    with open(cache / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _unpacked(name: str, package: str, cache: Path) -> Program:
    root = cache / package
    if not (root / "complete").exists():
        shutil.rmtree(root, ignore_errors=True)
        apt = _Apt(cache)
        apt.unpack(package, root)
        _complete(_executable(root, name), root, package, apt)
        (root / "complete").touch()
    return Program(_executable(root, name), _environment(root))


def _executable(root: Path, name: str) -> Path:
    for folder in SYSTEM_FOLDERS:
        path = root / folder.lstrip("/") / name
        if path.is_file():
            return path
    raise NotAvailable(f"the package holds no program {name}")


def _environment(root: Path) -> dict[str, str]:
    folders = sorted({str(path.parent) for path in root.rglob("*.so*") if path.is_file()})
    return {"LD_LIBRARY_PATH": os.pathsep.join(folders)} if folders else {}


def _complete(executable: Path, root: Path, package: str, apt: "_Apt") -> None:
    """Unpack dependencies until no library of the program is missing."""
    waiting = [package]
    for _ in range(LIBRARY_ROUNDS_MAX):
        if not _lacks(executable, root):
            return
        waiting = [one for name in waiting for one in apt.dependencies(name)]
        for name in waiting:
            apt.unpack(name, root)
    if lacks := _lacks(executable, root):
        raise NotAvailable(f"{executable.name} lacks {', '.join(lacks)}")


def _lacks(executable: Path, root: Path) -> list[str]:
    """The libraries that the loader would not find."""
    told = _run(["ldd", str(executable)], cwd=root, environment=_environment(root), may_fail=True)
    return re.findall(r"^\s*(\S+) => not found", told, re.MULTILINE)


class _Apt:
    """apt with the system's sources, and with lists of its own where the system has none."""

    def __init__(self, cache: Path) -> None:
        self._cache = cache
        self._options = ["-o", f"Dir::Cache={cache / 'archives'}"]
        (cache / "archives" / "partial").mkdir(parents=True, exist_ok=True)
        self._own_lists = False
        self._unpacked: set[str] = set()

    def unpack(self, package: str, root: Path) -> None:
        """Fetch a package and lay its files below `root`."""
        if package in self._unpacked:
            return
        self._unpacked.add(package)
        with tempfile.TemporaryDirectory(dir=self._cache) as folder:
            self._asked(["apt-get", *self._options, "download", package], Path(folder))
            (archive,) = Path(folder).glob("*.deb")
            root.mkdir(exist_ok=True)
            _run(["dpkg-deb", "--extract", str(archive), str(root)], cwd=root)

    def dependencies(self, package: str) -> list[str]:
        """The packages that this one depends on, the first of each choice."""
        told = self._asked(["apt-cache", *self._options, "show", "--no-all-versions", package], self._cache)
        lines = re.findall(r"^(?:Pre-)?Depends: (.*)$", told, re.MULTILINE)
        choices = [choice for line in lines for choice in line.split(",")]
        return [re.split(r"[ |(:]", choice.strip())[0] for choice in choices]

    def _asked(self, command: list[str], cwd: Path) -> str:
        """Run apt; where that fails, once more with lists of this folder's own, which are fetched then."""
        try:
            return _run(command, cwd=cwd)
        except NotAvailable:
            if self._own_lists:
                raise
        self._fetch_lists()
        at = command.index("-o")
        return _run([*command[:at], *self._options, *command[at + 2 :]], cwd=cwd)

    def _fetch_lists(self) -> None:
        lists = self._cache / "lists"
        (lists / "partial").mkdir(parents=True, exist_ok=True)
        self._options += ["-o", f"Dir::State::lists={lists}", "-o", "APT::Sandbox::User=root"]
        self._options += ["-o", "Debug::NoLocking=true"]
        self._own_lists = True
        _run(["apt-get", *self._options, "-o", "Acquire::Languages=none", "update"], cwd=self._cache)


def _run(
    command: list[str], *, cwd: Path, environment: Mapping[str, str] | None = None, may_fail: bool = False
) -> str:
    """Run a program and return what it prints.

    Raises:
        NotAvailable: it failed, or took too long.
    """
    env = {**os.environ, "LC_ALL": "C", **(environment or {})}
    words = " ".join(command[:1] + command[-2:])
    try:
        done = subprocess.run(
            command, cwd=cwd, env=env, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise NotAvailable(f"`{words}` took more than {TIMEOUT_S:.0f} s") from error
    if done.returncode != 0 and not may_fail:
        raise NotAvailable(f"`{words}` failed: {done.stderr.strip()[-1000:]}")
    return done.stdout
