"""What clients see when a part is restarted under load: the server, its Postgres, the nginx before it.

    python -m tests.deploy.restarts      print the table of docs/operations.md 17.5

Devices of several users push and listen through nginx, with the client library and its usual deadlines. After
each restart all of them must be served again, and hold exactly what was acknowledged.
"""

import asyncio
import contextlib
import os
import re
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from uuid import uuid4

from less_sync import (
    ConnectionChange,
    ErrorCode,
    PullCommit,
    PullRecord,
    PushChange,
    RequestFailed,
    ServerUnavailable,
    SubscribeSpace,
    SyncClient,
    personal_space,
)
from less_sync.bins.dev import DevPeople
from tests.deploy.proxies import Nginx, Proxy, proxy_before
from tests.ports import ADDRESS, free_ports
from tests.wire.process import ServerProcess

USERS: Final = ("alice", "bob", "carol")
DEVICES_PER_USER: Final = 4
DEVICES: Final = len(USERS) * DEVICES_PER_USER
PUSH_INTERVAL_S: Final = 0.05
PULL_INTERVAL_S: Final = 0.2
RETRY_S: Final = 0.1
LOAD_S: Final = 1.5
"""Of load before a restart, and after everybody is served again."""
BACK_S_MAX: Final = 60.0
ATTEMPTS_MAX: Final = 400
SAID: Final = re.compile(r"connection lost \((\d+)")


@dataclass(slots=True)
class Seen:
    """What the devices saw during one restart."""

    lost: Counter[str] = field(default_factory=Counter)
    """Connections lost, by close code; 1006 is none."""
    errors: Counter[str] = field(default_factory=Counter)
    """What requests ended in, other than done."""
    silent_s: float = 0.0
    """The longest time that one device was without an acknowledgement."""
    pushed: int = 0
    found: int = 0
    """Pushes that turned out to be written when they were repeated."""


@dataclass(slots=True)
class Device:
    """One client: pushes new records, and keeps what it pulls."""

    client: SyncClient
    space: str
    acknowledged: dict[str, bytes] = field(default_factory=dict)
    replica: dict[str, bytes] = field(default_factory=dict)
    cursor: int = 0
    last_at: float = 0.0
    """When the last push was acknowledged, by the loop's clock."""
    seen: Seen = field(default_factory=Seen)
    connected: bool = True
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def changed(self, change: ConnectionChange) -> None:
        """Count a loss; failed attempts to come back are none."""
        if self.connected and not change.connected:
            found = SAID.match(change.reason)
            self.seen.lost[found[1] if found else change.reason] += 1
        self.connected = change.connected

    async def push_until(self, stop: asyncio.Event) -> None:
        """Push a new record after the other, with a pause between them."""
        while not stop.is_set():
            await self._push()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), PUSH_INTERVAL_S)

    async def _push(self) -> None:
        """Push until it is known to be written. A repeated push of a new record cannot be written twice."""
        record, blob = str(uuid4()), os.urandom(256)
        change = PushChange(id=record, blob=blob, expected_cursor=0)
        for attempt in range(ATTEMPTS_MAX):
            refusal = await self._attempt(change)
            if refusal == ErrorCode.CONFLICT:
                assert attempt, "a new record is nobody else's"
                self.seen.found += 1
            elif refusal:
                self.seen.errors[refusal] += 1
                await asyncio.sleep(RETRY_S)
                continue
            self._acknowledge(record, blob)
            return
        raise AssertionError("a push was never answered")

    async def _attempt(self, change: PushChange) -> str:
        """Push once; empty where that was acknowledged, else what the client heard."""
        try:
            return (await self.client.push(self.space, [change])).error
        except (RequestFailed, ServerUnavailable) as error:
            return _code(error)

    def _acknowledge(self, record: str, blob: bytes) -> None:
        now = asyncio.get_running_loop().time()
        self.seen.silent_s = max(self.seen.silent_s, now - self.last_at)
        self.last_at = now
        self.seen.pushed += 1
        self.acknowledged[record] = blob

    async def listen(self) -> None:
        """Take notices as they come."""
        async for _ in self.client.notices():
            self.news.set()

    async def follow(self) -> None:
        """Pull what notices tell of."""
        while True:
            await self.news.wait()
            self.news.clear()
            try:
                await self._pull()
            except (RequestFailed, ServerUnavailable) as error:
                self.seen.errors[_code(error)] += 1
                self.news.set()
            await asyncio.sleep(PULL_INTERVAL_S)

    async def _pull(self) -> None:
        async for event in self.client.pull(self.space, self.cursor):
            match event:
                case PullRecord(id=record, blob=bytes(blob)):
                    self.replica[record] = blob
                case PullCommit(cursor=cursor):
                    self.cursor = cursor


