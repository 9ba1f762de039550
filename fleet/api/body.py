"""Bodies and queries, read member by member; all problems are told at once, in the order of reading."""

import json
import re
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final, NoReturn, TypeVar
from uuid import UUID

from less_sync.fleet.errors import FieldProblem, Refused, invalid

T = TypeVar("T")

INTEGER_MAX: Final = 2**53
"""Beyond it, the numbers of browsers and other JSON readers are no longer exact."""

_SEMVER_NUMBER: Final = r"(?:0|[1-9][0-9]{0,9})"
_SEMVER_WORD: Final = r"(?:0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*)"
_SEMVER: Final = re.compile(
    rf"{_SEMVER_NUMBER}\.{_SEMVER_NUMBER}\.{_SEMVER_NUMBER}(?:-{_SEMVER_WORD}(?:\.{_SEMVER_WORD})*)?\Z",
    re.ASCII,
)
_LABEL_KEY: Final = re.compile(r"[a-z0-9](?:[a-z0-9._/-]{0,61}[a-z0-9])?\Z", re.ASCII)
_TIME: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?(?:[Zz]|[+-][0-9]{2}:[0-9]{2})\Z",
    re.ASCII,
)
OWN_LABELS: Final = "less-sync/"
"""What the keys of the plane's own labels begin with."""


def parse_object(body: bytes) -> dict[str, Any]:
    """One JSON object: no member twice, no NaN, no number beyond ±2^53, no NUL and no half of a character.

    Raises:
        Refused: 400 `invalid_json`.
    """
    try:
        text = body.decode("utf-8")
        value = json.loads(
            text,
            object_pairs_hook=_members,
            parse_constant=_no_number,
            parse_int=_integer,
            parse_float=_number,
        )
        if "\\u" in text:
            _check_texts(value)
    except (ValueError, RecursionError):
        raise Refused(400, "invalid JSON", code="invalid_json") from None
    if not isinstance(value, dict):
        raise Refused(400, "invalid JSON: expected an object", code="invalid_json")
    return value


