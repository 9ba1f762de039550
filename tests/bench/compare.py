"""Two checkouts beside each other: what the server of each needs for the same work.

`make bench ARGS='--against DIR'` starts the server of this checkout and that of DIR (by its own `.venv`), on
a database each in one Postgres, and lets them take turns at short pieces of the same work. Compared
is the CPU time of the server's process, which a busy machine distorts less than it does the clock; of folders
it is the clock, because a user waits for the command and the disk, each with the server of its checkout.
"""

import asyncio
import statistics
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final, NamedTuple
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg

from tests.bench import usage
from tests.bench.child import Child
from tests.bench.folder import FolderCommands, pulled, pushed
from tests.bench.model import KIB, Target, Use
from tests.bench.starting import started
from tests.wire.process import Program, ServerProcess

WORSE_MAX: Final = 1.05
"""How much more CPU than the other checkout counts as worse: less is lost in the noise."""
CONNECT_PARALLEL: Final = 16
IDLE_WARM_UP: Final = 64
BUSY_WRITERS: Final = 32
BUSY_BLOB_BYTES: Final = 64
"""So that all that a listener is told fits into the buffer of its socket: it is not read before the end."""
SETTLE_S: Final = 0.05
"""Work put off until after the answer is the server's too."""


class Size(NamedTuple):
    """How much is done in one turn of each piece of work."""

    turns: int = 25
    single_pushes: int = 100
    hundred_pushes: int = 25
    thousand_pushes: int = 8
    pulled_records: int = 10_000
    pulls: int = 6
    subscribers: int = 200
    fan_outs: int = 60
    busy_pushes: int = 10
    notifications: int = 400
    connects: int = 600
    idle: int = 1000
    folder_files: int = 20_000


SMALL: Final = Size(
    turns=1,
    single_pushes=2,
    hundred_pushes=1,
    thousand_pushes=1,
    pulled_records=200,
    pulls=1,
    subscribers=4,
    fan_outs=2,
    busy_pushes=1,
    notifications=2,
    connects=4,
    idle=8,
    folder_files=8,
)


@dataclass(slots=True)
class Side(Target):
    """One of the two servers. `filled` is a space with `Size.pulled_records` records, ready to be pulled."""

    program: Program
    disk: Path
    filled: str = ""
    folder: FolderCommands | None = None
    """Those of a user whose space holds the folder that is pulled."""


class Work(NamedTuple):
    """One line of the comparison: `run` returns how much of `unit` one operation took."""

    name: str
    unit: str
    run: Callable[[Side, Size], Awaitable[float]]
    turns_max: int = 1000
    reach: float | None = None
    """What the ratio shall not exceed; None: nothing is aimed at but to be no worse."""


async def cpu_us(side: Side, operations: int, command: str, **arguments: object) -> float:
    """CPU of the server for one command of the load generator: µs an operation."""
    use = Use()
    async with side.using(use):
        await side.load(command, **arguments)
        await asyncio.sleep(SETTLE_S)
    return use.server_s / operations * 1e6


