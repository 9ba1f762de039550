"""What checks said and exchanged, as renderings show it, and how foreign text is made harmless. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

VOLATILE: Final = ("<!-- volatile -->", "<!-- /volatile -->")
"""Stand around whatever two equal runs may differ in (docs/validation.md 7.6)."""

_UNSEEN: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]"
)
"""Characters that are not seen, or that change how what follows them is shown: line ends and tabs apart."""


@dataclass(frozen=True, slots=True)
class Texts:
    """By check, as they were written."""

    logs: Mapping[str, str] = field(default_factory=dict)
    evidence: Mapping[str, str] = field(default_factory=dict)

    def last_line(self, check_id: str) -> str:
        """What a check said last but its outcome, which the row has already; empty if it said nothing."""
        lines = self.logs.get(check_id, "").splitlines()
        return lines[-2] if len(lines) > 1 else ""


def visible(text: str) -> str:
    """The text with what is not seen written out: a mark that turns the direction of writing is `\\u202e`."""
    return _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def one_line(text: str) -> str:
    """The same, line ends and tabs as well."""
    return visible(" ".join(re.split(r"[\t\n]+", text)))