class Fields:
    """The members of a body or query. Each read adds its problem, and its value is of no use then."""

    def __init__(self, members: Mapping[str, object], *, strict: bool) -> None:
        self._members = members
        self._strict = strict
        self._read: set[str] = set()
        self.problems: list[FieldProblem] = []

    def has(self, name: str) -> bool:
        """Whether a member is there, null or not: what a change names is changed."""
        self._read.add(name)
        return name in self._members

    def is_null(self, name: str) -> bool:
        """Whether a member is there and null: a change that takes a value away."""
        return self.has(name) and self._members[name] is None

    def problem(self, name: str, message: str) -> None:
        """Remember a problem that no reader below knows."""
        self.problems.append(FieldProblem(name, message))

    def finish(self) -> None:
        """Refuse what has problems, and, where the route is strict, members that nobody has read.

        Raises:
            Refused: 400 with all of them.
        """
        if self._strict:
            for name in self._members:
                if name not in self._read:
                    self.problem(name, "unknown field")
        if self.problems:
            raise invalid(self.problems)

    def text(
        self, name: str, *, at_most: int, at_least: int = 1, default: str | None = None, lines: bool = False
    ) -> str:
        """A text, trimmed, of so many characters, without control characters.

        Args:
            lines: line feeds and tabs may be in it.
            default: for a member that is absent or null; None: it is required.
        """
        found = self.optional_text(
            name, at_most=at_most, at_least=at_least, lines=lines, required=default is None
        )
        return (default or "") if found is None else found

    def optional_text(
        self, name: str, *, at_most: int, at_least: int = 1, lines: bool = False, required: bool = False
    ) -> str | None:
        """As `text`; None when it is absent or null."""

        def check(value: object) -> str:
            if not isinstance(value, str):
                raise _Wrong("expected a text")
            text = value.strip()
            if not at_least <= len(text) <= at_most:
                bounds = f"{at_least} to {at_most}" if at_least else f"at most {at_most}"
                raise _Wrong(f"must have {bounds} characters")
            if any((ord(c) < 0x20 and not (lines and c in "\n\r\t")) or 0x7F <= ord(c) < 0xA0 for c in text):
                raise _Wrong("must not contain control characters")
            return text

        return self._optional(name, check, required)

    def matching(
        self, name: str, pattern: re.Pattern[str], message: str, *, required: bool = False
    ) -> str | None:
        """A text that the whole pattern matches; None when it is absent or null."""

        def check(value: object) -> str:
            if not isinstance(value, str) or not pattern.fullmatch(value):
                raise _Wrong(message)
            return value

        return self._optional(name, check, required)

    def choice(self, name: str, choices: Collection[str], *, default: str | None = None) -> str:
        """One of some words; without a default it is required."""
        return self.optional_choice(name, choices, required=default is None) or default or ""

    def optional_choice(self, name: str, choices: Collection[str], *, required: bool = False) -> str | None:
        """One of some words; None when it is absent or null."""

        def check(value: object) -> str:
            if not isinstance(value, str) or value not in choices:
                raise _Wrong(f"must be one of {', '.join(choices)}")
            return value

        return self._optional(name, check, required)

    def integer(self, name: str, low: int, high: int, *, default: int | None = None) -> int:
        """An integer within bounds; without a default it is required."""
        found = self.optional_integer(name, low, high, required=default is None)
        return (default or 0) if found is None else found

    def optional_integer(self, name: str, low: int, high: int, *, required: bool = False) -> int | None:
        """An integer within bounds; None when it is absent or null."""

        def check(value: object) -> int:
            number = integer(value)
            if not low <= number <= high:
                raise _Wrong(f"must be between {low} and {high}")
            return number

        return self._optional(name, check, required)

    def flag(self, name: str, *, default: bool) -> bool:
        """True or false."""
        found = self.optional_flag(name)
        return default if found is None else found

    def optional_flag(self, name: str) -> bool | None:
        """True or false; None when it is absent or null."""
        return self._optional(name, _boolean, False)

    def uuid(self, name: str) -> UUID:
        """A required UUID."""
        return self._optional(name, _uuid, True) or UUID(int=0)

    def optional_uuid(self, name: str) -> UUID | None:
        """A UUID; None when it is absent or null."""
        return self._optional(name, _uuid, False)

    def time(self, name: str) -> datetime:
        """A required time (RFC 3339), aware, in UTC."""
        return self._optional(name, _time, True) or datetime.now(UTC)

    def optional_time(self, name: str) -> datetime | None:
        """A time; None when it is absent or null."""
        return self._optional(name, _time, False)

    def version(self, name: str) -> str:
        """A required version (SemVer 2.0.0) without build metadata, of at most 64 characters."""
        return self._optional(name, _version, True) or ""

    def labels(self, name: str) -> dict[str, str]:
        """Labels that operators and servers give themselves: at most 32; absent or null is none."""
        return self._optional(name, _labels, False) or {}

    def mapping(self, name: str) -> dict[str, Any]:
        """A required object."""
        return self._optional(name, _object, True) or {}

    def each(self, checks: "Mapping[str, Callable[[object], object]]") -> dict[str, object]:
        """Many members at once, those that are there and right; each is checked as `custom` does."""
        found: dict[str, object] = {}
        for name, check in checks.items():
            value = self._members.get(name)
            if value is not None:
                try:
                    found[name] = check(value)
                except _Wrong as wrong_:
                    self.problem(name + wrong_.below, wrong_.message)
        self._read.update(checks)
        return found

    def custom(self, name: str, check: "Callable[[object], T]", *, required: bool = False) -> T | None:
        """Whatever `check` makes of a member; it raises `wrong(message)` for what it does not take."""
        return self._optional(name, check, required)

    def _optional(self, name: str, check: "Callable[[object], T]", required: bool) -> T | None:
        self._read.add(name)
        value = self._members.get(name)
        if value is None:
            if required:
                self.problem(name, "required")
            return None
        try:
            return check(value)
        except _Wrong as wrong_:
            self.problem(name + wrong_.below, wrong_.message)
            return None


