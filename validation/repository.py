"""What git knows of a report: whether it is committed, and where the repository is (docs/validation.md 7.7).

The program `git` is run without a shell, without the repository's hooks and with nothing of the environment
that could lead it elsewhere. Nothing is ever pushed.
"""

import hashlib
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

GIT_S: Final = 60.0
_KEPT: Final = ("PATH", "HOME", "LANG", "XDG_CONFIG_HOME")
REPORTS: Final = "docs/reports"


class GitFault(Exception):
    """Git is not there, the folder is in no work tree, or it refused; worded for the operator."""


@dataclass(frozen=True, slots=True)
class Repository:
    """A work tree."""

    root: Path
    environment: Mapping[str, str]

    @classmethod
    def around(cls, folder: Path, environment: Mapping[str, str]) -> "Repository":
        """The work tree in which a folder lies, or would lie.

        Raises:
            GitFault: in none.
        """
        there = next(one for one in (folder.absolute(), *folder.absolute().parents) if one.is_dir())
        kept = {name: environment[name] for name in _KEPT if name in environment}
        kept |= {"GIT_OPTIONAL_LOCKS": "0", "GIT_LITERAL_PATHSPECS": "1"}
        made = cls(there, kept)
        root = made._git("rev-parse", "--show-toplevel").rstrip(b"\n")
        return cls(Path(os.fsdecode(root)), kept)

    def relative(self, path: Path) -> str:
        """A path in the work tree, from its root. Raises GitFault."""
        try:
            return path.resolve().relative_to(self.root.resolve()).as_posix()
        except ValueError:
            raise GitFault(f"{path} is not in the work tree") from None

    def head(self) -> str:
        """The commit that is checked out."""
        return self._git("rev-parse", "--verify", "HEAD^{commit}").decode().strip()

    def committed(self, path: Path, *, most_bytes: int) -> bytes:
        """A file as it is at HEAD. Raises GitFault when it is not there, or too large."""
        name = f"HEAD:{self.relative(path)}"
        size = self._git("cat-file", "-s", name).strip()
        if int(size) > most_bytes:
            raise GitFault(f"{path.name} is too large")
        return self._git("cat-file", "blob", name)

    def committed_files(self, folder: Path) -> dict[str, str]:
        """The object ids of all files in a folder at HEAD, by path in it. What is no plain file has none."""
        name = self.relative(folder)
        listing = self._git("ls-tree", "-r", "-z", "HEAD", "--", f"{name}/")
        found = {}
        for line in filter(None, listing.split(b"\x00")):
            facts, _, path = line.partition(b"\t")
            mode, _, object_id = facts.decode().split()
            plain = mode in ("100644", "100755")
            found[os.fsdecode(path).removeprefix(f"{name}/")] = object_id if plain else ""
        return found

    def changed_outside_reports(self, commit: str) -> list[str]:
        """Paths outside `docs/reports/` in which a commit and HEAD differ. Raises GitFault: there is none."""
        if not commit or not all(char in "0123456789abcdef" for char in commit):
            raise GitFault("the report names no commit")
        found = self._git("cat-file", "-t", commit)
        if found.strip() != b"commit":
            raise GitFault("the report names no commit")
        listing = self._git("diff-tree", "-r", "-z", "--name-only", "--no-renames", commit, "HEAD")
        paths = [os.fsdecode(path) for path in filter(None, listing.split(b"\x00"))]
        return [path for path in paths if not path.startswith(f"{REPORTS}/")]

    def staged(self) -> list[str]:
        """Paths that are staged."""
        listing = self._git("diff", "--cached", "-z", "--name-only", "--no-renames")
        return [os.fsdecode(path) for path in filter(None, listing.split(b"\x00"))]

    def commit(self, paths: Sequence[Path], message: str) -> str:
        """Commit these files and nothing else; the new commit's id.

        Raises:
            GitFault: something else is staged, or git refuses.
        """
        names = [self.relative(path) for path in paths]
        foreign = [one for one in self.staged() if not any(_is_in(one, name) for name in names)]
        if foreign:
            raise GitFault(f"other changes are staged: {', '.join(foreign[:5])}")
        self._git("add", "--", *names)
        self._git("commit", "--quiet", "--no-verify", "--message", message, "--", *names)
        return self.head()

    def _git(self, *words: str) -> bytes:
        argv = ("git", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", *words)
        try:
            done = subprocess.run(
                argv,
                cwd=self.root,
                env=dict(self.environment),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=GIT_S,
                check=False,
            )
        except FileNotFoundError:
            raise GitFault("there is no git on the PATH") from None
        except subprocess.TimeoutExpired:
            raise GitFault(f"git {words[0]} did not end within {GIT_S:.0f} s") from None
        if done.returncode != 0:
            told = done.stderr.decode(errors="replace").strip().splitlines()
            raise GitFault(f"git {words[0]}: {told[-1] if told else f'status {done.returncode}'}")
        return done.stdout


def object_id(data: bytes, *, like: str) -> str:
    """The id that git gives a file of this content, by the digest of which an id is `like`."""
    head = b"blob %d\x00" % len(data)
    digest = hashlib.sha256 if len(like) == 64 else hashlib.sha1
    return digest(head + data, usedforsecurity=False).hexdigest()


def _is_in(path: str, name: str) -> bool:
    return path == name or path.startswith(f"{name}/")
