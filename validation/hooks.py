"""Commands of the operator: hooks, probes, and the checks that run a command (docs/validation.md 3.1).

They are split into words as a POSIX shell does and never given to one. Placeholders are replaced in the
words, so that a value with blanks or quotes stays one word. Secrets do not travel in arguments, which every
user of the machine can read.
"""

import asyncio
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from less_sync.validation.canonical import parsed
from less_sync.validation.inputs import environment_of_commands
from less_sync.validation.outcome import Broken, Faulty
from less_sync.validation.processes import READ_BYTES, Tail, started

if TYPE_CHECKING:
    from less_sync.validation.context import Context

OUTPUT_BYTES_MAX: Final = 1024 * 1024
HOOK_OUTPUT_BYTES_MAX: Final = 64 * 1024
HOOK_S: Final = 60.0
AFTER_END_S: Final = 1.0
"""For output that a child still holds when the command itself has ended."""
ERROR_LINES_KEPT: Final = 20
SHOWN_CHARS_MAX: Final = 4096
TIMEOUT: Final = "command-timeout"
"""The reason when a command does not end in time."""
NONE: Final[Mapping[str, str]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Ran:
    """A command that has ended by itself."""

    argv: tuple[str, ...]
    status: int
    """Its exit status; negative: the signal that ended it."""
    output: bytes = field(repr=False)
    """Its standard output, whole."""
    errors: tuple[str, ...] = field(repr=False, default=())
    """The last lines of its standard error."""

    def json(self) -> Any:
        """Its output as one JSON document. Raises Faulty `not-json`."""
        try:
            return parsed(self.output)
        except ValueError:
            raise Faulty("not-json") from None


def words_of(command: str, values: Mapping[str, str] = NONE) -> tuple[str, ...]:
    """A command's words; `{name}` in each is replaced by its value.

    Raises:
        Broken: `command-not-split`, a quote is not closed, or there is no word.
    """
    try:
        words = shlex.split(command)
    except ValueError:
        words = []
    if not words:
        raise Broken("command-not-split")
    return filled(words, values)


def filled(words: Sequence[str], values: Mapping[str, str]) -> tuple[str, ...]:
    """The words with each `{name}` replaced, and what is put in not looked at again."""
    return tuple(_filled(word, values) for word in words)


def _filled(word: str, values: Mapping[str, str]) -> str:
    parts, rest = [], word
    while rest:
        places = [(rest.find(f"{{{name}}}"), name) for name in values]
        start, name = min((one for one in places if one[0] >= 0), default=(-1, ""))
        if start < 0:
            break
        parts += [rest[:start], values[name]]
        rest = rest[start + len(name) + 2 :]
    return "".join([*parts, rest])


async def run_command(
    argv: Sequence[str],
    environment: Mapping[str, str],
    *,
    timeout_s: float,
    output_bytes_max: int = OUTPUT_BYTES_MAX,
    guarded: bool = False,
) -> Ran:
    """Run a command with exactly this environment, and wait for it.

    Args:
        guarded: end it also when this process is killed.

    Raises:
        Broken: `command-not-found`, it cannot be started; `command-timeout`; `command-output`, it printed
            more than it may. It and its children are killed then, as they are when the caller is cancelled.
    """
    try:
        async with started(argv, environment, guarded=guarded, errors_apart=True) as program:
            process, output, errors = program.process, _Output(output_bytes_max), Tail(ERROR_LINES_KEPT)
            reading = [
                asyncio.ensure_future(output.read(program.output)),
                asyncio.ensure_future(_read_into(errors, program.errors)),
            ]
            try:
                async with asyncio.timeout(timeout_s):
                    await _ended(process, reading)
            except TimeoutError:
                raise Broken(TIMEOUT) from None
            finally:
                for task in reading:
                    task.cancel()
                await asyncio.gather(*reading, return_exceptions=True)
            status = process.returncode
    except OSError:
        raise Broken("command-not-found") from None
    assert status is not None
    return Ran(tuple(argv), status, bytes(output.data), tuple(errors.lines))


async def _ended(process: asyncio.subprocess.Process, reading: Sequence[asyncio.Task[None]]) -> None:
    """Wait for the end of the command and of its output; raises what reading raised, at once."""
    ending = asyncio.ensure_future(process.wait())
    try:
        pending: set[asyncio.Future[Any]] = {ending, *reading}
        while not ending.done():
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for one in done:
                one.result()
        if pending:
            done, _ = await asyncio.wait(pending, timeout=AFTER_END_S)
            for one in done:
                one.result()
    finally:
        ending.cancel()


class _Output:
    def __init__(self, bytes_max: int) -> None:
        self.data = bytearray()
        self._bytes_max = bytes_max

    async def read(self, stream: asyncio.StreamReader) -> None:
        while data := await stream.read(READ_BYTES):
            self.data += data
            if len(self.data) > self._bytes_max:
                raise Broken("command-output")


async def _read_into(tail: Tail, stream: asyncio.StreamReader) -> None:
    while data := await stream.read(READ_BYTES):
        tail.add(data)


async def hook(
    context: "Context",
    argv: Sequence[str],
    *,
    more: Mapping[str, str] = NONE,
    timeout_s: float = HOOK_S,
    output_bytes_max: int = HOOK_OUTPUT_BYTES_MAX,
    show: bool = True,
) -> Ran:
    """Run a command of the operator for a check, which keeps it as evidence.

    Args:
        more: variables beside the few that every command has.
        show: whether the beginning of its output stands in the evidence.

    Raises:
        Broken: as `run_command`.
    """
    environment = environment_of_commands(context.run.inputs.environment) | dict(more)
    try:
        ran = await run_command(argv, environment, timeout_s=timeout_s, output_bytes_max=output_bytes_max)
    except Broken as broken:
        context.evidence.command(argv, None, broken.outcome.reason)
        context.say(f"{argv[0]}: {broken.outcome.reason}")
        raise
    told = ran.output.decode(errors="replace")[:SHOWN_CHARS_MAX] if show else f"({len(ran.output)} bytes)"
    context.evidence.command(argv, ran.status, told)
    for line in ran.errors:
        context.say(f"{argv[0]} says: {line}")
    return ran
