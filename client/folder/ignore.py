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
from typing import Final, NamedTuple

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


class _Rule(NamedTuple):
    """A pattern, and whether it hides what it matches or brings it back."""

    regex: re.Pattern[str]
    hides: bool


class Ignore:
    """The rules of one folder, file by file as the walk meets them."""

    def __init__(self) -> None:
        self._rules: dict[str, list[_Rule]] = {}
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
        found = (rule for number, line in enumerate(lines, 1) for rule in _parsed(name, number, line))
        rules = list(islice(found, FILE_PATTERNS_MAX + 1))
        self._count += len(rules)
        if len(rules) > FILE_PATTERNS_MAX:
            raise UsageProblem(f"{name}: more than {FILE_PATTERNS_MAX:,} patterns", _HINT)
        if self._count > PATTERNS_MAX:
            raise UsageProblem(f"{name}: more than {PATTERNS_MAX:,} patterns in all ignore files", _HINT)
        if rules:
            self._rules[folder] = rules[::-1]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ignore) and self._rules == other._rules

    __hash__ = None  # type: ignore[assignment]  # it grows

    def hides(self, path: str, *, is_folder: bool) -> bool:
        """Whether a synced path, or a folder above it, is ignored."""
        if not self._rules:
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
        while folder and self._rules:
            folder = folder.rpartition("/")[0]
            below = path[len(folder) + 1 :] if folder else path
            for rule in self._rules.get(folder, ()):
                if _applies(rule.regex, below, is_folder):
                    return rule.hides
        return False


def _applies(regex: re.Pattern[str], path: str, is_folder: bool) -> bool:
    """Whether a pattern is about exactly this path.

    The expressions of `pathspec` also match what lies below a folder that the pattern is about. That is no
    match in git: otherwise `!keep/` would bring back what another pattern hides in there.
    """
    candidate = f"{path}/" if is_folder else path
    match = regex.search(candidate)
    if match is None:
        return False
    if match.lastgroup is None:  # such as `*` and `a/**`: not about the slash after a folder's name
        return regex.search(path) is not None
    if match.start() > 0:  # any folder: `*/`
        return is_folder
    return match.end() == len(candidate)


def _lines(name: str, file: Path) -> list[str]:
    try:
        content = _content(name, file)
    except FileNotFoundError:
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


def _content(name: str, file: Path) -> bytes:
    # Not blocking: a pipe may have its name. A link is no ignore file to git either, but here it is an error:
    # whoever made it relies on the rules behind it.
    fd = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        mode = os.fstat(fd).st_mode
        if stat.S_ISDIR(mode):
            return b""
        if not stat.S_ISREG(mode):
            raise UsageProblem(f"{name} is no regular file", _HINT)
        content = bytearray()
        while piece := os.read(fd, FILE_BYTES_MAX + 1 - len(content)):
            content += piece
        return bytes(content)
    finally:
        os.close(fd)


def _parsed(name: str, number: int, line: str) -> Iterator[_Rule]:
    """The rule of a line; none for a comment, an empty line, and what git passes over."""
    problem = None if line.startswith("#") else _problem(line)
    if problem is None:
        try:
            text, hides = GitIgnoreSpecPattern.pattern_to_regex(_DEEP_FOLDERS.sub(r"\1*/", line))
            if text is not None and hides is not None:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", FutureWarning)  # `[[]` is meant as it is
                    yield _Rule(re.compile(text.replace("[^", "[^/")), hides)  # no class has the slash in git
            return
        except (ValueError, re.error):
            problem = "not a pattern"
    raise UsageProblem(f"{name}, line {number}: {problem}", _HINT)


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
