"""The file that `ENV_FILE` names: variables in the syntax of systemd's `EnvironmentFile=`.

systemd passes over what it does not understand; here it is a problem, because a line that is passed over is a
setting that its writer believes in. Messages name the line and never repeat it: it may hold a secret.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import Path
from typing import Final

from less_sync.bins.errors import os_error_text
from less_sync.bins.settings.reader import quoted
from less_sync.bins.settings.regular_file import NotRegular, read_regular_file

FILE_BYTES_MAX: Final = 256 * 1024
PROBLEMS_MAX: Final = 20

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z", re.ASCII)
_BLANKS: Final = " \t\r\n"
_ENDS: Final = "\r\n"
_KEPT_ESCAPES: Final = '"\\`$'
"""What a backslash protects between double quotes; before anything else it stands for itself."""


class EnvFileError(Exception):
    """The file cannot be used. `problems` holds one message each, in the order of the lines."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__(*problems)
        self.problems = problems


@dataclass(frozen=True, slots=True)
class EnvFile:
    """A file as it was read."""

    path: Path
    values: Mapping[str, str] = field(repr=False)


def read_env_file(path: Path) -> EnvFile:
    """Read a file of at most 256 KiB.

    Raises:
        EnvFileError: it cannot be read, is too large, or there is something wrong in it.
    """
    named = f"ENV_FILE {quoted(str(path))}"
    try:
        return EnvFile(path, parse_env_file(read_regular_file(path, FILE_BYTES_MAX)))
    except OSError as error:
        raise EnvFileError([f"{named}: {os_error_text(error)}"]) from error
    except NotRegular as error:
        raise EnvFileError([f"{named}: {error}"]) from None
    except EnvFileError as error:
        raise EnvFileError([named + problem for problem in error.problems]) from None


def parse_env_file(content: bytes) -> dict[str, str]:
    """The variables of a file; of a name that comes twice the last counts.

    Raises:
        EnvFileError: with all problems, 20 at most, to be put behind the file's name: ` line 3: ...` each.
    """
    if len(content) > FILE_BYTES_MAX:
        raise EnvFileError([f": larger than {FILE_BYTES_MAX} bytes"])
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise EnvFileError([f" line {line}: not valid UTF-8"]) from None
    parser = _Parser()
    for character in text:
        parser.feed(character)
    parser.finish()
    if parser.problems:
        raise EnvFileError(parser.problems[:PROBLEMS_MAX])
    return parser.values


class _At(Enum):
    """Where in a line the parser stands."""

    START = auto()
    NAME = auto()
    BEFORE_VALUE = auto()
    VALUE = auto()
    ESCAPED = auto()
    SINGLE = auto()
    DOUBLE = auto()
    DOUBLE_ESCAPED = auto()
    COMMENT = auto()


class _Parser:
    """One character after the other, as systemd.exec(5) describes them."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}
        self.problems: list[str] = []
        self._at = _At.START
        self._line = 1
        self._began = 1
        """The line in which the name or the quote stands that is being read."""
        self._name: list[str] = []
        self._value: list[str] = []
        self._kept = 0
        """Characters of the value that no trimming takes away."""
        self._steps: Mapping[_At, Callable[[str], None]] = {
            _At.START: self._start,
            _At.NAME: self._in_name,
            _At.BEFORE_VALUE: self._before_value,
            _At.VALUE: self._in_value,
            _At.ESCAPED: self._escaped,
            _At.SINGLE: self._single,
            _At.DOUBLE: self._double,
            _At.DOUBLE_ESCAPED: self._double_escaped,
            _At.COMMENT: self._comment,
        }

    def feed(self, character: str) -> None:
        """Take one character."""
        if character in "\0\ufeff":
            self._tell(self._line, "a NUL or a byte order mark")
        self._steps[self._at](character)
        if character == "\n":
            self._line += 1

    def finish(self) -> None:
        """Take the end of the file, which ends a line."""
        match self._at:
            case _At.SINGLE | _At.DOUBLE | _At.DOUBLE_ESCAPED:
                self._tell(self._began, "the quote is not closed")
            case _At.NAME:
                self._tell(self._began, "expected NAME=VALUE")
            case _At.BEFORE_VALUE | _At.VALUE | _At.ESCAPED:
                self._assign()

    def _tell(self, line: int, fault: str) -> None:
        problem = f" line {line}: {fault}"
        if len(self.problems) < PROBLEMS_MAX and problem not in self.problems:
            self.problems.append(problem)

    def _assign(self) -> None:
        name = "".join(self._name).rstrip(_BLANKS)
        if _NAME.match(name):
            self.values[name] = "".join(self._value[: self._kept])
        elif name.startswith("export "):
            self._tell(self._began, "expected NAME=VALUE, without `export`")
        else:
            self._tell(self._began, "a name has letters, digits and underscores, and no digit in front")
        self._at = _At.START

    def _keep(self, character: str) -> None:
        self._value.append(character)
        self._kept = len(self._value)

    def _start(self, character: str) -> None:
        if character in "#;":
            self._at = _At.COMMENT
        elif character not in _BLANKS:
            self._name, self._value, self._kept = [], [], 0
            self._began = self._line
            self._at = _At.NAME
            self._in_name(character)

    def _in_name(self, character: str) -> None:
        if character in _ENDS:
            self._tell(self._began, "expected NAME=VALUE")
            self._at = _At.START
        elif character == "=":
            self._at = _At.BEFORE_VALUE
        else:
            self._name.append(character)

    def _before_value(self, character: str) -> None:
        """In front of a value, and behind a quoted part of it."""
        if character in _ENDS:
            self._assign()
        elif character in "'\"":
            self._began = self._line
            self._at = _At.SINGLE if character == "'" else _At.DOUBLE
        elif character == "\\":
            self._at = _At.ESCAPED
        elif character not in _BLANKS:
            self._at = _At.VALUE
            self._keep(character)

    def _in_value(self, character: str) -> None:
        if character in _ENDS:
            self._assign()
        elif character == "\\":
            self._kept = len(self._value)  # blanks in front of it are no end of the value
            self._at = _At.ESCAPED
        elif character in _BLANKS:
            self._value.append(character)  # kept if something follows
        else:
            self._keep(character)

    def _escaped(self, character: str) -> None:
        self._at = _At.VALUE
        if character not in _ENDS:
            self._keep(character)

    def _single(self, character: str) -> None:
        if character == "'":
            self._at = _At.BEFORE_VALUE
        else:
            self._keep(character)

    def _double(self, character: str) -> None:
        if character == '"':
            self._at = _At.BEFORE_VALUE
        elif character == "\\":
            self._at = _At.DOUBLE_ESCAPED
        else:
            self._keep(character)

    def _double_escaped(self, character: str) -> None:
        self._at = _At.DOUBLE
        if character in _KEPT_ESCAPES:
            self._keep(character)
        elif character != "\n":
            self._keep("\\")
            self._keep(character)

    def _comment(self, character: str) -> None:
        if character in _ENDS:
            self._at = _At.START
