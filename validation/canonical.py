"""JSON: written in one spelling, so that equal documents are equal bytes, and read. Pure.

Keys are sorted by code point, only what JSON must escape is escaped, and there are no fractions: a number
that one reader rounds and another does not would be two documents of one digest (docs/validation.md 7.2).
"""

import json
from collections.abc import Mapping
from typing import Any, Final

INTEGER_MAX: Final = 2**63 - 1
"""Whole numbers lie within plus and minus this."""


def canonical(document: object) -> bytes:
    """As reports hold it: indented by one blank, `,` and `: ` between, a line end at the end, in UTF-8.

    Raises:
        ValueError: it holds a fraction, a number beyond 64 bits, a key that is no text, or half a character.
    """
    _check(document)
    text = json.dumps(document, ensure_ascii=False, sort_keys=True, indent=1, separators=(",", ": "))
    return text.encode() + b"\n"


def compact(document: object) -> bytes:
    """Without blanks, keys sorted by code point, in UTF-8: lines of journals, and what digests are made of.

    Raises:
        ValueError: as `canonical`.
    """
    _check(document)
    return json.dumps(document, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def parsed(text: str | bytes) -> Any:
    """What JSON of somebody else's says.

    Raises:
        ValueError: it is none, or nested too deeply.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _check(value: object) -> None:
    match value:
        case None | bool() | str():
            return
        case int():
            if not -INTEGER_MAX <= value <= INTEGER_MAX:
                raise ValueError("a number beyond 64 bits")
        case Mapping():
            for key, one in value.items():
                if not isinstance(key, str):
                    raise ValueError(f"a key of type {type(key).__name__}")
                _check(one)
        case list() | tuple():
            for one in value:
                _check(one)
        case _:
            raise ValueError(f"a value of type {type(value).__name__}")
