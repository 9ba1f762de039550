"""The syntax of flags that existing servers take: the command line, the environment and a file of options.

One dash or two, `-name=value` or `-name value`; a Boolean flag takes no separate value. What the command line
does not set the environment may, and then the file that the flag `options` names. Values are kept as text,
checked by kind.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, NamedTuple

Kind = Literal["bool", "int", "text", "duration"]
Origin = Literal["default", "line", "environment", "file"]
_TRUE: Final = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_FALSE: Final = frozenset({"0", "f", "F", "FALSE", "false", "False"})
_INT: Final = re.compile(r"([+-]?)(0[xX][0-9a-fA-F_]+|0[bB][01_]+|0[oO]?[0-7_]+|0|[1-9][0-9_]*)\Z", re.ASCII)
_INT_MAX: Final = (1 << 63) - 1
_UNIT_S: Final = {
    "ns": 1e-9,
    "us": 1e-6,
    "µs": 1e-6,
    "μs": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
}
_DURATION: Final = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)", re.ASCII)
_DURATION_S_MAX: Final = 9223372036.0
OPTIONS_BYTES_MAX: Final = 1 << 20


class Flag(NamedTuple):
    """One flag. `top` ones may also stand before the sub-command, and have a prefix in the environment."""

    name: str
    kind: Kind
    default: str
    meaning: str
    top: bool = False
    ignored: bool = False
    """Accepted because existing servers know it, and without effect here."""

    @property
    def variable(self) -> str:
        """The variable of the environment that sets it."""
        plain = self.name.upper().replace(".", "_").replace("-", "_")
        return f"WEED_{plain}" if self.top else plain


class FlagError(Exception):
    """The line, the environment or the file is not understood; the text says what about it."""


class HelpWanted(Exception):
    """`-h` or `-help` was given."""


@dataclass(slots=True)
class Given:
    """The value of every flag, as text, and where it comes from."""

    values: dict[str, str]
    origins: dict[str, Origin]
    rest: Sequence[str] = ()
    """What stands behind the first argument that is no flag, that one included."""

    def text(self, name: str) -> str:
        """The value as it was given."""
        return self.values[name]

    def integer(self, name: str) -> int:
        """The value of an `int` flag."""
        return parse_int(self.values[name])

    def boolean(self, name: str) -> bool:
        """The value of a `bool` flag."""
        return self.values[name] in _TRUE

    def seconds(self, name: str) -> float:
        """The value of a `duration` flag."""
        return parse_duration(self.values[name])


def parse_int(text: str) -> int:
    """A whole number of 64 bits, decimal or with a prefix for another base.

    Raises:
        ValueError: it is none; the text says which way.
    """
    match = _INT.match(text)
    if match is None or "__" in text or text.endswith("_"):
        raise ValueError("parse error")
    sign, digits = match.groups()
    octal = len(digits) > 1 and digits[0] == "0" and digits[1] not in "xXbBoO"
    value = int(sign + ("0o" + digits[1:].lstrip("_") if octal else digits), 0)
    if not -_INT_MAX - 1 <= value <= _INT_MAX:
        raise ValueError("value out of range")
    return value


def parse_duration(text: str) -> float:
    """Seconds of a duration such as `300ms`, `2s`, `1m30s` or `1h`; `0` needs no unit.

    Raises:
        ValueError: it is none.
    """
    sign, unsigned = (-1.0, text[1:]) if text.startswith("-") else (1.0, text.removeprefix("+"))
    if unsigned == "0":
        return 0.0
    parts = _DURATION.findall(unsigned)
    if not parts or "".join(number + unit for number, unit in parts) != unsigned:
        raise ValueError("parse error")
    seconds = sum(float(number) * _UNIT_S[unit] for number, unit in parts)
    if seconds > _DURATION_S_MAX:
        raise ValueError("parse error")
    return sign * seconds


class Parser:
    """Reads flags into a `Given`. Each source sets only what none before it has set."""

    def __init__(self, flags: Iterable[Flag]) -> None:
        self._flags: Final = {flag.name: flag for flag in flags}
        self._given: Final = Given(
            {flag.name: flag.default for flag in self._flags.values()},
            dict.fromkeys(self._flags, "default"),
        )

    def parse(self, arguments: Sequence[str], environment: Mapping[str, str], *, word: str) -> Given:
        """Read all three sources. `word` is the sub-command, which may stand between flags, once.

        Raises:
            FlagError: something is not understood.
            HelpWanted: help was asked for.
        """
        rest = self._line(arguments)
        if rest[:1] == [word]:
            rest = self._line(rest[1:])
        self._given.rest = rest
        self._environment(environment)
        if path := self._given.values["options"]:
            self._file(Path(path))
        return self._given

    def _line(self, arguments: Sequence[str]) -> list[str]:
        """Read flags up to the first argument that is none; what follows is returned."""
        rest = list(reversed(arguments))
        while rest:
            argument = rest[-1]
            if len(argument) < 2 or not argument.startswith("-"):
                break
            rest.pop()
            if argument == "--":
                break
            name, equals, value = argument[2 if argument.startswith("--") else 1 :].partition("=")
            if not name or name.startswith("-"):
                raise FlagError(f"bad flag syntax: {argument}")
            flag = self._flags.get(name)
            if flag is None:
                if name in ("h", "help"):
                    raise HelpWanted
                raise FlagError(f"flag provided but not defined: -{name}")
            if not equals and flag.kind == "bool":
                value = "true"
            elif not equals:
                if not rest:
                    raise FlagError(f"flag needs an argument: -{name}")
                value = rest.pop()
            self._set(flag, value, "line", "flag -" + name)
        return rest[::-1]

    def _environment(self, environment: Mapping[str, str]) -> None:
        for flag in self._flags.values():
            value = environment.get(flag.variable)
            if value is not None and self._given.origins[flag.name] == "default":
                if flag.kind == "bool":
                    value = value or "true"
                self._set(flag, value, "environment", f"environment variable {flag.name}")

    def _file(self, path: Path) -> None:
        """Lines `name=value`, `name value` or `name:value`; `#` comments; unknown names are ignored."""
        try:
            with path.expanduser().open(encoding="utf-8") as file:
                text = file.read(OPTIONS_BYTES_MAX)
        except (OSError, ValueError, RuntimeError) as error:  # the last one: no such home
            raise FlagError(f"options file {path}: {getattr(error, 'strerror', None) or error}") from error
        set_before = {name for name, origin in self._given.origins.items() if origin != "default"}
        for line in map(str.strip, text.splitlines()):
            if not line or line.startswith("#"):
                continue
            name, *separated = re.split(r"[= :]", line, maxsplit=1)
            flag = self._flags.get(name.lstrip("-"))
            if flag is None or flag.name in set_before:
                continue
            value = separated[0].strip() if separated else ""
            if flag.kind == "bool":
                value = value or "true"
            self._set(flag, value, "file", f"configuration variable {flag.name}")

    def _set(self, flag: Flag, value: str, origin: Origin, what: str) -> None:
        try:
            _check(flag.kind, value)
        except ValueError as error:
            if flag.kind == "bool" and origin == "line":
                raise FlagError(
                    f"invalid boolean value {_quoted(value)} for -{flag.name}: {error}"
                ) from error
            kind = "boolean value" if flag.kind == "bool" else "value"
            raise FlagError(f"invalid {kind} {_quoted(value)} for {what}: {error}") from error
        self._given.values[flag.name] = value
        self._given.origins[flag.name] = origin


def _check(kind: Kind, value: str) -> None:
    if kind == "bool" and value not in _TRUE | _FALSE:
        raise ValueError("parse error")
    if kind == "int":
        parse_int(value)
    if kind == "duration":
        parse_duration(value)


def _quoted(value: str) -> str:
    """In double quotes, as existing servers write it."""
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