def _code(error: Exception) -> str:
    return error.code if isinstance(error, RequestFailed) else type(error).__name__


class World:
    """nginx, the server, its Postgres, and the devices."""

    def __init__(self, folder: Path) -> None:
        self.data_dir = folder / "data"
        (self._port,) = free_ports(1)
        self._server: ServerProcess | None = None
        self.nginx: Proxy = proxy_before(Nginx, self._port, folder / "proxy")
        self.devices: list[Device] = []

    @property
    def server(self) -> ServerProcess:
        assert self._server is not None
        return self._server

    async def start_server(self) -> None:
        """At the address of the one before, on its data."""
        listen = ("--listen", f"{ADDRESS}:{self._port}")
        self._server = await ServerProcess({"DATA_DIR": str(self.data_dir)}, listen, fresh=True).__aenter__()

    async def stop_server(self) -> None:
        """In order."""
        await self.server.__aexit__(None, None, None)

    async def restart_server(self) -> None:
        """As a service manager does."""
        await self.stop_server()
        await self.start_server()

    async def kill_server(self) -> None:
        """`kill -9`, and a start."""
        await self.server.kill()
        await self.stop_server()
        await self.start_server()

    async def stop_postgres(self) -> None:
        """Its fast shutdown."""
        await self._postgres_anew(signal.SIGINT)

    async def kill_postgres(self) -> None:
        """`kill -9` of its postmaster."""
        await self._postgres_anew(signal.SIGKILL)

    async def _postgres_anew(self, ending: signal.Signals) -> None:
        """End the server's own Postgres, and wait until the server has started it again."""
        before = self._postgres()
        assert before is not None
        os.kill(before, ending)
        async with asyncio.timeout(BACK_S_MAX):
            while self._postgres() in (None, before):  # noqa: ASYNC110  another process's doing
                await asyncio.sleep(0.05)

    def _postgres(self) -> int | None:
        """The process that takes connections; None while there is none."""
        try:
            lines = (self.data_dir / "postgres" / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return None
        return int(lines[0]) if lines[-1].strip() == "ready" else None

    async def restart_nginx(self) -> None:
        """A stop that cuts what it carries, and a start."""
        await self.nginx.stop()
        await self.nginx.start()

    async def reload_nginx(self) -> None:
        """A new configuration: the workers that carry connections stay until these end."""
        self.nginx.reload()

    async def connect(self, user: str) -> tuple[SyncClient, Device]:
        """One more device, not entered yet."""
        people = DevPeople(self.data_dir)

        async def token() -> str:
            return await asyncio.to_thread(people.token, user)

        url = f"ws://{ADDRESS}:{self.nginx.ports.plain}/api/v1/ws"
        client = SyncClient(url, token, on_connection=lambda change: device.changed(change))
        device = Device(client, str(personal_space(await token())))
        return client, device


RESTARTS: Final[dict[str, Callable[[World], Awaitable[None]]]] = {
    "server, SIGTERM": World.restart_server,
    "server, `kill -9`": World.kill_server,
    "Postgres, fast shutdown": World.stop_postgres,
    "Postgres, `kill -9`": World.kill_postgres,
    "nginx, stop and start": World.restart_nginx,
    "nginx, reload": World.reload_nginx,
}


HEADINGS: Final = (
    "Restarted",
    "Connections lost, by close code",
    "Longest wait of a client",
    "Errors of requests",
    "Pushes acknowledged",
    "of these found written when repeated",
)


@asynccontextmanager
async def world(folder: Path) -> AsyncIterator[World]:
    """All of it, with the devices connected and subscribed."""
    made = World(folder)
    async with AsyncExitStack() as stack:
        await made.start_server()
        stack.push_async_callback(made.stop_server)
        await stack.enter_async_context(made.nginx)
        for user in USERS * DEVICES_PER_USER:
            client, device = await made.connect(user)
            await stack.enter_async_context(client)
            await client.subscribe([SubscribeSpace(id=device.space, since=0)])
            made.devices.append(device)
        yield made


async def restarted(made: World, restart: Callable[[World], Awaitable[None]]) -> Seen:
    """Restart a part under load, and return what the devices saw once all of them agree.

    Raises:
        TimeoutError: a device was not served again, or did not get what others had pushed.
    """
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        for device in made.devices:
            device.seen, device.last_at = Seen(), asyncio.get_running_loop().time()
        pushing = [tasks.create_task(device.push_until(stop)) for device in made.devices]
        hearing = [tasks.create_task(work()) for one in made.devices for work in (one.listen, one.follow)]
        try:
            await asyncio.sleep(LOAD_S)
            await restart(made)
            await _all_served(made)
            await asyncio.sleep(LOAD_S)
            stop.set()
            async with asyncio.timeout(BACK_S_MAX):
                await asyncio.gather(*pushing)
                await _all_agree(made)
        finally:
            for task in hearing:
                task.cancel()
    return _together(made.devices)


async def _all_served(made: World) -> None:
    """Until each device is connected and had a push acknowledged that it sent after the restart."""
    since = asyncio.get_running_loop().time() + PUSH_INTERVAL_S
    async with asyncio.timeout(BACK_S_MAX):
        while any(not one.connected or one.last_at <= since for one in made.devices):  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def _all_agree(made: World) -> None:
    """Until each device holds exactly what its user's devices had acknowledged."""
    for space in {one.space for one in made.devices}:
        mine = [one for one in made.devices if one.space == space]
        model = {record: blob for one in mine for record, blob in one.acknowledged.items()}
        while not all(one.replica == model and one.cursor >= len(model) for one in mine):
            for one in mine:
                assert one.replica.keys() <= model.keys(), "a record that nobody had acknowledged"
                one.news.set()
            await asyncio.sleep(PULL_INTERVAL_S)
        # Each push takes one cursor: a push that was written twice would have taken two.
        assert {one.cursor for one in mine} == {len(model)}


def _together(devices: list[Device]) -> Seen:
    return Seen(
        lost=sum((one.seen.lost for one in devices), Counter()),
        errors=sum((one.seen.errors for one in devices), Counter()),
        silent_s=max(one.seen.silent_s for one in devices),
        pushed=sum(one.seen.pushed for one in devices),
        found=sum(one.seen.found for one in devices),
    )


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{count} x {name}" for name, count in sorted(counts.items())) or "none"


async def _table() -> None:
    with tempfile.TemporaryDirectory(prefix="less-sync-restarts-") as folder:
        async with world(Path(folder)) as made:
            print(f"| {' | '.join(HEADINGS)} |\n{'|---' * len(HEADINGS)}|")
            for name, restart in RESTARTS.items():
                seen = await restarted(made, restart)
                waits = f"{seen.silent_s:.1f} s"
                cells = (name, _counted(seen.lost), waits, _counted(seen.errors), seen.pushed, seen.found)
                print(f"| {' | '.join(map(str, cells))} |", flush=True)


def main() -> None:
    """Print the table."""
    if len(sys.argv) > 1:
        sys.exit("usage: python -m tests.deploy.restarts")
    try:
        asyncio.run(_table())
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
