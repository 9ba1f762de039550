"""Probes: commands of the operator's that are named by a variable and print what a check wants to know."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from less_sync.validation.hooks import OUTPUT_BYTES_MAX, run_command, words_of
from less_sync.validation.inputs import environment_of_commands
from less_sync.validation.outcome import Blocked, Broken

if TYPE_CHECKING:
    from less_sync.validation.context import Context

COMMAND_S: Final = 60.0
SHOWN_CHARS_MAX: Final = 4096
TIMEOUT: Final = "command-timeout"
"""The reason when a command does not end in time."""


@dataclass(frozen=True, slots=True)
class Printed:
    """How a command ended, and what it printed on its standard output."""

    status: int
    """Negative: the signal that ended it."""
    text: str

    def json_lines(self) -> Iterator[Any]:
        """Each line that is not blank. Raises ValueError at one that is no JSON."""
        return (json.loads(line) for line in self.text.splitlines() if line.strip())


async def printed(
    context: "Context",
    variable: str,
    arguments: Sequence[str] = (),
    *,
    within_s: float = COMMAND_S,
    show: bool = True,
) -> Printed:
    """Run a command to its end.

    Args:
        arguments: words that stand behind its own.
        show: whether its output stands in the evidence.

    Raises:
        Blocked: `input:VARIABLE`, it is not given.
        Broken: `command-not-found`, `command-not-split`, `command-timeout`; `command-output`: too much of it,
            or no UTF-8.
    """
    line = context.run.inputs.value(variable)
    if line is None:
        raise Blocked("input", variable)
    argv = (*words_of(line), *arguments)
    environment = environment_of_commands(context.run.inputs.environment)
    try:
        ran = await run_command(argv, environment, timeout_s=within_s, output_bytes_max=OUTPUT_BYTES_MAX)
        text = ran.output.decode()
    except Broken as broken:
        context.evidence.command(argv, None, broken.outcome.reason)
        raise
    except UnicodeDecodeError:
        raise Broken("command-output") from None
    told = text[:SHOWN_CHARS_MAX] if show else f"({len(ran.output)} bytes)"
    context.evidence.command(argv, ran.status, told)
    for line in ran.errors:
        context.say(f"{argv[0]} says: {line}")
    return Printed(ran.status, text)
