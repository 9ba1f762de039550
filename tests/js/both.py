"""Replicas of both kinds in one personal space, and edits at random: folders of Python, processes of Node.

Each content that is put is one of a kind. It may vanish only when somebody who had it at its path replaced or
deleted it there; whatever else happens (conflicts, kills, lost connections) it is somewhere in the end.
"""

import asyncio
import base64
import hashlib
import json
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Protocol
from uuid import UUID

from less_sync.client.folder.crypto import RecordCipher
from less_sync.client.folder.engine import Engine, WatchTimes
from less_sync.client.folder.exchange import Exchange
from less_sync.client.folder.files import FileTree
from less_sync.client.folder.keyfile import FolderKey
from less_sync.client.folder.replica import Replica
from less_sync.client.folder.report import Event
from less_sync.client.folder.state import FolderState
from less_sync.sync.client import FileClient, SyncClient, SyncClientError
from tests.client.folder.test_engine import Log, files
from tests.node import CLIENT, NODE, environment

KEY: Final = FolderKey(bytes(range(32)))
LARGE_ABOVE_BYTES: Final = 2048
PATHS: Final = ("a.txt", "b", "d/a", "d/ü")
_TIMEOUT_S: Final = 60.0
_ROUNDS_MAX: Final = 12
_LINE_BYTES_MAX: Final = 64 * 1024 * 1024


class Server(Protocol):
    """Where the replicas meet."""

    @property
    def url(self) -> str:
        """Base, of http."""

    @property
    def space(self) -> UUID:
        """The personal space of the user."""

    def token(self) -> str:
        """A token of the user."""

    async def trouble(self) -> None:
        """Let every connection break, or the server die and come back."""


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@dataclass
class Node:
    """A replica of the JavaScript client. Its journal outlives its process."""

    server: Server
    journal: Path
    paused: bool = False
    _process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        options = {
            "server": self.server.url,
            "token": self.server.token(),
            "key": KEY.line(),
            "journal": str(self.journal),
            "largeAbove": LARGE_ABOVE_BYTES,
        }
        self._process = await asyncio.create_subprocess_exec(
            NODE,
            str(CLIENT / "tests" / "replica_process.js"),
            json.dumps(options),
            env=environment(),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=_LINE_BYTES_MAX,
        )
        self.paused = False
        assert await self._line() == "ready"

    async def _line(self) -> Any:
        assert self._process is not None
        assert self._process.stdout is not None
        async with asyncio.timeout(_TIMEOUT_S):
            line = await self._process.stdout.readline()
        assert line, "the process has ended"
        return json.loads(line)

    async def ask(self, do: str, **order: Any) -> Any:
        """Give an order and return its result."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do, **order}).encode() + b"\n")
        answer = await self._line()
        assert "error" not in answer, (do, order.get("path"), answer["error"])
        return answer["result"]

    async def kill(self) -> None:
        """At any moment: an order may be half done."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.kill()
            await self._process.communicate()
            self._process = None

    async def digests(self) -> dict[str, str]:
        found: dict[str, str] = await self.ask("digests")
        return found

    async def put(self, path: str, content: bytes, was: str | None) -> bool:
        return bool(await self.ask("put", path=path, bytes=base64.b64encode(content).decode(), was=was))

    async def delete(self, path: str, was: str) -> bool:
        return bool(await self.ask("delete", path=path, was=was))

    async def rename(self, path: str, to: str, was: str) -> bool:
        return not self.paused and bool(await self.ask("rename", path=path, to=to, was=was))

    async def sync(self) -> None:
        if not self.paused:
            await self.ask("settle")

    async def disturb(self, rng: random.Random) -> None:
        """Go offline or come back, or be killed and started again."""
        if rng.random() < 0.4:
            await self.kill()
            await self.start()
        else:
            self.paused = not self.paused
            await self.ask("pause" if self.paused else "resume")

    async def settle(self) -> None:
        if self.paused:
            self.paused = False
            await self.ask("resume")
        await self.ask("settle")

    async def errors(self) -> list[str]:
        """What the replica has told of, each with its code, since it was asked or started last."""
        found: list[str] = await self.ask("errors")
        return found

    async def files(self) -> dict[str, bytes]:
        found = await self.ask("files")
        return {path: base64.b64decode(content) for path, content in found.items()}


