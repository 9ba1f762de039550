"""Reads typed values out of an environment and remembers every problem instead of stopping at the first."""

from collections.abc import Collection, Mapping
from typing import Final, TypeVar

from less_sync.bins.settings.slips import slips

U64_MAX: Final = 2**64 - 1
TRUE_WORDS: Final = frozenset({"1", "true", "yes", "on"})
_FALSE: Final = frozenset({"0", "false", "no", "off"})
_Number = TypeVar("_Number", int, float)
_SHORT_ESCAPES: Final = {"\t": "\\t", "\n": "\\n", "\r": "\\r", "\0": "\\0", '"': '\\"', "\\": "\\\\"}


def quoted(text: str) -> str:
    r"""Show a value in an error message: in double quotes, with `\"`, `\\`, `\n`, `\u{7}` and such escapes.

    The form of error texts: docs/operations.md 3.2.
    """
    return '"' + "".join(_SHORT_ESCAPES.get(c) or _escaped(c) for c in text) + '"'


def _escaped(character: str) -> str:
    return character if character.isprintable() else f"\\u{{{ord(character):x}}}"


class SettingsReader:
    """Typed reads of one mapping; each failed read adds its message to `problems` and returns the default.

    A value that is not valid Unicode counts as unset. Set-but-empty is *not* unset, unless a method says so
    (docs/settings.md).
    """

    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = env
        self.problems: list[str] = []
        self.names: set[str] = set()
        """Every variable that was asked for, set or not."""
        self.found: dict[str, str] = {}
        """Setting to the variable that decides it, where one does: its own name, or an alias."""

    def text(self, name: str) -> str | None:
        """The value of a variable, untouched."""
        self.names.add(name)
        value = self._env.get(name)
        if value is None or not _is_unicode(value):
            self.found.pop(name, None)
            return None
        self.found[name] = name
        return value

    def text_or_blank(self, name: str) -> str | None:
        """The value untouched, but None if it is blank."""
        value = self.text(name)
        if value is None or not value.strip():
            self.found.pop(name, None)
            return None
        return value

    def trimmed(self, name: str) -> str | None:
        """The value without blanks around it; None if nothing is left of it."""
        value = self.text_or_blank(name)
        return None if value is None else value.strip()

    def text_or_empty(self, name: str) -> str | None:
        """The value untouched, but None if it is empty."""
        value = self.text(name)
        if not value:
            self.found.pop(name, None)
        return value or None

    def text_or_alias(self, name: str, alias: str) -> str | None:
        """The first of two variables that is neither unset nor empty, untouched."""
        first, second = self.text_or_empty(name), self.text_or_empty(alias)
        self.found.pop(alias, None)
        if first is None and second is not None:
            self.found[name] = alias
        return first or second

    def apart(self) -> "SettingsReader":
        """A reader of the same variables whose problems are nobody's; what it asks for counts here."""
        other = SettingsReader(self._env)
        other.names, other.found = self.names, self.found
        return other

    def slips(self) -> list[str]:
        """Warnings about variables that were not asked for and look as if they were meant to be."""
        return slips(self._env, self.names)

    def reject(self, name: str, value: str, expectation: str) -> None:
        """Remember `invalid {name} value "{value}": {expectation}`."""
        self.problems.append(f"invalid {name} value {quoted(value)}: {expectation}")

    def is_set(self, name: str) -> bool:
        """True also for an empty value."""
        return self.text(name) is not None

    def count(self, name: str, default: int, *, at_least: int = 1, at_most: int = U64_MAX) -> int:
        """A positive integer: decimal digits after an optional `+`; trimmed; empty counts as unset.

        Args:
            at_least: 1, or 0 where zero means something.
            at_most: the largest value accepted; 64 bits unless something smaller is meant.
        """
        value = self.optional_count(name, at_least=at_least, at_most=at_most)
        return default if value is None else value

    def optional_count(self, name: str, *, at_least: int = 1, at_most: int = U64_MAX) -> int | None:
        """Like `count`, for a variable whose absence means something of its own."""
        value = self.trimmed(name)
        if value is None:
            return None
        digits = value.removeprefix("+")
        if not (digits.isascii() and digits.isdigit()):
            self.reject(name, value, "invalid digit found in string")
            return None
        # Leading zeros are free; 20 digits hold 64 bits, and int() of a text of any length is quadratic.
        significant = digits.lstrip("0")
        number = int(significant or "0") if len(significant) <= 20 else U64_MAX + 1
        if number > U64_MAX:
            self.reject(name, value, "number too large to fit in target type")
        elif number < at_least:
            self.problems.append(f"{name} must be greater than zero")
        elif number > at_most:
            self.problems.append(f"{name} must not exceed {at_most}")
        else:
            return number
        return None

    def between(self, name: str, default: int, low: int, high: int) -> int:
        """An integer from `low`, which may be 0, to `high`; in the form of `count`."""
        value = self.optional_count(name, at_least=0)
        return default if value is None else self._within(name, value, default, low, high)

    def decimal_between(self, name: str, default: float, low: float, high: float) -> float:
        """A decimal number from `low` to `high`, such as `3` or `1.5`; trimmed; empty counts as unset."""
        return self._within(name, self._decimal(name, default), default, low, high)

    def seconds(self, name: str, default: float) -> float:
        """A positive decimal number such as `30` or `0.5`; trimmed; empty counts as unset."""
        number = self._decimal(name, default)
        if number > 0:
            return number
        self.problems.append(f"{name} must be greater than zero")
        return default

    def fraction(self, name: str, default: float) -> float:
        """A decimal number from 0 up to, not including, 1; trimmed; empty counts as unset."""
        number = self._decimal(name, default)
        if number < 1:
            return number
        self.problems.append(f"{name} must be less than one")
        return default

    def flag(self, name: str, default: bool) -> bool:
        """`true`, `1`, `yes`, `on` or `false`, `0`, `no`, `off`, in any letter case."""
        value = self.text(name)
        if value is None:
            return default
        if value.strip().lower() in TRUE_WORDS | _FALSE:
            return value.strip().lower() in TRUE_WORDS
        self.reject(name, value, 'expected "true" or "false"')
        return default

    def choice(self, name: str, default: str, options: Collection[str]) -> str:
        """One of `options`, in any letter case."""
        value = self.text(name)
        if value is None:
            return default
        if value.strip().lower() in options:
            return value.strip().lower()
        self.reject(name, value, "expected one of " + ", ".join(quoted(option) for option in options))
        return default

    def choice_or_blank(self, name: str, default: str, options: Collection[str]) -> str:
        """Like `choice`; blank counts as unset."""
        return default if self.trimmed(name) is None else self.choice(name, default, options)

    def _within(self, name: str, value: _Number, default: _Number, low: _Number, high: _Number) -> _Number:
        if low <= value <= high:
            return value
        self.problems.append(f"{name} must be between {low} and {high}")
        return default

    def _decimal(self, name: str, default: float) -> float:
        value = self.trimmed(name)
        if value is None:
            return default
        whole, _, part = value.partition(".")
        digits = whole + part
        # Nine digits before the point are 31 years: more is a slip, and no float loses them.
        if digits.isascii() and digits.isdigit() and whole and len(whole) <= 9 and len(value) <= 20:
            return float(value)
        self.reject(name, value, "expected a number such as 30 or 0.5")
        return default


def _is_unicode(value: str) -> bool:
    """False for what the operating system handed over as undecodable bytes (surrogate escapes)."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