class _Wrong(Exception):
    def __init__(self, message: str, below: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.below = below


def wrong(message: str, below: str = "") -> Exception:
    """What a check of `Fields.custom` raises; `below` follows the field's name, as `[0]` or `.key` does."""
    return _Wrong(message, below)


def integer(value: object) -> int:
    """An integer, also one that is written as 7.0, as some languages do (JSON Schema 2020-12, 6.1.1).

    For `Fields.custom` and the like: raises as `wrong`.
    """
    if type(value) is int:
        return value
    if type(value) is float and value.is_integer():
        return int(value)
    raise _Wrong("expected an integer")


def _members(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member is there twice")
    return members


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON")


def _integer(text: str) -> int:
    value = int(text) if len(text) <= 17 else INTEGER_MAX + 1
    if abs(value) > INTEGER_MAX:
        raise ValueError("a number beyond 2^53")
    return value


def _number(text: str) -> float:
    value = float(text)
    if not abs(value) <= INTEGER_MAX:
        raise ValueError("a number beyond 2^53")
    return value


def _check_texts(value: object) -> None:
    """Postgres keeps no NUL, and nothing encodes half of a surrogate pair."""
    if isinstance(value, str):
        if "\0" in value:
            raise ValueError("a NUL character")
        value.encode()
    elif isinstance(value, dict):
        for name, member in value.items():
            _check_texts(name)
            _check_texts(member)
    elif isinstance(value, list):
        for item in value:
            _check_texts(item)


def _boolean(value: object) -> bool:
    if not isinstance(value, bool):
        raise _Wrong("expected true or false")
    return value


def _uuid(value: object) -> UUID:
    if isinstance(value, str):
        with suppress(ValueError):
            parsed = UUID(value)
            # The constructor also takes braces, `urn:uuid:` and no hyphens.
            if str(parsed) == value.lower():
                return parsed
    raise _Wrong("expected a UUID")


def _time(value: object) -> datetime:
    if not isinstance(value, str) or not _TIME.match(value):
        raise _Wrong("expected a time, as 2026-01-31T12:00:00Z")
    try:
        # Python reads three or six digits of a second's fraction; more are cut.
        whole, _, rest = value.upper().replace("Z", "+00:00").partition(".")
        if rest:
            digits, sign, zone = re.split(r"([+-])", rest)
            whole = f"{whole}.{digits[:6]:0<6}{sign}{zone}"
        return datetime.fromisoformat(whole).astimezone(UTC)
    except (ValueError, OverflowError):
        raise _Wrong("expected a time, as 2026-01-31T12:00:00Z") from None


def _version(value: object) -> str:
    if not isinstance(value, str) or len(value) > 64 or not _SEMVER.match(value):
        raise _Wrong("expected a version, as 1.2.3 or 1.2.3-rc.1, of at most 64 characters")
    return value


def _object(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _Wrong("expected an object")
    return value


def _labels(value: object) -> dict[str, str]:
    labels = _object(value)
    if len(labels) > 32:
        raise _Wrong("must have at most 32 entries")
    for key, text in labels.items():
        if not _LABEL_KEY.match(key):
            raise _Wrong(
                "a key has 1 to 63 of a-z, 0-9, . _ / -, and begins and ends with a letter or digit",
                f".{key}",
            )
        if key.startswith(OWN_LABELS):
            raise _Wrong(f"keys that begin with {OWN_LABELS} are the plane's own", f".{key}")
        if not isinstance(text, str) or len(text) > 255 or any(ord(c) < 0x20 for c in text):
            raise _Wrong("expected a text of at most 255 characters", f".{key}")
    return labels
