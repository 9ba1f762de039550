"""Why a request is refused: a status, a code for programs, a text for people (docs/fleet.md 3.2)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

CODES: Final = {
    400: "validation_failed",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    409: "conflict",
    410: "gone",
    413: "body_too_large",
    415: "unsupported_media_type",
    429: "rate_limited",
    500: "internal",
    503: "unavailable",
    504: "timeout",
}
"""Status to the code that goes with it, unless a refusal has one of its own."""


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """What is wrong with one member of a body, or one parameter of a query."""

    field: str
    message: str


class Refused(Exception):
    """The answer is an error.

    Attributes:
        status: of HTTP.
        text: what went wrong, for people; holds nothing of a credential.
        code: the same for programs.
        fields: every problem of a body or query, in the order of its fields; empty unless that is the reason.
        retry_after_s: seconds after which it may go better; None leaves the header out.
        allow: methods that the path has, for 405.
    """

    def __init__(
        self,
        status: int,
        text: str,
        *,
        code: str | None = None,
        fields: Sequence[FieldProblem] = (),
        retry_after_s: int | None = None,
        allow: Sequence[str] = (),
    ) -> None:
        super().__init__(text)
        self.status: Final = status
        self.text: Final = text
        self.code: Final = code or CODES[status]
        self.fields: Final = tuple(fields)
        self.retry_after_s: Final = retry_after_s
        self.allow: Final = tuple(allow)


def invalid(problems: Sequence[FieldProblem]) -> Refused:
    """400 with all problems of a body or query; the text tells the first."""
    first = problems[0]
    return Refused(400, f"validation failed: {first.field}: {first.message}", fields=problems)


def not_found(resource: str) -> Refused:
    """404 `{resource} not found`."""
    return Refused(404, f"{resource} not found")
