"""Probes: commands of the operator's that are named by a variable and print what a check wants to know."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from less_sync.validation.canonical import parsed
from less_sync.validation.hooks import HOOK_S, OUTPUT_BYTES_MAX, hook, words_of
from less_sync.validation.outcome import Blocked, Broken

if TYPE_CHECKING:
    from less_sync.validation.context import Context

IMAGE_PROBE: Final = "IMAGE_PROBE_COMMAND"


@dataclass(frozen=True, slots=True)
class Printed:
    """How a command ended, and what it printed on its standard output."""

    status: int
    """Negative: the signal that ended it."""
    text: str

    def json_lines(self) -> Iterator[Any]:
        """Each line that is not blank. Raises ValueError at one that is no JSON."""
        return (parsed(line) for line in self.text.splitlines() if line.strip())


async def printed(
    context: "Context",
    variable: str,
    arguments: Sequence[str] = (),
    *,
    within_s: float = HOOK_S,
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
    ran = await hook(context, argv, timeout_s=within_s, output_bytes_max=OUTPUT_BYTES_MAX, show=show)
    try:
        return Printed(ran.status, ran.output.decode())
    except UnicodeDecodeError:
        raise Broken("command-output") from None


async def image_told(context: "Context", what: str) -> tuple[str, Mapping[str, Any]]:
    """What `IMAGE_PROBE_COMMAND` tells of an image of the check's target: its digest, and all of the answer.

    Args:
        what: `service`, `migrate` or `last-migration`.

    Raises:
        Blocked, Broken: as `printed`; `command-status:WHAT`, `command-output:WHAT`, it is no JSON object;
            `no-image`, nothing is like nothing.
    """
    done = await printed(context, IMAGE_PROBE, (what, context.check.target))
    if done.status != 0:
        raise Broken("command-status", what)
    try:
        told = parsed(done.text)
    except ValueError:
        told = None
    if not isinstance(told, dict):
        raise Broken("command-output", what)
    image = told.get("image")
    if not isinstance(image, str) or not image:
        raise Broken("no-image")
    return image, told
