"""What is wrong with params, in words for whoever writes a client: which field, and what was expected there.

The words are ours, not msgspec's: they name fields of our own types, places in lists and kinds of values, and
hold nothing that was sent.
"""

import re
from typing import Final

_QUOTED: Final = re.compile(r"`([^`]*)`")
_MISSING: Final = re.compile(r"Object missing required field `([^`]*)`")
_KINDS: Final = {
    "str": "text",
    "bytes": "bytes",
    "int": "integer",
    "float": "float",
    "bool": "boolean",
    "array": "array",
    "object": "map",
    "null": "null",
    "cbor2.UndefinedType": "undefined",
    "Refused": "a tag, or a map with odd or repeated keys",
}
_OTHER_KIND: Final = "another kind of value"


def fault_words(problem: str) -> str:
    """What a ValidationError of msgspec says, as `changes[0].blob: expected bytes, got text`."""
    reason, _, place = problem.partition(" - at ")
    is_key, _, within = place.rpartition(" in ")
    path = within.strip("`").removeprefix("$").removeprefix(".")
    missing = _MISSING.fullmatch(reason)
    if missing is not None:
        path = f"{path}.{missing[1]}" if path else missing[1]
        words = "missing"
    elif is_key:
        words = "a key that is no text"
    else:
        words = _QUOTED.sub(lambda quoted: _kind(quoted[1]), reason)
        words = words[:1].lower() + words[1:]
    return f"{path}: {words}" if path else words


def _kind(name: str) -> str:
    # An optional field may be null, which is as if it were not there: no more need be said about it.
    return _KINDS.get(name.removesuffix(" | null"), _OTHER_KIND)
