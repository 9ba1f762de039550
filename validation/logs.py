"""A target's log, as a run may see it: the file of a server that it started, else what a command prints.

The command prints error events, one JSON object per line, and `{"end": true}` as its last: one that prints
nothing may as well have failed. Evidence has the number of events and the first three, cut short.
"""

import asyncio
import base64
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from less_sync.validation.canonical import parsed
from less_sync.validation.commands import printed
from less_sync.validation.generated import Stream
from less_sync.validation.outcome import Broken, Faulty

if TYPE_CHECKING:
    from less_sync.validation.context import Context, Run

LOG_BYTES_MAX: Final = 16 * 1024 * 1024
"""Of a file, from its end."""
EVENTS_SHOWN_MAX: Final = 3
EVENT_CHARS_MAX: Final = 200
GRAVE: Final = frozenset({"error", "err", "critical", "fatal", "alert", "emergency", "emerg", "panic"})
GRAVE_NUMBER: Final = 50
"""From which on a level that is a number tells of an error."""
BLOCKS_MAX: Final = 64
"""Of the bytes that a check makes up, how many blocks are looked for."""
NEEDLE_CHARS: Final = 20
NEEDLE_BYTES: Final = 16

_ANSI: Final = re.compile(r"\x1b\[[0-9;]*m")
_LEVEL: Final = re.compile(r"^\S*\s*\[?(ERROR|CRITICAL|FATAL|PANIC)\b")
_WORD: Final = re.compile(rf"[A-Za-z0-9+/_\-]{{{NEEDLE_CHARS},}}")


@dataclass(frozen=True, slots=True)
class Log:
    """What was read."""

    data: bytes = field(repr=False)
    lines: int
    errors: tuple[str, ...] = field(repr=False)
    """Lines that tell of an error."""
    ended: bool
    """Whether it is known to be all there is."""


async def read_log(context: "Context", window_s: int) -> Log:
    """The log of the check's target.

    Args:
        window_s: how far back the command shall look. Of a server that the run started all is read.

    Raises:
        Blocked: `input:LOG_PROBE_COMMAND`.
        Faulty: `not-json`, what the command prints.
        Broken: it came to no result.
    """
    path = context.target.log_path
    if path is not None:
        log = await asyncio.to_thread(_file, path)
    else:
        arguments = (context.check.target, str(window_s))
        done = await printed(context, "LOG_PROBE_COMMAND", arguments, show=False)
        if done.status != 0:
            raise Broken("command-status", done.status)
        log = _printed(done.text)
    shown = "\n".join(f"< {line[:EVENT_CHARS_MAX]}" for line in log.errors[:EVENTS_SHOWN_MAX])
    context.evidence.note(f"< {log.lines} lines, {len(log.errors)} error events\n{shown}".rstrip())
    return log


def _file(path: Path) -> Log:
    try:
        with path.open("rb") as file:
            size_bytes = file.seek(0, 2)
            file.seek(max(0, size_bytes - LOG_BYTES_MAX))
            data = file.read(LOG_BYTES_MAX)
    except OSError:
        raise Broken("no-log") from None
    lines = data.decode(errors="replace").splitlines()
    errors = tuple(line for line in lines if _is_error(line))
    return Log(data, len(lines), errors, ended=bool(lines))


def _is_error(line: str) -> bool:
    """Whether a line of a server's log, JSON or text, tells of an error."""
    if line.startswith("{"):
        try:
            return _is_grave(parsed(line), unmarked=False)
        except ValueError:
            pass
    return _LEVEL.match(_ANSI.sub("", line)) is not None


def _printed(text: str) -> Log:
    errors, ended, count = [], False, 0
    for line in text.splitlines():
        if not line.strip():
            continue
        try:
            event = parsed(line)
        except ValueError:
            raise Faulty("not-json") from None
        if not isinstance(event, dict):
            raise Faulty("not-json")
        if event == {"end": True}:
            ended = True
            continue
        count += 1
        if _is_grave(event, unmarked=True):
            errors.append(line)
    return Log(text.encode(), count, tuple(errors), ended)


def _is_grave(event: Any, *, unmarked: bool) -> bool:
    """Whether an event is an error by its level; `unmarked`, what it is without one."""
    if not isinstance(event, dict):
        return False
    level = event.get("level", event.get("severity"))
    if level is None:
        return unmarked
    if isinstance(level, int | float):
        return level >= GRAVE_NUMBER
    return str(level).lower() in GRAVE


def payloads_in(data: bytes, run: "Run") -> list[str]:
    """The checks of a run whose made-up bytes are in the data: as they are, in hex, or in base64."""
    words: dict[str, str] = {}
    raw: dict[bytes, str] = {}
    for check in run.manifest.checks:
        if check.procedure.writes:
            stream = Stream(run.id, check.id)
            for block in (stream.block() for _ in range(BLOCKS_MAX)):
                raw[block[:NEEDLE_BYTES]] = check.id
                words |= dict.fromkeys(_needles(block), check.id)
    found = {check for block, check in raw.items() if block in data}
    text = data.decode(errors="replace")
    return sorted(found | {words[window] for window in _windows(text) if window in words})


def _needles(block: bytes) -> Iterator[str]:
    """What a longer text holds if it holds this block, whatever stands before it."""
    yield block.hex()[:NEEDLE_CHARS]
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + block).decode()
        first = -(-before * 8 // 6)
        yield encoded[first : first + NEEDLE_CHARS]


def _windows(text: str) -> Iterable[str]:
    for word in _WORD.finditer(text):
        run = word[0].replace("-", "+").replace("_", "/")
        yield from (run[at : at + NEEDLE_CHARS] for at in range(len(run) - NEEDLE_CHARS + 1))
        if run != run.lower():
            lower = run.lower()
            yield from (lower[at : at + NEEDLE_CHARS] for at in range(len(run) - NEEDLE_CHARS + 1))