@dataclass
class Folder:
    """A replica of the folder client, which works when it is told to."""

    server: Server
    root: Path

    async def start(self) -> None:
        self.root.mkdir(exist_ok=True)

    async def kill(self) -> None:
        """Nothing runs between two syncs."""

    async def digests(self) -> dict[str, str]:
        return {path: digest(content) for path, content in files(self.root).items()}

    async def put(self, path: str, content: bytes, was: str | None) -> bool:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_bytes(content)
        return True

    async def delete(self, path: str, was: str) -> bool:
        (self.root / path).unlink()
        return True

    async def rename(self, path: str, to: str, was: str) -> bool:
        if (self.root / to).exists():
            return False
        (self.root / to).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).rename(self.root / to)
        return True

    async def sync(self) -> None:
        with suppress(SyncClientError):  # the server may be away just now
            async with self._engine() as engine:
                await engine.pull_once()
                await engine.push_once()

    async def disturb(self, rng: random.Random) -> None:
        """Be killed while it syncs."""
        with suppress(TimeoutError, SyncClientError):
            async with asyncio.timeout(rng.random() * 0.3):
                await self.sync()

    async def settle(self) -> None:
        async with self._engine() as engine:
            await engine.pull_once()
            await engine.push_once()

    async def files(self) -> dict[str, bytes]:
        return files(self.root)

    @asynccontextmanager
    async def _engine(self) -> AsyncIterator[Engine]:
        async def token() -> str:
            return self.server.token()

        url = self.server.url.replace("http", "ws", 1) + "/api/v1/ws"
        log = Log()
        with FolderState.open(self.root) as state:
            tree = FileTree(self.root, state.directory)
            try:
                replica = Replica(
                    self.root,
                    state,
                    tree,
                    RecordCipher(KEY, self.server.space),
                    tell=_nobody,
                    now=lambda: datetime.now(UTC),
                    accept_deletions=True,
                    above_bytes=LARGE_ABOVE_BYTES,
                )
                async with SyncClient(url, token) as client, FileClient(url, token) as blobs:
                    exchange = Exchange(client, self.server.space, replica, log, files=blobs)
                    yield Engine(exchange, log, WatchTimes(retry_s=0.1))
            finally:
                tree.close()


def _nobody(event: Event) -> None:
    """What happens to files is seen in the end."""


@dataclass
class Fleet:
    """All replicas of a space."""

    server: Server
    rng: random.Random
    replicas: list[Node | Folder]
    put: dict[str, bytes] = field(default_factory=dict)
    """What was acknowledged, by digest."""
    replaced: set[str] = field(default_factory=set)
    """What somebody who had it has replaced or deleted."""

    async def step(self) -> None:
        """Do one thing at one replica."""
        rng, replica = self.rng, self.rng.choice(self.replicas)
        what = rng.random()
        if what < 0.7:
            await self._edit(replica)
        elif what < 0.85:
            await replica.sync()
        elif what < 0.95:
            await replica.disturb(rng)
        else:
            await self.server.trouble()

    async def _edit(self, replica: Node | Folder) -> None:
        rng, here = self.rng, await replica.digests()
        path = rng.choice(PATHS if rng.random() < 0.8 or not here else sorted(here))
        was = here.get(path)
        if was is None or rng.random() < 0.6:
            await self.place(replica, path, self._content(), was)
        elif rng.random() < 0.5:
            if await replica.delete(path, was):
                self._is_replaced(was)
        else:
            await replica.rename(path, rng.choice(PATHS), was)

    async def place(self, replica: Node | Folder, path: str, content: bytes, was: str | None = None) -> None:
        """Put a content at a path where so far `was` is."""
        if await replica.put(path, content, was):
            self.put[digest(content)] = content
            self._is_replaced(was)

    def _content(self) -> bytes:
        large = self.rng.random() < 0.25
        size = self.rng.choice((3000, 1_100_000) if large else (8, 100, 2048))
        return self.rng.randbytes(8) + bytes(size - 8)

    def _is_replaced(self, was: str | None) -> None:
        if was is not None:
            self.replaced.add(was)

    async def settle(self) -> dict[str, bytes]:
        """Bring all into agreement and return what each of them has then."""
        found: list[dict[str, bytes]] = []
        for _ in range(_ROUNDS_MAX):
            for replica in self.replicas:
                await replica.settle()
            found = [await replica.files() for replica in self.replicas]
            if all(one == found[0] for one in found):
                return found[0]
        raise AssertionError([{path: digest(content)[:8] for path, content in one.items()} for one in found])

    def lost(self, found: dict[str, bytes]) -> list[str]:
        """What was put, replaced by nobody who had it, and is nowhere."""
        there = {digest(content) for content in found.values()}
        return sorted(set(self.put) - self.replaced - there)


@asynccontextmanager
async def fleet(server: Server, parent: Path, seed: int, *, nodes: int) -> AsyncIterator[Fleet]:
    """One folder and so many processes of Node, none of which is left behind."""
    replicas: list[Node | Folder] = [Folder(server, parent / "folder")]
    replicas += [Node(server, parent / f"node{number}") for number in range(nodes)]
    try:
        await asyncio.gather(*(replica.start() for replica in replicas))
        yield Fleet(server, random.Random(seed), replicas)
    finally:
        for replica in replicas:
            await replica.kill()


async def at_random(made: Fleet, ends: Callable[[], bool]) -> None:
    """Edit until it ends, then settle, and check that all agree and nothing is lost."""
    while not ends():
        await made.step()
    found = await made.settle()
    assert made.lost(found) == []
    assert made.put