def pushing(connections: int, records: int, count: Callable[[Size], int], *, shared: bool = False) -> Work:
    """Pushes at so many connections, into a space each or into one."""

    async def run(side: Side, size: Size) -> float:
        spaces = [str(uuid4()) for _ in range(1 if shared else connections)]
        for space in spaces:
            await side.open("push", connections // len(spaces), space=space)
        pushes = count(size)
        await side.load(
            "prepare", group="push", spaces=spaces, pushes=pushes, records=records, blob_bytes=KIB
        )
        use = Use()
        async with side.using(use):
            done = await side.load("push", group="push")
            await asyncio.sleep(SETTLE_S)
        await side.load("close", group="push")
        # The clock of the load generator stops at the first connection that is through; CPU counts all.
        answered: int = done["pushes"] + done["late"]
        return use.server_s / answered * 1e6

    where = "one space" if shared else "a space each"
    return Work(f"push of {records:,}, {connections} connections, {where}", "µs", run)


async def pull(side: Side, size: Size) -> float:
    """A pull of a whole space."""
    await side.open("pull", 1, space=side.filled)
    used = [
        await cpu_us(side, size.pulled_records, "pull", group="pull", space=side.filled)
        for _ in range(size.pulls)
    ]
    await side.load("close", group="pull")
    return statistics.median(used)


async def fan_out(side: Side, size: Size) -> float:
    """One record to many subscribers."""
    space = str(uuid4())
    await side.open("subscribers", size.subscribers, space=space, subscribe=True)
    await side.open("pusher", 1, space=space)
    call = {"subscribers": "subscribers", "trigger": "pusher", "space": space, "blob_bytes": KIB}
    await side.load("fan_out", rounds=1, **call)
    used = await cpu_us(side, size.fan_outs * size.subscribers, "fan_out", rounds=size.fan_outs, **call)
    await side.load("close", group="subscribers")
    await side.load("close", group="pusher")
    return used


async def busy_space(side: Side, size: Size) -> float:
    """Many who write into one space that many listen to: notices of one turn of the loop."""
    space = str(uuid4())
    await side.open("subscribers", size.subscribers, space=space, subscribe=True)
    await side.open("push", BUSY_WRITERS, space=space)
    shape = {"pushes": size.busy_pushes, "records": 1, "blob_bytes": BUSY_BLOB_BYTES}
    await side.load("prepare", group="push", spaces=[space], **shape)
    use = Use()
    async with side.using(use):
        done = await side.load("push", group="push")
        await asyncio.sleep(SETTLE_S)
    told: int = (done["pushes"] + done["late"]) * size.subscribers
    await side.load("close", group="push")
    await side.load("close", group="subscribers")
    return use.server_s / told * 1e6


async def notification(side: Side, size: Size) -> float:
    """A push and its notification at another device, one after the other."""
    space = str(uuid4())
    await side.open("reader", 1, space=space, subscribe=True)
    await side.open("writer", 1, space=space)
    call = {"subscriber": "reader", "pusher": "writer", "space": space, "blob_bytes": KIB}
    used = await cpu_us(side, size.notifications, "notify", count=size.notifications, **call)
    await side.load("close", group="reader")
    await side.load("close", group="writer")
    return used


async def connecting(side: Side, size: Size) -> float:
    """The upgrade, the token and the answer to a first request."""
    space = str(uuid4())
    made = await side.load("tokens", count=size.connects, user="connecting", space=space)
    call = {"group": "connecting", "tokens": made["tokens"], "parallel": CONNECT_PARALLEL}
    used = await cpu_us(side, size.connects, "open", subscribe=space, **call)
    await side.load("close", group="connecting")
    return used


async def idle(side: Side, size: Size) -> float:
    """Memory of connections that have nothing to do, in a server just started."""
    space = str(uuid4())
    async with side.fresh_server() as fresh:
        await fresh.open("warm-up", IDLE_WARM_UP, space=space, subscribe=True)
        await fresh.load("close", group="warm-up")
        before = usage.resident_bytes(fresh.server.pid)
        await fresh.open("idle", size.idle, space=space, subscribe=True)
        each_kib = (usage.resident_bytes(fresh.server.pid) - before) / size.idle / KIB
        await fresh.load("close", group="idle")
    return each_kib


async def cold_start(side: Side, _size: Size) -> float:
    """A server that starts, until it has answered: its CPU."""
    return (await started(side)).cpu_s * 1e3


async def idle_server(side: Side, _size: Size) -> float:
    """Memory of a server that has nothing to do."""
    return (await started(side)).resident_bytes / KIB / KIB


async def folder_push(side: Side, size: Size) -> float:
    """A folder pushed to an empty space by a command, from its start to its end."""
    side.folder, seconds = await pushed(side, side.program, side.disk, size.folder_files, Use())
    return seconds


async def folder_pull(side: Side, size: Size) -> float:
    """The same pulled into an empty folder; what is pulled was pushed by the side's own command."""
    if side.folder is None:
        await folder_push(side, size)
    assert side.folder is not None
    return await pulled(side.folder, side.disk, size.folder_files, Use())


WORKS: Final[Mapping[str, Work]] = {
    "push 1": pushing(32, 1, lambda size: size.single_pushes),
    "push 1 shared": pushing(32, 1, lambda size: size.single_pushes, shared=True),
    "push 100": pushing(4, 100, lambda size: size.hundred_pushes),
    "push 1000": pushing(2, 1000, lambda size: size.thousand_pushes),
    "pull": Work("pull of 10,000 records of 1 KiB: a record", "µs", pull),
    "fan-out": Work("fan-out of 1 KiB to 200 subscribers: a delivery", "µs", fan_out),
    "busy space": Work("32 writers and 200 subscribers in one space: a delivery", "µs", busy_space),
    "notification": Work("push and its notification, nothing else going on", "µs", notification),
    "connect": Work("connect, authenticate, subscribe", "µs", connecting),
    "folder push": Work("push of a folder of 20,000 files: the command", "s", folder_push, 5, 0.5),
    "folder pull": Work("pull of it into an empty folder: the command", "s", folder_pull, 5),
    "idle": Work("idle connection: resident memory", "KiB", idle),
    "cold start": Work("start until the first answer", "ms", cold_start),
    "idle server": Work("server with nothing to do: resident memory", "MiB", idle_server, 5),
}


class Turn(NamedTuple):
    """What one operation took of each side, measured right after each other."""

    other: float
    own: float


CHECKOUT: Final = Path(__file__).parents[2]


def program_at(directory: Path) -> Program:
    """The `less-sync` command of a checkout, in the layout with `less_sync/` or the one before it."""
    module = "less_sync.bins.commands.main" if (directory / "less_sync").is_dir() else "bins.cli"
    python = sys.executable if directory == CHECKOUT else str(directory / ".venv" / "bin" / "python")
    return Program(directory, python, module)


async def compare(
    url: str,
    settings: Mapping[str, str],
    load: Child,
    disk: Path,
    *,
    programs: Mapping[str, Program | None],
    names: Sequence[str],
    size: Size,
    say: Callable[[str], None] = lambda line: None,
    works: Mapping[str, Work] = WORKS,
    own_settings: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, list[Turn]]:
    """Have both servers do the work named, by turns.

    Args:
        url: of a database beside which others may be made.
        disk: a directory for the folders that are pushed and pulled.
        programs: by name the other's and then the own; None is this checkout's, as tests start it.
        works: what `names` are keys of.
        own_settings: what the own side has beyond `settings`.
    """
    async with AsyncExitStack() as stack:
        other, own = [
            await _side(stack, _new_database(url, name), {**settings, **more}, load, disk, program)
            for (name, program), more in zip(programs.items(), ({}, own_settings), strict=True)
        ]
        if "pull" in names:
            for side in (own, other):
                await _fill(side, size)
        turns: dict[str, list[Turn]] = {name: [] for name in names}
        for name in names:
            work = works[name]
            count = min(size.turns, work.turns_max)
            if size.turns > 1:  # what is made at first use is no part of the comparison
                for side in (own, other):
                    await _at(side, work, size)
            for number in range(count):
                first, second = (own, other) if number % 2 else (other, own)
                taken = {id(side): await _at(side, work, size) for side in (first, second)}
                turn = Turn(taken[id(other)], taken[id(own)])
                turns[name].append(turn)
                say(f"{name} {number + 1}/{count}: {turn.other:.4g}, {turn.own:.4g} {work.unit}")
    return turns


async def _at(side: Side, work: Work, size: Size) -> float:
    await side.load("target", port=side.server.port)
    return await work.run(side, size)


@asynccontextmanager
async def _new_database(url: str, name: str) -> AsyncIterator[str]:
    """Make a database, and drop it in the end; yields its URL."""
    name = f"bench_{name}_{uuid4().hex[:8]}"
    await _execute(url, f"CREATE DATABASE {name}")
    try:
        yield urlsplit(url)._replace(path=f"/{name}").geturl()
    finally:
        await _execute(url, f"DROP DATABASE {name} WITH (FORCE)")


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


async def _side(
    stack: AsyncExitStack,
    database: AbstractAsyncContextManager[str],
    settings: Mapping[str, str],
    load: Child,
    disk: Path,
    program: Program | None,
) -> Side:
    url = await stack.enter_async_context(database)

    def start() -> ServerProcess:
        return ServerProcess({**settings, "DATABASE_URL": url}, program=program)

    server = await stack.enter_async_context(start())
    return Side(load, server, start, program or program_at(CHECKOUT), disk)


async def _fill(side: Side, size: Size) -> None:
    """Push the space that is pulled: a hundred records at a time."""
    await side.load("target", port=side.server.port)
    side.filled = str(uuid4())
    await side.open("fill", 1, space=side.filled)
    shape = {"pushes": size.pulled_records // 100, "records": 100, "blob_bytes": KIB}
    await side.load("prepare", group="fill", spaces=[side.filled], **shape)
    await side.load("push", group="fill")
    await side.load("close", group="fill")


def comparison(turns: Mapping[str, Sequence[Turn]], works: Mapping[str, Work] = WORKS) -> str:
    """One Markdown table. The ratio is own to other, the median of the turns, with its span."""
    lines = ["| work | unit | other | own | own / other | verdict |", "| --- | --- | --- | --- | --- | --- |"]
    for name, taken in turns.items():
        ratios = sorted(turn.own / turn.other for turn in taken)
        other, own = (statistics.median(values) for values in zip(*taken, strict=True))
        ratio = statistics.median(ratios)
        verdict = "worse" if ratio > WORSE_MAX else "better" if ratio < 1 / WORSE_MAX else "the same"
        work = works[name]
        if work.reach is not None:
            verdict += f"; ≤ {work.reach:g}: {'yes' if ratio <= work.reach else 'NO'}"
        shown = f"{ratio:.3f} ({ratios[0]:.2f}-{ratios[-1]:.2f})"
        lines.append(f"| {work.name} | {work.unit} | {other:,.4g} | {own:,.4g} | {shown} | {verdict} |")
    return "\n".join(lines)
