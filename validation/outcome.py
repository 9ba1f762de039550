"""What becomes of a check: its status, and a reason that can be acted on (docs/validation.md 5)."""

import errno
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Self


class Status(StrEnum):
    """The closed set. Whatever is not `passed` has not passed."""

    PASSED = "passed"  # every criterion was evaluated on real data and held
    FAILED = "failed"  # the target was examined and is not as it must be
    SKIPPED = "skipped"  # deliberately not run
    BLOCKED = "blocked"  # could not be tried: something it needs is missing
    ERROR = "error"  # tried, but the check itself came to no result


NO_REASON: Final = "-"
NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""Numbers of errors of a full disk, or of a limit like one."""
_SLUG: Final = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*(:[A-Za-z0-9_.\-/?]+)*")


@dataclass(frozen=True, slots=True)
class Outcome:
    """A status and its reason: a slug, stable details behind colons; never a number that was measured."""

    status: Status
    reason: str = NO_REASON

    def __post_init__(self) -> None:
        assert (self.status is Status.PASSED) == (self.reason == NO_REASON)


PASSED: Final = Outcome(Status.PASSED)


def slug(*parts: object) -> str:
    """A reason of these parts. What a slug cannot hold becomes `?`: reasons go into committed reports."""
    cleaned = [re.sub(r"[^A-Za-z0-9_.\-/]", "?", str(part))[:64] or "?" for part in parts]
    text = ":".join(cleaned)
    assert _SLUG.fullmatch(text), text
    return text


class CheckEnd(Exception):
    """Ends a check before its criteria were all measured. What was measured by then is judged first."""

    status: Status

    def __init__(self, *reason: object) -> None:
        self.outcome = Outcome(self.status, slug(*reason))
        self.lines: tuple[str, ...] = ()
        """For the log of each check that ends by it: why, in words, and what to do."""
        super().__init__(self.outcome.reason)

    def saying(self, *lines: str) -> Self:
        """The same with lines for the log."""
        self.lines = lines
        return self


class Faulty(CheckEnd):
    """The target is not as it must be: a connection that was closed, an answer that never came."""

    status = Status.FAILED


class Blocked(CheckEnd):
    """Something that the check needs is missing: `input:NAME`, `identity:member:key`, `no-data`."""

    status = Status.BLOCKED


class Broken(CheckEnd):
    """The check itself came to no result: `timeout`, `command-not-found`, `write-refused`."""

    status = Status.ERROR


class NotReached(Faulty):
    """No byte of an answer came. The only thing after which a check may be tried again.

    Args:
        step: `connect`, `dns` or `tls-handshake`.
    """

    def __init__(self, step: str) -> None:
        super().__init__("unreachable", step)
        self.step = step
