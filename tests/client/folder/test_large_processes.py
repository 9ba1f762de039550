"""`less-sync push` and `pull` of a large file, killed while it moves: processes against a server process."""

import json
import os
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tests.client.folder.test_processes import Bench, eventually
from tests.wire.process import ServerProcess

MIB = 1024 * 1024
PARTS = 16
SETTINGS = {"FILE_STORAGE_BACKEND": "local", "MAX_FILE_SIZE": str(3 * MIB)}
"""So that parts of 2 MiB are taken at most."""


@pytest.fixture
async def bench(tmp_path: Path, database_url: str) -> AsyncIterator[Bench]:
    made = Bench(tmp_path, database_url, settings=SETTINGS)
    yield made
    await made.end()


def answered(server: ServerProcess, method: str, status: int) -> int:
    """How many requests about files the server has answered so."""
    return sum(f"method={method} " in line and f"status={status} " in line for line in server.output)


async def killed(bench: Bench, verb: str, folder: Path, when: Callable[[], bool]) -> None:
    process = await bench.start(verb, folder)
    await eventually(when)
    process.kill()
    assert await process.wait() == -signal.SIGKILL


async def test_a_killed_push_and_a_killed_pull_go_on_where_they_stopped(bench: Bench) -> None:
    one, two = bench.folder("one"), bench.folder("two")
    content = os.urandom(PARTS * 2 * MIB - 5)
    (one / "film").write_bytes(content)

    def stored() -> int:
        return sum(path.is_file() for path in (bench.data_dir / "files").rglob("spaces/*/files/*"))

    def fetched() -> int:
        return sum(path.stat().st_size for path in (two / ".less-sync" / "partial").glob("*"))

    async with bench.server() as server:
        await killed(bench, "push", one, lambda: stored() >= 3)
        status = await bench.run("status", one)
        assert (status.status, "to push: film" in status.out) == (0, True)
        pushed = await bench.run("push", one)
        assert (pushed.status, pushed.out) == (0, "pushed: film\n1 pushed\n")
        # The part under way when the command was killed may have been stored, or not.
        assert answered(server, "PUT", 201) == stored() == PARTS
        assert answered(server, "PUT", 204) <= 1
        await killed(bench, "pull", two, lambda: fetched() >= 6 * MIB)
        whole = answered(server, "GET", 200)
        pulled = await bench.run("pull", two)
        assert (pulled.status, pulled.out) == (0, "pulled: film\n1 pulled\n")
        assert PARTS <= answered(server, "GET", 200) <= PARTS + 2
        assert whole >= 2
        assert (two / "film").read_bytes() == content
        listed = await bench.run("ls", one)
        assert f"{len(content):,}" in listed.out
        (one / "film").unlink()
        assert (await bench.run("push", one)).out.endswith("1 deleted on the server\n")
        await eventually(lambda: stored() == 0)


async def test_ctrl_c_leaves_what_the_next_command_goes_on_with(bench: Bench) -> None:
    one = bench.folder("one")
    (one / "film").write_bytes(os.urandom(PARTS * 2 * MIB))

    def stored() -> int:
        return sum(path.is_file() for path in (bench.data_dir / "files").rglob("spaces/*/files/*"))

    async with bench.server() as server:
        process = await bench.start("push", one, "--json")
        await eventually(lambda: stored() >= 3)
        process.send_signal(signal.SIGINT)
        assert await process.wait() == 130
        summary = json.loads((await process.stdout.read()).splitlines()[-1])
        assert (summary["event"], summary["pushed"], summary["exit_code"]) == ("summary", 0, 130)
        assert (await bench.run("push", one)).status == 0
        assert answered(server, "PUT", 201) == stored() == PARTS


@pytest.mark.parametrize("above", ["0", "4 MiB"])
async def test_what_goes_to_file_storage_is_a_setting(bench: Bench, above: str) -> None:
    one, two = bench.folder("one"), bench.folder("two")
    (one / "small").write_text("x")
    (one / "empty").touch()
    (one / "medium").write_bytes(bytes(MIB))
    async with bench.server() as server:
        assert (await bench.run("push", one, "--file-storage-above", above)).status == 0
        assert answered(server, "PUT", 201) == (2 if above == "0" else 0)
        assert (await bench.run("pull", two)).status == 0
        wrong = await bench.run("push", one, LESS_SYNC_FILE_STORAGE_ABOVE="much")
        assert (wrong.status, "not a size: much" in wrong.err) == (2, True)
    assert {path.name: path.stat().st_size for path in two.iterdir() if path.is_file()} == {
        "small": 1,
        "empty": 0,
        "medium": MIB,
    }
