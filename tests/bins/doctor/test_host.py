"""The checks of this machine, and how checks are run."""

import asyncio
import json
import os
import socket
import time
from pathlib import Path

import pytest

from less_sync.bins.doctor.files import look_at_files
from less_sync.bins.doctor.findings import looked
from less_sync.bins.doctor.host import (
    holder_of,
    look_at_backup,
    look_at_data_directory,
    look_at_open_files,
    look_at_ports,
)
from less_sync.bins.postgres.files import hold_data_directory
from tests.bins.admin.opened import admin
from tests.bins.doctor.support import FAILED, NONE, OK, WARNING, answering, http, states
from tests.bins.environments import S3_NEEDED, read
from tests.live import live_server


async def test_a_check_that_raises_or_hangs_is_reported_and_ends_no_other() -> None:
    async def raises() -> list[object]:
        raise KeyError("geheim")

    async def hangs() -> list[object]:
        return [await asyncio.get_running_loop().create_future()]

    found = await asyncio.gather(looked("a", raises), looked("b", hangs, bound_s=0.01))  # type: ignore[arg-type]
    assert [(one.state, one.found) for [one] in found] == [
        (FAILED, "the check ended with KeyError"),
        (FAILED, "no result within 0.01 s"),
    ]


async def test_ports_are_free_off_or_any() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    found = await look_at_ports(read(LISTEN_ADDR=f"127.0.0.1:{port}", ADMIN_ADDR="127.0.0.1:0"))
    assert states(found) == {"port LISTEN_ADDR": OK, "port ADMIN_ADDR": OK, "port PPROF_ADDR": NONE}
    assert found[0].found == f"127.0.0.1:{port} is free"


async def test_our_own_server_at_a_port_is_asked_how_it_is(database_url: str) -> None:
    async with live_server(database_url) as live:
        [found, *_] = await look_at_ports(read(LISTEN_ADDR=f"127.0.0.1:{live.port}"))
        assert (found.state, found.found.endswith("the server runs there, and is well")) == (OK, True)
        live.services.sessions.refuse()
        [found, *_] = await look_at_ports(read(LISTEN_ADDR=f"127.0.0.1:{live.port}"))
        assert (found.state, found.found.endswith("and is not well")) == (FAILED, True)


async def test_our_own_admin_listener_off_loopback_is_known_by_what_it_asks_for(
    database_url: str, tmp_path: Path
) -> None:
    async with admin(database_url, tmp_path, address="0.0.0.0:0") as where:
        port = where.listener.address.port
        [_, found, _] = await look_at_ports(read(LISTEN_ADDR="127.0.0.1:0", ADMIN_ADDR=f"0.0.0.0:{port}"))
    assert (found.state, found.found) == (
        OK,
        f"0.0.0.0:{port}: the server runs there, and asks for the admin token",
    )
    async with answering(http(b"hello", status="401 Unauthorized")) as port:
        [_, found, _] = await look_at_ports(read(LISTEN_ADDR="127.0.0.1:0", ADMIN_ADDR=f"127.0.0.1:{port}"))
    assert (found.state, "taken by another program (HTTP 401)" in found.found) == (FAILED, True)


async def test_another_program_at_a_port_is_a_failure() -> None:
    async with answering(http(b"hello")) as port:
        [found, *_] = await look_at_ports(read(LISTEN_ADDR=f"127.0.0.1:{port}"))
    assert (found.state, found.found) == (FAILED, f"127.0.0.1:{port} is taken by another program")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        looking = asyncio.create_task(look_at_ports(read(LISTEN_ADDR=f"127.0.0.1:{port}")))
        silent.setblocking(False)
        connection, _ = await asyncio.get_running_loop().sock_accept(silent)
        connection.close()
        [found, *_] = await looking
    assert (found.state, "does not answer as a server" in found.found) == (FAILED, True)


async def test_an_address_of_another_machine_is_told_by_the_systems_words() -> None:
    [found, *_] = await look_at_ports(read(LISTEN_ADDR="192.0.2.1:5379"))
    assert (found.state, "cannot listen on 192.0.2.1:5379" in found.found) == (FAILED, True)


