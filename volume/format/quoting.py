"""Texts in error messages, in quotes, as existing servers write them."""

from typing import Final

_ESCAPES: Final = {
    '"': '\\"',
    "\\": "\\\\",
    "\a": "\\a",
    "\b": "\\b",
    "\f": "\\f",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
    "\v": "\\v",
}
_SURROGATES: Final = range(0xDC80, 0xDD00)
"""What bytes that are no UTF-8 are decoded to (`surrogateescape`)."""


def quoted(text: str) -> str:
    """`text` in double quotes; what could be mistaken or is not printable is escaped, bytes as `\\xff`."""
    return f'"{"".join(map(_shown, text))}"'


def _shown(sign: str) -> str:
    code = ord(sign)
    if sign in _ESCAPES:
        return _ESCAPES[sign]
    if code in _SURROGATES:
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x20 or code == 0x7F:
        return f"\\x{code:02x}"
    if sign.isprintable():
        return sign
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
