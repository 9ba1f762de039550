"""Commands of the operator's: run without a shell, with nothing of the run's secrets, and bounded.

Each is a variable, split into words as a POSIX shell does; what is added stands behind them as words of its
own (docs/validation.md 3).
"""

import asyncio
import contextlib
import json
import os
import shlex
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from less_sync.validation.inputs import environment_of_commands
from less_sync.validation.outcome import Blocked, Broken

if TYPE_CHECKING:
    from less_sync.validation.context import Context

OUTPUT_BYTES_MAX: Final = 1024 * 1024
COMMAND_S: Final = 60.0
SHOWN_CHARS_MAX: Final = 4096


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
    """Run it to its end; children that it leaves are killed.

    Args:
        show: whether its output stands in the evidence.

    Raises:
        Blocked: `input:VARIABLE`, it is not given.
        Broken: `command-not-found`, `command-line`, `timeout`, `output-too-long`, `output`: no UTF-8.
    """
    line = context.run.inputs.value(variable)
    if line is None:
        raise Blocked("input", variable)
    try:
        argv = [*shlex.split(line), *arguments]
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env=environment_of_commands(context.run.inputs.environment),
            start_new_session=True,
        )
    except (FileNotFoundError, PermissionError):
        raise Broken("command-not-found") from None
    except (ValueError, OSError, TypeError):
        raise Broken("command-line") from None
    status: int | None = None
    output = b""
    try:
        async with asyncio.timeout(within_s):
            output = await _output(process)
            status = await process.wait()
    except TimeoutError:
        raise Broken("timeout") from None
    finally:
        _kill_group(process.pid)
        await asyncio.shield(process.wait())
        told = output.decode(errors="replace")[:SHOWN_CHARS_MAX] if show else f"({len(output)} bytes)"
        context.evidence.command(argv, status, told)
    try:
        return Printed(status, output.decode())
    except UnicodeDecodeError:
        raise Broken("output") from None


async def _output(process: asyncio.subprocess.Process) -> bytes:
    assert process.stdout is not None
    output = b""
    while part := await process.stdout.read(64 * 1024):
        output += part
        if len(output) > OUTPUT_BYTES_MAX:
            raise Broken("output-too-long")
    return output


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