@pytest.mark.parametrize(("limit", "state"), [(256, FAILED), (8192, WARNING)])
async def test_a_low_limit_of_open_files_is_seen_at_the_server_that_runs(limit: int, state: object) -> None:
    process = await asyncio.create_subprocess_exec(
        "/bin/sh", "-c", f"ulimit -n {limit}; echo; exec cat", stdin=-1, stdout=-1
    )
    assert process.stdout is not None
    await process.stdout.readline()
    [found] = await look_at_open_files(process.pid)
    await process.communicate(b"")
    assert (found.state, found.found.startswith(f"{limit:,} now, {limit:,} at most of the server")) == (
        state,
        True,
    )
    assert "LimitNOFILE" in found.todo


async def test_files_are_written_and_removed_and_nothing_is_left(tmp_path: Path) -> None:
    settings = read(FILE_STORAGE_BACKEND="local", FILE_STORAGE_PATH=str(tmp_path / "files"))
    [found] = await look_at_files(settings.files)
    assert (found.state, list(tmp_path.iterdir())) == (OK, [])
    (tmp_path / "files").mkdir()
    [found] = await look_at_files(settings.files)
    assert "written, read, removed" in found.found
    assert list((tmp_path / "files").iterdir()) == []
    assert [one.state for one in await look_at_files(read().files)] == [NONE]


async def test_a_directory_that_cannot_be_written_is_a_failure(tmp_path: Path) -> None:
    directory = tmp_path / "files"
    directory.mkdir(mode=0o555)
    settings = read(FILE_STORAGE_BACKEND="local", FILE_STORAGE_PATH=str(directory))
    user = os.geteuid()
    if user == 0:
        os.seteuid(65_534)
    try:
        [found] = await look_at_files(settings.files)
    finally:
        os.seteuid(user)
    assert (found.state, found.found) == (FAILED, f"{directory} cannot be written: permission denied")
    assert "owner and mode" in found.todo


async def test_a_bucket_that_nobody_serves_is_a_failure_without_its_keys() -> None:
    async with answering(http(b"", status="403 Forbidden")) as port:
        settings = read(**S3_NEEDED | {"FILE_S3_ENDPOINT": f"http://127.0.0.1:{port}"})
        [found] = await look_at_files(settings.files)
    assert (found.state, "cannot write (PutObject)" in found.found) == (FAILED, True)
    assert "the secret key" not in str(found)


async def test_who_holds_the_data_directory_is_told_without_touching_its_lock(tmp_path: Path) -> None:
    assert holder_of(tmp_path) is None
    with hold_data_directory(tmp_path):
        assert holder_of(tmp_path) == os.getpid()
    assert holder_of(tmp_path) is None


async def test_a_data_directory_that_others_can_look_into_is_a_warning(tmp_path: Path) -> None:
    data = tmp_path / "data"
    settings = read(DATA_DIR=str(data))
    assert [one.state for one in await look_at_data_directory(settings, None)] == [NONE]
    data.mkdir(mode=0o700)
    [found] = await look_at_data_directory(settings, 17)
    assert (found.state, f"{data}, held by process 17" in found.found) == (OK, True)
    data.chmod(0o755)
    [found] = await look_at_data_directory(settings, None)
    assert (found.state, found.todo) == (WARNING, f"others can look into it: chmod 700 {data}")


async def test_the_last_backup_is_told_by_its_age(tmp_path: Path) -> None:
    now_s = time.time()

    async def look(age_s: float | None) -> tuple[object, str]:
        [found] = await look_at_backup(tmp_path, now_s + (age_s or 0.0))
        return found.state, found.found

    assert await look(None) == (WARNING, "none was made with this data directory")
    said = {"finished_at": "2026-11-26T16:30:00Z", "folder": str(tmp_path / "backups"), "digest": "d"}
    (tmp_path / "last-backup.json").write_text(json.dumps(said))
    assert await look(None) == (WARNING, f"{tmp_path}/backups is not there any more")
    (tmp_path / "backups").mkdir()
    now_s = 1_795_710_600.0
    assert await look(7200) == (OK, f"2.0 h old, in {tmp_path}/backups")
    assert await look(8 * 86_400) == (WARNING, f"8.0 days old, in {tmp_path}/backups")
    (tmp_path / "last-backup.json").write_text("{")
    assert (await look(None))[0] is WARNING
