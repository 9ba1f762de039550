"""`status`, `ls`, `--dry-run` and `trash`, and questions before harm, as users run them."""

import asyncio
import json
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tests.client.folder.test_processes import Bench, files, line_with


@pytest.fixture
async def bench(tmp_path: Path, database_url: str) -> AsyncIterator[Bench]:
    made = Bench(tmp_path, database_url)
    yield made
    await made.end()


async def lines(bench: Bench, verb: str, folder: Path, *more: str, status: int = 0) -> list[dict[str, Any]]:
    finished = await bench.run(verb, folder, "--json", *more)
    assert finished.status == status, (finished.out, finished.err)
    return [json.loads(line) for line in finished.out.splitlines()]


def everything(root: Path) -> dict[str, bytes]:
    """Every file, those of `.less-sync` too."""
    return {str(path): path.read_bytes() for path in root.rglob("*") if path.is_file()}


async def test_status_tells_what_differs_and_changes_nothing(bench: Bench) -> None:
    one, two = bench.folder("one"), bench.folder("two")
    async with bench.server():
        first = await bench.run("status", one)
        assert "the next push makes this space one of format 2" in first.out
        assert not (one / ".less-sync").exists()
        assert not (bench.parent / "folder.key").exists()
        for name in ("both", "here", "there", "gone here", "gone there"):
            (one / name).write_text(name)
        await bench.run("push", one)
        await bench.run("pull", two)
        for name in ("both", "there", "new there"):
            (one / name).write_text("edited there")
        (one / "gone there").unlink()
        await bench.run("push", one)
        for name in ("both", "here", "new here"):
            (two / name).write_text("edited here")
        (two / "gone here").unlink()
        (two / ".less-syncignore").write_text("build\n.less-syncignore\n")
        (two / "build").mkdir()
        before = everything(two)
        told = await lines(bench, "status", two)
        assert everything(two) == before
        assert told[0]["event"] == "status"
        assert {"server", "space", "kind", "epoch", "person"} <= told[0].keys()
        assert sorted((one["event"], one["path"]) for one in told[1:-2]) == [
            ("conflict", "both"),
            ("to_delete_here", "gone there"),
            ("to_delete_on_the_server", "gone here"),
            ("to_pull", "new there"),
            ("to_pull", "there"),
            ("to_push", "here"),
            ("to_push", "new here"),
        ]
        assert told[-2] == {"event": "ignored", "count": 2}
        assert (told[-1]["to_push"], told[-1]["to_pull"], told[-1]["exit_code"]) == (2, 2, 0)
        text = await bench.run("status", two)
        assert "to push: new here\n" in text.out
        assert text.out.splitlines()[-1] == (
            "2 to push, 2 to pull, 1 to delete here, 1 to delete on the server, 1 in conflict"
        )


async def test_status_works_beside_a_watch(bench: Bench) -> None:
    one = bench.folder("one")
    (one / "a").write_text("a")
    async with bench.server():
        watch = await bench.start("watch", one, "--interval", "0.05")
        await line_with(watch, "watching")
        assert (await lines(bench, "status", one))[-1]["exit_code"] == 0
        (one / "b").write_text("b")
        await line_with(watch, "pushed: b")


async def test_a_dry_run_says_what_the_command_would_do_and_does_nothing(bench: Bench) -> None:
    one, two = bench.folder("one"), bench.parent / "two"
    (one / "a").write_text("a")
    async with bench.server():
        would = await bench.run("push", one, "--dry-run")
        assert would.out == "to push: a\n1 to push\n"
        assert everything(one) == {str(one / "a"): b"a"}
        assert (await bench.run("push", one)).out.splitlines()[-2:] == ["pushed: a", "1 pushed"]
        would = await bench.run("pull", two, "--dry-run")
        assert would.out == "to pull: a\n1 to pull\n"
        assert not two.exists()
        assert (await bench.run("pull", two)).out == "pulled: a\n1 pulled\n"
        (one / "a").unlink()
        before = everything(one)
        assert (await bench.run("push", one, "--dry-run")).out.splitlines()[0] == "to delete on the server: a"
        assert everything(one) == before


async def test_ls_lists_what_is_in_the_space(bench: Bench) -> None:
    one = bench.folder("one")
    (one / "notes").mkdir()
    (one / "notes" / "a").write_text("four")
    (one / "b").write_text("x")
    (one / "c").write_text("deleted")
    async with bench.server():
        await bench.run("push", one)
        (one / "c").unlink()
        await bench.run("push", one)
        told = await lines(bench, "ls", bench.folder("elsewhere"))
        at_s = int((one / "notes" / "a").stat().st_mtime)
        assert told[1] == {"event": "file", "path": "notes/a", "bytes": 4, "modified_at": at_s}
        assert [one["path"] for one in told[:-1]] == ["b", "notes/a"]
        assert (told[-1]["files"], told[-1]["bytes"], told[-1]["exit_code"]) == (2, 5, 0)
        text = await bench.run("ls", one)
        assert text.out.splitlines()[-1] == "2 files, 5 bytes"
        other = await bench.run("ls", one, LESS_SYNC_KEY_FILE=str(bench.parent / "other.key"))
        assert other.status == 4
        assert not (bench.parent / "other.key").exists()


