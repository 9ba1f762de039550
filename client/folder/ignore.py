"""`.less-syncignore`: what of a folder is not synced, by the rules of gitignore(5).

Patterns are read by the library `pathspec`; which of them decides is decided here, because each folder may
have a file of its own and a walk needs an answer for folders too. As in git the last pattern that matches
decides, one of a deeper file before those above it, and nothing below a hidden folder comes back.

An ignore file that cannot be understood stops the command: passed over, it would let out what it hides.
"""

import os
import re
import stat
import unicodedata
import warnings
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Final

from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

from less_sync.client.folder.errors import UsageProblem
from less_sync.client.folder.paths import shown

IGNORE_FILE: Final = ".less-syncignore"
FILE_BYTES_MAX: Final = 256 * 1024
FILE_PATTERNS_MAX: Final = 1000
PATTERNS_MAX: Final = 10_000
"""In all files of a folder together."""
PATTERN_CHARS_MAX: Final = 1024
STARS_MAX: Final = 3
"""`*` within one name: each more multiplies the time that a hostile name can take, as does each `**`."""
DOUBLE_STARS_MAX: Final = 2
"""`**` within one pattern."""

_HINT: Final = "nothing was pushed or pulled; repair it or remove it"
_STARS: Final = re.compile(r"\*+")
_DEEP_FOLDERS: Final = re.compile(r"(/\*\*/) *$")
"""`a/**/` is about folders in `a`; `pathspec` takes it for `a/`, and `a/**/*/` for what is meant."""
_BRACKETS: Final = re.compile(r"(?<!\\)\[[!^]?\]?[^]]*\]")


class Ignore:
    """The rules of one folder, file by file as the walk meets them."""

    def __init__(self) -> None:
        self._patterns: dict[str, list[GitIgnoreSpecPattern]] = {}
        self._count = 0

    def read(self, folder: str, file: Path) -> None:
        """Take over the rules of an ignore file.

        They apply below `folder`, a synced path or "" for the root. A file that is gone by now has none, and
        neither has a folder of this name.

        Raises:
            UsageProblem: it cannot be read, or not be understood; the text names the line.
        """
        name = shown(f"{folder}/{IGNORE_FILE}" if folder else IGNORE_FILE)
        lines = _lines(name, file)
        found = (pattern for number, line in enumerate(lines, 1) for pattern in _parsed(name, number, line))
        patterns = list(islice(found, FILE_PATTERNS_MAX + 1))
        self._count += len(patterns)
        if len(patterns) > FILE_PATTERNS_MAX:
            raise UsageProblem(f"{name}: more than {FILE_PATTERNS_MAX:,} patterns", _HINT)
        if self._count > PATTERNS_MAX:
            raise UsageProblem(f"{name}: more than {PATTERNS_MAX:,} patterns in all ignore files", _HINT)
        if patterns:
            self._patterns[folder] = patterns[::-1]

    def hides(self, path: str, *, is_folder: bool) -> bool:
        """Whether a synced path, or a folder above it, is ignored."""
        if not self._patterns:
            return False
        slash = path.find("/")
        while slash >= 0:
            if self.hides_entry(path[:slash], is_folder=True):
                return True
            slash = path.find("/", slash + 1)
        return self.hides_entry(path, is_folder=is_folder)

    def hides_entry(self, path: str, *, is_folder: bool) -> bool:
        """As `hides` for a path whose folder is known not to be ignored."""
        folder = path
        while folder and self._patterns:
            folder = folder.rpartition("/")[0]
            below = path[len(folder) + 1 :] if folder else path
            for pattern in self._patterns.get(folder, ()):
                if _applies(pattern, below, is_folder):
                    return bool(pattern.include)
        return False


def _applies(pattern: GitIgnoreSpecPattern, path: str, is_folder: bool) -> bool:
    """Whether a pattern is about exactly this path.

    `pathspec` also matches what lies below a folder that the pattern is about. That is no match in git:
    otherwise `!keep/` would bring back what another pattern hides in there.
    """
    candidate = f"{path}/" if is_folder else path
    found = pattern.match_file(candidate)
    if found is None:
        return False
    match = found.match
    if match.lastgroup is None:  # such as `*` and `a/**`: not about the slash after a folder's name
        return pattern.match_file(path) is not None
    if match.start() > 0:  # any folder: `*/`
        return is_folder
    return bool(match.end() == len(candidate))


def _lines(name: str, file: Path) -> list[str]:
    try:
        # Not blocking: a pipe may have its name. A link is no ignore file to git either, but here it is an
        # error: whoever made it relies on the rules behind it.
        fd = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(fd, "rb", buffering=0) as opened:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise UsageProblem(f"{name} is no regular file", _HINT)
            content = bytearray()
            while piece := opened.read(FILE_BYTES_MAX + 1 - len(content)):
                content += piece
    except (FileNotFoundError, IsADirectoryError):
        return []
    except OSError as error:
        raise UsageProblem(f"cannot read {name}: {error.strerror}", _HINT) from error
    if len(content) > FILE_BYTES_MAX:
        raise UsageProblem(f"{name} is larger than {FILE_BYTES_MAX:,} bytes", _HINT)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:  # what UTF-16 is full of
        raise UsageProblem(f"{name} is not UTF-8", _HINT)
    # Names are compared in normal form C, as they are synced.
    return [line.removesuffix("\r") for line in unicodedata.normalize("NFC", text).split("\n")]


def _parsed(name: str, number: int, line: str) -> Iterator[GitIgnoreSpecPattern]:
    """The pattern of a line; none for a comment, an empty line, and what git passes over."""
    problem = None if line.startswith("#") else _problem(line)
    pattern = None
    if problem is None:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)  # `[[]` is meant as it is
                pattern = GitIgnoreSpecPattern(_DEEP_FOLDERS.sub(r"\1*/", line))
        except (ValueError, re.error):
            problem = "not a pattern"
    if problem is not None:
        raise UsageProblem(f"{name}, line {number}: {problem}", _HINT)
    if pattern is not None and pattern.include is not None:
        yield pattern


def _problem(line: str) -> str | None:
    """What git and `pathspec` read differently, or what could take for ever."""
    if len(line) > PATTERN_CHARS_MAX:
        return f"more than {PATTERN_CHARS_MAX} characters"
    names = line.split("/")
    if any(len(_STARS.findall(one)) > STARS_MAX for one in names) or names.count("**") > DOUBLE_STARS_MAX:
        return f"more than {STARS_MAX} `*` in one name or {DOUBLE_STARS_MAX} `**` in the pattern"
    if any("[:" in one or "\\" in one for one in _BRACKETS.findall(line)):
        return "character classes and backslashes in brackets are not understood here"
    if any("[" in _BRACKETS.sub("", one).replace("\\[", "") for one in names):
        return "a bracket is not closed"
    return None
