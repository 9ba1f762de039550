"""One whole server in this process, under a master in this process: its order, its stop, its failures."""

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import grpc.aio
import pytest

from less_sync.bins.supervisor import Ended, Supervisor
from less_sync.volume.grpc.protos import volume_server_pb2 as pb
from less_sync.volume.options import DirectoryOptions, Options
from less_sync.volume.server import VolumeServer
from tests.volume.master.fake_master import NOWHERE, FakeMaster, running
from tests.volume.ports import Ports


def options_of(ports: Ports, directory: Path, master: FakeMaster) -> Options:
    port = ports.take()
    return Options(
        directories=(DirectoryOptions(directory),),
        port=port,
        grpc_port=port + 10_000,
        public_port=port,
        public_url=f"127.0.0.1:{port}",
        masters=(master.address,),
        pre_stop_s=0.0,
        security_file=directory / "security.toml",
    )


@asynccontextmanager
async def served(options: Options) -> AsyncIterator[tuple[VolumeServer, "asyncio.Task[None]"]]:
    """A server with its own supervisor; stopped by a signal, as in real life."""
    ended: list[Ended] = []
    async with Supervisor(ended.append) as vital:
        server = VolumeServer(options, {}, vital)
        task = asyncio.create_task(server.run())
        try:
            yield server, task
        finally:
            if not task.done():
                os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.wait({task}, timeout=20)
    assert ended == []


async def status_of(port: int, head: bytes = b"GET /healthz HTTP/1.1") -> int:
    """0: nobody listens."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return 0
    writer.write(head + b"\r\nHost: x\r\nConnection: close\r\n\r\n")
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    return int(answer.split()[1])


async def ready(port: int) -> None:
    for _ in range(4_000):
        if await status_of(port) == 200:
            return
        await asyncio.sleep(0.005)
    raise TimeoutError("the server is not ready")


async def until(is_so: Callable[[], bool]) -> None:
    for _ in range(10_000):
        if is_so():
            return
        await asyncio.sleep(0.002)
    raise TimeoutError("that did not come about")


async def allocate(options: Options, volume_id: int) -> None:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{options.grpc_port}") as channel:
        call = channel.unary_unary(
            "/volume_server_pb.VolumeServer/AllocateVolume",
            request_serializer=pb.AllocateVolumeRequest.SerializeToString,
            response_deserializer=pb.AllocateVolumeResponse.FromString,
        )
        await call(pb.AllocateVolumeRequest(volume_id=volume_id, replication="000", version=3))


async def test_a_server_reports_serves_and_says_farewell(tmp_path: Path) -> None:
    with Ports() as ports:
        async with running(FakeMaster()) as master:
            options = replace(options_of(ports, tmp_path, master), sync_interval_s=0.01)
            async with served(options) as (server, task):
                await ready(options.port)
                first = await master.next()
                assert (first.port, first.has_no_volumes) == (options.port, True)
                assert list(first.location_uuids) == [(tmp_path / "vol_dir.uuid").read_text()]
                assert first.disk_total_bytes[""] > 0
                await allocate(options, 3)
                told = await master.next(lambda message: bool(message.new_volumes))
                assert [one.id for one in told.new_volumes] == [3]
                assert (
                    await status_of(options.port, b"PUT /3,0100000001 HTTP/1.1\r\nContent-Length: 0") == 201
                )
                volume = server.services.store.volume(3)
                assert volume is not None
                await until(lambda: not volume.is_dirty)
                assert 'request_total{code="201",type="PUT"} 1' in server._metrics_page()
                os.kill(os.getpid(), signal.SIGINT)
                last = await master.next(lambda message: not message.new_volumes and message.ip != "")
                while not last.has_no_volumes:
                    last = await master.next()
                await asyncio.wait_for(task, 20)
            assert await status_of(options.port) == 0


async def test_while_the_server_pauses_before_the_stop_it_serves_and_says_that_it_stops(
    tmp_path: Path,
) -> None:
    with Ports() as ports:
        async with running(FakeMaster()) as master:
            options = replace(options_of(ports, tmp_path, master), pre_stop_s=0.2)
            async with served(options) as (server, task):
                await ready(options.port)
                os.kill(os.getpid(), signal.SIGALRM)
                await until(lambda: server.services.store.stopping)
                assert await status_of(options.port) == 503
                assert await status_of(options.port, b"GET /status HTTP/1.1") == 200
                os.kill(os.getpid(), signal.SIGTERM)
                await asyncio.wait_for(task, 20)


async def test_a_hang_up_exchanges_the_keys(tmp_path: Path) -> None:
    with Ports() as ports:
        async with running(FakeMaster()) as master:
            options = options_of(ports, tmp_path, master)
            async with served(options) as (server, _):
                await ready(options.port)
                assert not server.services.security.wants_token(write=True)
                (tmp_path / "security.toml").write_text('[jwt.signing]\nkey = "k"\n')
                os.kill(os.getpid(), signal.SIGHUP)
                await until(lambda: server.services.security.wants_token(write=True))
                assert await status_of(options.port, b"DELETE /3,0100000001 HTTP/1.1") == 401


async def test_without_a_master_nothing_listens_and_a_signal_ends_it(tmp_path: Path) -> None:
    with Ports() as ports:
        options = options_of(ports, tmp_path, FakeMaster(address=NOWHERE))
        async with served(options) as (_, task):
            await asyncio.sleep(0.05)
            assert await status_of(options.port) == 0
            assert not (tmp_path / "vol_dir.uuid").exists()
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.wait_for(task, 20)


async def test_a_port_that_is_taken_fails_the_start_and_takes_everything_back(tmp_path: Path) -> None:
    with Ports() as ports:
        async with running(FakeMaster()) as master:
            options = options_of(ports, tmp_path, master)
            with socket.create_server(("127.0.0.1", options.port)):
                async with served(options) as (_, task):
                    with pytest.raises(OSError, match="address already in use"):
                        await asyncio.wait_for(task, 20)
                farewell = await master.next(lambda message: not message.grpc_port and message.has_no_volumes)
                assert farewell.port == options.port
                with socket.create_server(("127.0.0.1", options.grpc_port)):
                    pass
