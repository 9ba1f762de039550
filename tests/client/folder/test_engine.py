"""The engine over the real client, the real server and the real database, all but the processes."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest

from less_sync.client.folder.crypto import RecordCipher
from less_sync.client.folder.engine import Engine, WatchTimes
from less_sync.client.folder.errors import KeyMismatch
from less_sync.client.folder.exchange import Exchange
from less_sync.client.folder.files import FileTree
from less_sync.client.folder.keyfile import FolderKey
from less_sync.client.folder.replica import Replica
from less_sync.client.folder.report import Event, Kind, Progressed, Summary
from less_sync.client.folder.state import FolderState
from less_sync.sync.client import SyncClient
from tests.live import Live, claims, live_server

KEY = FolderKey(bytes(range(32)))
TIMES = WatchTimes(scan_interval_s=0.05, retry_s=0.1)
TIMEOUT_S = 30.0


class Log:
    """A reporter that keeps what it is told and wakes who waits for it."""

    def __init__(self) -> None:
        self.summary = Summary()
        self.events: list[Event] = []
        self.steps: list[Progressed] = []

    def tell(self, event: Event) -> None:
        self.summary.add(event)
        self.events.append(event)

    def progress(self, progressed: Progressed) -> None:
        self.steps.append(progressed)

    def show(self, fields: Mapping[str, object], text: str) -> None:
        raise AssertionError(text)

    def fail(self, error: Exception) -> None:
        raise AssertionError(error)

    def finish(self, exit_code: int) -> None:
        pass

    def told(self, kind: Kind) -> list[str]:
        return [event.path for event in self.events if event.kind is kind]

    def details(self, kind: Kind) -> list[str]:
        return [event.detail for event in self.events if event.kind is kind]


@asynccontextmanager
async def engine_of(
    live: Live, root: Path, log: Log, *, key: FolderKey = KEY, user: str = "alice", times: WatchTimes = TIMES
) -> AsyncIterator[Engine]:
    async def token() -> str:
        return live.token(user)

    root.mkdir(exist_ok=True)
    space = UUID(claims(user)["personal_space_id"])
    with FolderState.open(root) as state:
        tree = FileTree(root, state.directory)
        cipher = RecordCipher(key, space)
        replica = Replica(root, state, tree, cipher, tell=log.tell, now=lambda: datetime.now(UTC))
        async with SyncClient(f"ws://127.0.0.1:{live.port}/api/v1/ws", token) as client:
            yield Engine(Exchange(client, space, replica, log), log, times)
        tree.close()


def files(root: Path) -> dict[str, bytes]:
    found = (path for path in root.rglob("*") if path.is_file() and ".less-sync" not in path.parts)
    return {str(path.relative_to(root)): path.read_bytes() for path in found}


async def eventually(ask: Callable[[], bool]) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        while not ask():  # noqa: ASYNC110  # a file system announces nothing
            await asyncio.sleep(0.01)


async def both(
    live: Live, one: Path, two: Path, script: Callable[[Log, Log], Coroutine[None, None, None]]
) -> tuple[Log, Log]:
    """Watch two folders while the script runs, then stop both."""
    logs = Log(), Log()
    async with engine_of(live, one, logs[0]) as first, engine_of(live, two, logs[1]) as second:
        tasks = [asyncio.create_task(engine.watch()) for engine in (first, second)]
        await eventually(lambda: all(log.told(Kind.WATCHING) for log in logs) or tasks[0].done())
        script_task = asyncio.create_task(script(*logs))
        done, _ = await asyncio.wait([script_task, *tasks], return_when=asyncio.FIRST_COMPLETED)
        for task in (script_task, *tasks):
            if task not in done:
                task.cancel()
        await asyncio.wait([script_task, *tasks])
        for task in done:
            task.result()
    return logs


async def test_a_folder_of_many_frames_arrives_whole(database_url: str, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    wanted = {f"large{number}": os.urandom(1_500_000) for number in range(5)}
    wanted |= {f"many/{number}": bytes([number]) * number for number in range(200)}
    (one / "many").mkdir()
    for path, content in wanted.items():
        (one / path).write_bytes(content)
    pushed, pulled, again = Log(), Log(), Log()
    async with live_server(database_url) as live:
        async with engine_of(live, one, pushed) as engine:
            await engine.push_once()
        async with engine_of(live, two, pulled) as engine:
            await engine.pull_once()
        async with engine_of(live, one, again) as engine:
            await engine.push_once()
    assert files(two) == wanted
    assert sorted(pushed.told(Kind.PUSHED)) == sorted(pulled.told(Kind.PULLED)) == sorted(wanted)
    size_bytes = sum(map(len, wanted.values()))
    assert pushed.steps[-1] == Progressed("pushing", 205, size_bytes, 1.0)
    assert len(pushed.steps) >= 3
    assert again.events == []


async def test_two_watched_folders_follow_each_other(database_url: str, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"

    async def script(first: Log, second: Log) -> None:
        (one / "a.txt").write_text("1")
        await eventually(lambda: files(two) == {"a.txt": b"1"})
        (two / "a.txt").write_text("22")
        await eventually(lambda: files(one) == {"a.txt": b"22"})
        (one / "a.txt").unlink()
        await eventually(lambda: files(two) == {})
        for number in range(30):
            (one / f"{number}").write_text("one")
            (two / f"two-{number}").write_text("two")
        await eventually(lambda: len(files(one)) == 60 and files(one) == files(two))

    async with live_server(database_url) as live:
        first, second = await both(live, one, two, script)
    assert first.told(Kind.CONFLICT) == second.told(Kind.CONFLICT) == []
    assert [e for log in (first, second) for e in log.events if e.kind is Kind.SKIPPED] == []


async def test_a_watch_settles_what_both_sides_did_while_it_was_off(
    database_url: str, tmp_path: Path
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    async with live_server(database_url) as live:

        async def nothing(first: Log, second: Log) -> None:
            await eventually(lambda: bool(files(one)) and files(one) == files(two))

        one.mkdir()
        (one / "n.txt").write_text("base")
        await both(live, one, two, nothing)
        (one / "n.txt").write_text("from one")
        (two / "n.txt").write_text("from two")

        async def three(first: Log, second: Log) -> None:
            await eventually(lambda: len(files(one)) == 2 and files(one) == files(two))

        first, second = await both(live, one, two, three)
    assert len(first.told(Kind.CONFLICT) + second.told(Kind.CONFLICT)) == 1
    assert sorted(files(one).values()) == [b"from one", b"from two"]


async def test_watched_folders_agree_after_their_connections_broke(database_url: str, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"

    def agree(count: int) -> bool:
        return len(files(one)) == count and files(one) == files(two)

    async with live_server(database_url) as live:

        async def script(first: Log, second: Log) -> None:
            for turn in range(2):
                for number in range(20):
                    (one / f"{turn}-{number}").write_text("one")
                    (two / f"{turn}-{number}-two").write_text("two")
                await eventually(lambda: len(first.told(Kind.PUSHED)) > 0)
                for connection in live.connections():
                    connection.transport.abort()
                await eventually(partial(agree, 40 * (turn + 1)))

        first, second = await both(live, one, two, script)
    assert first.told(Kind.CONFLICT) == second.told(Kind.CONFLICT) == []
    uploaded = first.told(Kind.PUSHED) + second.told(Kind.PUSHED)
    assert set(uploaded) <= set(files(one))


async def test_another_key_changes_nothing_on_either_side(database_url: str, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for root, name in ((one, "a"), (two, "b")):
        root.mkdir()
        (root / name).write_text(name)
    log = Log()
    async with live_server(database_url) as live:
        async with engine_of(live, one, Log()) as engine:
            await engine.push_once()
        for attempt in ("push", "pull", "watch"):
            async with engine_of(live, two, log, key=FolderKey(bytes(32))) as engine:
                with pytest.raises(KeyMismatch, match="decrypts none of 1 records"):
                    await (engine.watch() if attempt == "watch" else getattr(engine, f"{attempt}_once")())
        async with engine_of(live, two, log) as engine:
            await engine.pull_once()
    assert files(two) == {"a": b"a", "b": b"b"}
    assert log.told(Kind.PUSHED) == []


async def test_a_server_that_lost_its_records_gets_them_again(database_url: str, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    for name in ("a", "b", "c"):
        (one / name).write_text(name)
    async with live_server(database_url) as live:
        for _ in range(2):
            async with engine_of(live, one, Log()) as engine:
                await engine.push_once()
        connection = await asyncpg.connect(database_url)
        await connection.execute("DELETE FROM records")
        await connection.execute("UPDATE spaces SET cursor = 0")
        await connection.close()
        for root, verb in ((one, "pull"), (one, "push"), (two, "pull")):
            async with engine_of(live, root, Log()) as engine:
                await getattr(engine, f"{verb}_once")()
    assert files(one) == files(two) == {"a": b"a", "b": b"b", "c": b"c"}


async def test_a_server_restored_from_a_backup_and_written_to_since_is_compared_anew(
    database_url: str, tmp_path: Path
) -> None:
    one = tmp_path / "one"
    one.mkdir()
    log = Log()
    async with live_server(database_url) as live:
        for content in ("old", "new"):
            (one / "a").write_text(content)
            async with engine_of(live, one, Log()) as engine:
                await engine.push_once()
        connection = await asyncpg.connect(database_url)
        await connection.execute("UPDATE records SET cursor = 1")
        await connection.execute("UPDATE spaces SET cursor = 9")
        await connection.close()
        (one / "a").write_text("newer")
        for _ in range(2):
            async with engine_of(live, one, log) as engine:
                await engine.pull_once()
                await engine.push_once()
        async with engine_of(live, tmp_path / "two", Log()) as engine:
            await engine.pull_once()
    assert files(tmp_path / "two") == files(one)
    assert sorted(files(one).values()) == [b"new", b"newer"]
