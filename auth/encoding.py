"""Strict texts: base64url, JSON, UUIDs and scopes, each read in exactly one way.

A second text for the same token would be a second hash, and revocation goes by the hash of the text
(docs/tokens.md 1.1 and 7.5). So nothing here is lenient, and every reader is linear in its input.
"""

import json
import re
from base64 import urlsafe_b64encode
from binascii import a2b_base64
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final, NoReturn
from uuid import UUID

from less_sync.auth.errors import MalformedText

JSON_DEPTH_MAX: Final = 128
"""Containers a header or payload may nest, its own object included (docs/tokens.md 1.2)."""

_UINT64_MAX: Final = 2**64 - 1
_UINT64_DIGITS: Final = 20

_TO_STANDARD: Final = bytes.maketrans(b"-_+/=", b"+/!!!")
_PADDING: Final = (b"", b"", b"==", b"=")
_LAST_CHARACTERS: Final = ("", "", "AQgw", "AEIMQUYcgkosw048")
"""By the length modulo 4: what a text may end with, its unused bits being zero."""

_WHITE_SPACE: Final = "\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
_WORD: Final = re.compile(f"[^{_WHITE_SPACE}]+")
_JSON_MARK: Final = re.compile(r'"(?:[^"\\]|\\.)*+"?|[][{}]', re.DOTALL)
_HYPHENATED: Final = "[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"
_UUID_36: Final = re.compile(_HYPHENATED)
_UUID_OTHER: Final = re.compile(rf"[0-9a-fA-F]{{32}}|\{{{_HYPHENATED}\}}|urn:uuid:{_HYPHENATED}")


def b64url_encode(data: bytes) -> str:
    """Base64url without padding (RFC 4648 section 5)."""
    return urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def b64url_decode(text: str) -> bytes:
    """Decode base64url without padding: no `=`, no foreign character, unused bits zero.

    The library's strict mode refuses foreign characters, but not unused bits that are set, and it knows
    the standard alphabet only: hence the translation, which also makes `+`, `/` and `=` foreign.

    Raises:
        MalformedText: the text is not the encoding of any bytes.
    """
    partial = len(text) % 4
    if partial and text[-1] not in _LAST_CHARACTERS[partial]:
        raise MalformedText
    try:
        return a2b_base64(text.encode("ascii").translate(_TO_STANDARD) + _PADDING[partial], strict_mode=True)
    except ValueError:
        raise MalformedText from None


def parse_json_object(data: bytes) -> dict[str, Any]:
    """Decode one JSON object strictly (docs/tokens.md 1.2).

    UTF-8 without BOM, no member name twice, no `NaN`, at most `JSON_DEPTH_MAX` deep.
    Numbers that are no integer of 0 to 2^64-1, `-0` included, come back as floats, which
    `int_member` refuses.

    Raises:
        MalformedText: anything else than that.
    """
    try:
        text = data.decode("utf-8")
        _check_depth(text)
        value = _DECODER.decode(text)
    except ValueError:
        raise MalformedText from None
    if not isinstance(value, dict):
        raise MalformedText
    return value


def _check_depth(text: str) -> None:
    """Refuse deep nesting before the recursive decoder sees it.

    Most texts have too few brackets to be walked.
    """
    if text.count("{") + text.count("[") <= JSON_DEPTH_MAX:
        return
    depth = 0
    for mark in _JSON_MARK.finditer(text):
        found = text[mark.start()]
        if found in "{[":
            depth += 1
            if depth > JSON_DEPTH_MAX:
                raise ValueError
        elif found in "}]":
            depth -= 1


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError
    return members


def _no_constant(_name: str) -> NoReturn:
    raise ValueError


def _unsigned_or_float(digits: str) -> int | float:
    # Also keeps numbers of thousands of digits from the quadratic conversion to an integer.
    if digits.startswith("-") or len(digits) > _UINT64_DIGITS:
        return float(digits)
    return int(digits)


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_unique, parse_constant=_no_constant, parse_int=_unsigned_or_float
)


def text_of(value: object) -> str:
    """The value, if it is a string that UTF-8 can hold.

    Raises:
        MalformedText: another type, or an unpaired surrogate (an escape in the JSON).
    """
    if type(value) is not str:
        raise MalformedText
    if not value.isascii():
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            raise MalformedText from None
    return value


def text_member(members: Mapping[str, Any], name: str) -> str:
    """The string member `name`, "" if absent.

    Raises:
        MalformedText: present with another type, `null` included, or no valid Unicode.
    """
    return text_of(members[name]) if name in members else ""


def int_member(members: Mapping[str, Any], name: str) -> int | None:
    """The integer member `name`, 0 to 2^64-1; None if absent or `null`.

    Raises:
        MalformedText: another type or range.
    """
    value = members.get(name)
    if value is None:
        return None
    # A bool is an int to isinstance.
    if type(value) is not int or value > _UINT64_MAX:
        raise MalformedText
    return value


def texts_member(members: Mapping[str, Any], name: str) -> list[str]:
    """The member `name` given as a string or an array of strings; empty if absent or `null` (RFC 7519 4.1.3).

    Raises:
        MalformedText: another type, of the member or of an element.
    """
    value = members.get(name)
    if value is None:
        return []
    if isinstance(value, list):
        return [text_of(item) for item in value]
    return [text_of(value)]


def parse_uuid(text: str) -> UUID | None:
    """Read a UUID in the four accepted spellings (docs/tokens.md 1.3), or return None.

    Hyphenated, 32 hex digits, hyphenated in braces, hyphenated after `urn:uuid:`; hex digits in
    either case. `uuid.UUID` alone takes hyphens anywhere and digits of other scripts.
    """
    if len(text) == 36:
        return _parse_hyphenated(text)
    return UUID(text) if _UUID_OTHER.fullmatch(text) else None


# The same few spaces are named again and again; texts of one length keep this small.
@lru_cache(maxsize=4096)
def _parse_hyphenated(text: str) -> UUID | None:
    return UUID(text) if _UUID_36.fullmatch(text) else None


def split_white_space(text: str) -> list[str]:
    """The words of a text between Unicode White_Space.

    `str.split` also splits at U+001C to U+001F, which are not in it.
    """
    return _WORD.findall(text)


def granted_scopes(scope: str) -> frozenset[str]:
    """The scopes a `scope` claim grants (docs/tokens.md 2.2)."""
    return frozenset(split_white_space(scope))
