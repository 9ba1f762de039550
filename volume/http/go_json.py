"""What existing servers say of a text that is no JSON (RFC 8259)."""

import json
import re
from typing import Final

_TYPES: Final = {dict: "object", list: "array", str: "string", bool: "bool", int: "number", float: "number"}
_LITERALS: Final = {"n": "null", "t": "true", "f": "false"}
_QUOTED: Final = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_ESCAPED: Final = {"'": "\\'", '"': '"', "\n": "\\n", "\r": "\\r", "\t": "\\t", "\\": "\\\\"}


def json_fault(text: str) -> str:
    """Why `text` is no JSON, or no JSON of the expected shape, if it is some."""
    try:
        told = json.loads(text)
    except RecursionError:
        return "exceeded max depth"
    except json.JSONDecodeError as fault:
        return _worded(text, fault)
    except ValueError as fault:
        return str(fault)
    return f"json: cannot unmarshal {_TYPES.get(type(told), 'null')} into Go value"


def _worded(text: str, fault: json.JSONDecodeError) -> str:
    at = fault.pos
    if fault.msg == "Expecting value" and text[at : at + 1] in _LITERALS:
        literal = _LITERALS[text[at]]
        for offset, expected in enumerate(literal):
            if text[at + offset : at + offset + 1] != expected:
                return _invalid(text, at + offset, f"in literal {literal} (expecting {_sign(expected)})")
    if fault.msg.startswith("Invalid \\"):
        return _invalid(text, at + 1, "in string escape code")
    if fault.msg.startswith("Unterminated string"):
        return "unexpected end of JSON input"
    if fault.msg == "Invalid control character at":
        return f"invalid character {_sign(text[at])} in string literal"
    return _invalid(text, at, _place(text, fault))


def _place(text: str, fault: json.JSONDecodeError) -> str:
    match fault.msg:
        case "Extra data":
            return "after top-level value"
        case "Expecting ':' delimiter":
            return "after object key"
        case "Expecting ',' delimiter":
            before = _QUOTED.sub("", text[: fault.pos])
            in_array = _open_brackets(before)[-1:] == ["["]
            return "after array element" if in_array else "after object key:value pair"
        case "Expecting property name enclosed in double quotes":
            return "looking for beginning of object key string"
    return "looking for beginning of value"


def _open_brackets(text: str) -> list[str]:
    found: list[str] = []
    for sign in text:
        if sign in "[{":
            found.append(sign)
        elif sign in "]}":
            found.pop()
    return found


def _invalid(text: str, at: int, where: str) -> str:
    while text[at : at + 1].isspace():
        at += 1
    if at >= len(text):
        return "unexpected end of JSON input"
    return f"invalid character {_sign(text[at])} {where}"


def _sign(sign: str) -> str:
    return f"'{_ESCAPED.get(sign, sign)}'"