async def test_what_a_pull_took_away_is_listed_and_restored(bench: Bench) -> None:
    one, two = bench.folder("one"), bench.folder("two")
    (one / "notes").mkdir()
    (one / "notes" / "a").write_text("old")
    async with bench.server():
        await bench.run("push", one)
        await bench.run("pull", two)
        (one / "notes" / "a").write_text("new")
        await bench.run("push", one)
        await bench.run("pull", two)
        (told,) = await lines(bench, "trash", two)
        assert (told["event"], told["path"], told["bytes"]) == ("trashed", "notes/a", 3)
        restored = await bench.run("trash", Path("restore"), str(two / "notes" / "a"))
        assert (restored.status, files(two)) == (0, {"notes/a": "old"})
        assert (await bench.run("push", two)).status == 0
        await bench.run("pull", one)
        assert files(one) == {"notes/a": "old"}
        assert [one["bytes"] for one in await lines(bench, "trash", two)] == [3]
        assert (await bench.run("trash", two, "--empty")).out == "1 file removed from the trash\n"
        assert (await bench.run("trash", two)).out == "the trash is empty\n"
    missing = await bench.run("trash", Path("restore"), str(two / "none"))
    assert (missing.status, "the trash has no none" in missing.err) == (2, True)
    (told,) = await lines(bench, "trash", bench.parent, status=2)
    assert (told["event"], told["exit_code"]) == ("error", 2)
    outside = await bench.run("trash", bench.parent)
    assert (outside.status, "no synced folder" in outside.err) == (2, True)


async def test_a_folder_goes_to_another_server_only_when_told_so(bench: Bench) -> None:
    one = bench.folder("one")
    (one / "a").write_text("a")
    async with bench.server():
        assert (await bench.run("push", one)).status == 0
    former = bench.port
    bench.port = 0
    await sql(bench, "TRUNCATE spaces CASCADE")
    async with bench.server():
        assert bench.port != former
        for verb in ("push", "pull", "watch"):
            refused = await bench.run(verb, one)
            assert refused.status == 2
            assert f"was synced with the server 127.0.0.1:{former} so far" in refused.err
        assert await count(bench) == 0
        assert "127.0.0.1" in (await bench.run("push", one, "--dry-run")).out
        assert (await bench.run("push", one, "--yes")).out == "pushed: a\n1 pushed\n"
        assert (await bench.run("push", one)).out == "nothing to do\n"


@pytest.mark.parametrize(("answer", "status", "records"), [("n", 2, 0), ("", 130, 0), ("y", 0, 1)])
async def test_at_a_terminal_the_question_is_asked(
    bench: Bench, answer: str, status: int, records: int
) -> None:
    one = bench.folder("one")
    (one / "a").write_text("a")
    async with bench.server():
        await bench.run("push", one)
    bench.port = 0
    await sql(bench, "TRUNCATE spaces CASCADE")
    async with bench.server():
        ours, theirs = os.openpty()
        process = await asyncio.create_subprocess_exec(
            Path(sys.executable).with_name("less-sync"),
            "push",
            str(one),
            stdin=theirs,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, **bench.environment()},
        )
        os.close(theirs)
        assert process.stderr is not None
        async with asyncio.timeout(30):
            question = await process.stderr.readuntil(b"[y/N] ")
            if answer:
                os.write(ours, f"{answer}\n".encode())
            else:
                process.send_signal(signal.SIGINT)
            await process.communicate()
        os.close(ours)
        assert b"sync it with this one from now on?" in question
        assert (process.returncode, await count(bench)) == (status, records)


async def test_a_watch_whose_own_folder_is_removed_ends_with_a_sentence(bench: Bench) -> None:
    one = bench.folder("one")
    (one / "a").write_text("a")
    async with bench.server():
        watch = await bench.start("watch", one, "--interval", "0.05")
        await line_with(watch, "watching")
        shutil.rmtree(one / ".less-sync")
        out, _ = await watch.communicate()
        error, _ = out.decode().splitlines()
        assert watch.returncode == 1
        assert "was removed while the command worked" in error
        assert (await bench.run("push", one)).out == "nothing to do\n"


async def test_a_server_that_goes_back_and_one_that_deletes_everything_have_exit_codes(bench: Bench) -> None:
    one, two = bench.folder("one"), bench.folder("two")
    for number in range(30):
        (one / str(number)).write_text("1")
    async with bench.server():
        await bench.run("push", one)
        await sql(bench, "CREATE TABLE kept AS SELECT * FROM records")
        (one / "7").write_text("2")
        await bench.run("push", one)
        await bench.run("pull", two)
        # The former version of the one record that was replaced, at a new cursor.
        await sql(
            bench,
            "UPDATE spaces SET cursor = cursor + 1;"
            " UPDATE records r SET blob = k.blob, wrapped_dek = k.wrapped_dek, cursor = s.cursor"
            " FROM kept k, spaces s WHERE k.id = r.id AND s.id = r.space_id AND r.cursor > k.cursor",
        )
        back = await bench.run("pull", two)
        assert back.status == 10
        assert back.err == (
            "rolled back: 7: the server shows version 1, and this device has seen version 2\n"
        )
        assert files(two)["7"] == "2"
        assert (await bench.run("push", two)).out == "pushed: 7\n1 pushed\n"
        assert (await bench.run("pull", two)).status == 0

        await bench.run("pull", one)
        for number in range(25):
            (one / str(number)).unlink()
        assert (await bench.run("push", one)).out.splitlines()[-1] == "25 deleted on the server"
        for verb in ("pull", "watch"):
            stopped = await bench.run(verb, two)
            assert stopped.status == 11
            assert "25 of 30 files here would be deleted" in stopped.err
            assert len(files(two)) == 30
        accepted = await bench.run("pull", two, "--accept-deletions")
        assert (accepted.status, len(files(two))) == (0, 5)
        assert len(await lines(bench, "trash", two)) == 25


async def sql(bench: Bench, statements: str) -> None:
    database = await asyncpg.connect(bench.database_url)
    try:
        await database.execute(statements)
    finally:
        await database.close()


async def count(bench: Bench) -> int:
    database = await asyncpg.connect(bench.database_url)
    try:
        number: int = await database.fetchval("SELECT count(*) FROM records")
    finally:
        await database.close()
    return number
