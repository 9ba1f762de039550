"""`less-sync push`, `pull`, `watch` and `key` as users run them: processes against a server process."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

from less_sync.bins.dev import DevIssuer
from tests.bins.commands import Finished, run_less_sync
from tests.wire.command import Command, start_command
from tests.wire.process import ServerProcess

TIMEOUT_S = 40.0


@dataclass
class Bench:
    """A dev server's data directory, and what a user's shell would have set."""

    parent: Path
    database_url: str
    port: int = 0
    watches: list[Command] = field(default_factory=list)
    settings: dict[str, str] = field(default_factory=dict)
    """Of the server, beside the database and the data directory."""

    @property
    def data_dir(self) -> Path:
        return self.parent / "data"

    @asynccontextmanager
    async def server(self) -> AsyncIterator[ServerProcess]:
        """The server, on the same port each time."""
        settings = {
            "DATABASE_URL": self.database_url,
            "DATA_DIR": str(self.data_dir),
            "ADMIN_ADDR": "",  # its watchdog would write a record of its own, and these are counted
            **self.settings,
        }
        listen = ("--listen", f"127.0.0.1:{self.port}")
        async with ServerProcess(settings, ("--dev", *listen)) as server:
            self.port = server.port
            yield server

    def environment(self, **more: str) -> dict[str, str]:
        return {
            "DATA_DIR": str(self.data_dir),
            "LESS_SYNC_SERVER": f"http://127.0.0.1:{self.port}",
            "LESS_SYNC_USER": "alice",
            "LESS_SYNC_KEY_FILE": str(self.parent / "folder.key"),
            **more,
        }

    def folder(self, name: str) -> Path:
        path = self.parent / name
        path.mkdir(exist_ok=True)
        return path

    async def run(self, verb: str, folder: Path, *more: str, **environment: str) -> Finished:
        return await run_less_sync(verb, str(folder), *more, env=self.environment(**environment))

    async def events(self, verb: str, folder: Path, *more: str) -> list[tuple[str, str]]:
        """Run with `--json`: (event, path) of each line but the summary."""
        finished = await self.run(verb, folder, "--json", *more)
        lines = [json.loads(line) for line in finished.out.splitlines()]
        assert lines[-1]["exit_code"] == finished.status
        return sorted((line["event"], line.get("path", "")) for line in lines[:-1])

    async def start(self, verb: str, folder: Path, *more: str) -> Command:
        process = await start_command("less-sync", [verb, str(folder), *more], env=self.environment())
        self.watches.append(process)
        return process

    async def end(self) -> None:
        """Stop who still runs."""
        for process in self.watches:
            if process.returncode is None:
                process.kill()
            await process.communicate()


@pytest.fixture
async def bench(tmp_path: Path, database_url: str) -> AsyncIterator[Bench]:
    made = Bench(tmp_path, database_url)
    yield made
    await made.end()


async def line_with(process: Command, text: str) -> str:
    """Read the output up to the line that contains `text`."""
    async with asyncio.timeout(TIMEOUT_S):
        while line := (await process.stdout.readline()).decode():
            if text in line:
                return line
    raise AssertionError(f"ended without {text!r}")


async def eventually(ask: Callable[[], bool]) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        while not ask():  # noqa: ASYNC110  # a file system announces nothing
            await asyncio.sleep(0.01)


def files(root: Path) -> dict[str, str]:
    found = (path for path in root.rglob("*") if path.is_file() and ".less-sync" not in path.parts)
    return {str(path.relative_to(root)): path.read_text() for path in found}


async def test_a_pushed_folder_is_watched_into_being_then_edit_deletion_and_conflict(bench: Bench) -> None:
    one, two = bench.folder("one"), bench.parent / "two"
    (one / "notes").mkdir()
    (one / "notes" / "a.txt").write_text("a")
    (one / "b.txt").write_text("b")
    async with bench.server():
        assert await bench.events("push", one) == [
            ("note", ""),
            ("pushed", "b.txt"),
            ("pushed", "notes/a.txt"),
        ]
        watch = await bench.start("watch", two, "--interval", "0.05")
        await line_with(watch, "watching")
        assert files(two) == {"notes/a.txt": "a", "b.txt": "b"}
        (one / "b.txt").write_text("edited")
        (one / "notes" / "a.txt").unlink()
        pushed = await bench.run("push", one)
        assert (pushed.status, pushed.out.splitlines()[-1]) == (0, "1 pushed, 1 deleted on the server")
        await eventually(lambda: files(two) == {"b.txt": "edited"})
        watch.send_signal(signal.SIGINT)
        assert await asyncio.wait_for(watch.wait(), TIMEOUT_S) == 0

        (one / "b.txt").write_text("one")
        (two / "b.txt").write_text("two")
        await bench.run("push", one)
        refused = await bench.run("push", two)
        assert refused.status == 3
        assert "b.txt: it changed on both sides" in refused.err
        pulled = await bench.run("pull", two)
        assert (pulled.status, "conflict: b.txt changed on both sides" in pulled.out) == (0, True)
        await bench.run("push", two)
        await bench.run("pull", one)
    assert files(one) == files(two)
    (copy,) = set(files(one)) - {"b.txt"}
    assert copy.startswith("b (conflict ")
    assert (files(one)["b.txt"], files(one)[copy]) == ("one", "two")


async def test_a_push_killed_at_any_point_is_completed_by_the_next_without_loss_or_double(
    bench: Bench,
) -> None:
    one, two = bench.folder("one"), bench.parent / "two"
    async with bench.server():
        for turn in range(3):
            for number in range(250):  # more than one frame
                (one / f"{turn}-{number}").write_bytes(os.urandom(20_000))
            push = await bench.start("push", one)
            await line_with(push, "pushed: ")
            push.kill()
            await push.wait()
        last = await bench.run("push", one)
        assert last.status == 0
        pull = await bench.start("pull", two)
        await line_with(pull, "pulled: ")
        pull.kill()
        await pull.wait()
        assert (await bench.run("pull", two)).status == 0
        assert (await bench.run("push", two)).out == "nothing to do\n"
    names = {path.name for path in one.iterdir()} - {".less-sync"}
    assert names == {path.name for path in two.iterdir()} - {".less-sync"}
    assert len(names) == 750
    assert all((one / name).read_bytes() == (two / name).read_bytes() for name in names)


async def test_a_watch_outlives_the_server_and_its_token(bench: Bench) -> None:
    one, two = bench.folder("one"), bench.parent / "two"
    token_file = bench.parent / "token"
    async with bench.server() as server:
        issuer = DevIssuer(bench.data_dir)
        token_file.write_text(issuer.mint("alice", now=datetime.now(UTC)))
        watch = await bench.start("watch", two, "--interval", "0.05", "--token-file", str(token_file))
        await line_with(watch, "watching")
        await server.kill()
    await line_with(watch, "connecting again")
    (two / "offline.txt").write_text("made while the server was away")
    token_file.write_text(issuer.mint("alice", now=datetime(2020, 1, 1, tzinfo=UTC)))
    async with bench.server():
        await line_with(watch, "expired auth token; waiting for another token")
        token_file.write_text(issuer.mint("alice", now=datetime.now(UTC)))
        await line_with(watch, "offline.txt")
        assert (await bench.run("pull", one)).status == 0
        watch.terminate()
        assert await asyncio.wait_for(watch.wait(), TIMEOUT_S) == 0
    assert files(one) == {"offline.txt": "made while the server was away"}


async def test_each_way_to_fail_has_its_exit_code_and_says_what_to_do(bench: Bench) -> None:
    one, two = bench.folder("one"), bench.parent / "two"
    (one / "a").write_text("a")
    async with bench.server():
        assert (await bench.run("push", one)).status == 0
        other_key = {"LESS_SYNC_KEY_FILE": str(bench.parent / "other.key")}
        mismatch = await bench.run("pull", two, **other_key)
        assert (mismatch.status, files(two)) == (4, {})
        assert "less-sync key import" in mismatch.err
        assert not Path(other_key["LESS_SYNC_KEY_FILE"]).exists()
        for token, words in (("nonsense", "invalid auth token"), (_expired(bench), "expired auth token")):
            refused = await bench.run("push", one, LESS_SYNC_TOKEN=token)
            assert refused.status == 5
            assert words in refused.err
            assert token not in refused.err
        (one / "link").symlink_to("a")
        left_out = await bench.run("push", one)
        assert (left_out.status, left_out.err) == (0, "left out: link: symbolic links are not synced\n")
        (one / "bell\a").touch()
        skipped = await bench.run("push", one)
        assert (skipped.status, "skipped: bell\\x07: the name has control" in skipped.err) == (3, True)
        watch = await bench.start("watch", two)
        await line_with(watch, "watching")
        busy = await bench.run("pull", two)
        assert (busy.status, "another less-sync command" in busy.err) == (8, True)
    down = await bench.run("push", one)
    assert (down.status, "is it running?" in down.err) == (6, True)
    for arguments in (("push", bench.parent / "none"), ("push", one, "--token", "x", "--token-file", "y")):
        wrong = await bench.run(str(arguments[0]), Path(arguments[1]), *map(str, arguments[2:]))
        assert wrong.status == 2


def _expired(bench: Bench) -> str:
    return DevIssuer(bench.data_dir).mint("alice", now=datetime(2020, 1, 1, tzinfo=UTC))


async def test_an_exported_key_opens_the_records_on_a_second_device(bench: Bench) -> None:
    one, two = bench.folder("one"), bench.parent / "two"
    (one / "a").write_text("a")
    async with bench.server():
        await bench.run("push", one)
        carried, second = bench.parent / "carried", {"LESS_SYNC_KEY_FILE": str(bench.parent / "second")}
        assert (await bench.run("key", Path("export"), str(carried))).status == 0
        imported = await bench.run("key", Path("import"), str(carried), **second)
        assert imported.status == 0
        assert (await bench.run("pull", two, **second)).status == 0
    assert files(two) == {"a": "a"}
    printed = await bench.run("key", Path("export"))
    assert printed.out == carried.read_text()
    assert (
        carried.stat().st_mode & 0o777,
        (await bench.run("key", Path("export"), str(carried))).status,
    ) == (
        0o600,
        2,
    )
