"""Hundreds of thousands of requests that nobody would send: nothing fails, grows or stays behind."""

import asyncio
import logging
import os
import socket
from contextlib import suppress
from itertools import islice
from pathlib import Path
from random import Random

import pytest

from less_sync.volume.engine.errors import NeedleNotFound
from less_sync.volume.engine.volume import Volume
from tests.bench.usage import resident_bytes
from tests.volume.http.mutations import mutants, recorded_requests
from tests.volume.http.whole_server import serving

PARTS = 8
COUNT = 200_000 // PARTS
AT_ONCE = 16
BATCH = 1_000
WARM_UP = 8_000
GROWTH_BYTES_MAX = 48 << 20
ANSWER_S_MAX = 30.0
VOLUME_IDS = (3, 5, 7)


async def send(port: int, requests: list[bytes], random: Random) -> None:
    """Send each on a connection of its own, in one or several pieces; read to the end of the answer."""
    loop = asyncio.get_running_loop()
    for request in requests:
        with socket.socket() as client:
            client.setblocking(False)
            answer = b""
            try:
                async with asyncio.timeout(ANSWER_S_MAX):
                    await loop.sock_connect(client, ("127.0.0.1", port))
                    at = 0
                    while at < len(request) and random.randrange(8) == 0:
                        piece = random.randrange(1, 200)
                        await loop.sock_sendall(client, request[at : at + piece])
                        await asyncio.sleep(0)
                        at += piece
                    await loop.sock_sendall(client, request[at:])
                    if random.randrange(50) == 0:
                        continue  # some do not wait for an answer
                    client.shutdown(socket.SHUT_WR)
                    while more := await loop.sock_recv(client, 1 << 20):
                        answer = answer or more
            except (ConnectionResetError, BrokenPipeError):
                pass  # a long body that nobody reads may end so
            except TimeoutError:
                raise AssertionError(f"no end of the answer to {request!r}") from None
            assert not answer or answer.startswith(b"HTTP/1."), (request, answer)


def live_needles(volume: Volume) -> int:
    """How many needles there are; each is read, its checksum compared."""
    found = 0
    for id_ in {needle.id for _, needle in volume.scan()}:
        with suppress(NeedleNotFound):
            volume.read(id_)
            found += 1
    return found


@pytest.mark.parametrize("seed", range(20_261, 20_261 + PARTS))
async def test_mutated_requests_do_no_harm(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, seed: int
) -> None:
    caplog.set_level(logging.ERROR)
    async with serving(tmp_path, read_mode="local", file_bytes_max=1 << 20, idle_timeout_s=5.0) as server:
        services = server.services
        for volume_id in VOLUME_IDS:
            await server.store.allocate(volume_id)
        rss_after_warm_up = 0
        stream = mutants(seed, COUNT, recorded_requests())
        random = Random(seed)
        done = 0
        while batch := list(islice(stream, BATCH)):
            lanes = (send(server.port, batch[lane::AT_ONCE], random) for lane in range(AT_ONCE))
            await asyncio.gather(*lanes)
            done += len(batch)
            ours = [record for record in caplog.records if record.name.startswith("less_sync.")]
            assert [record.getMessage() for record in ours] == []
            if done == WARM_UP:
                rss_after_warm_up = resident_bytes(os.getpid())
        growth = resident_bytes(os.getpid()) - rss_after_warm_up
        assert done == COUNT
        await server.http.stop()
        counters, limits = services.counters, server.http.limits
        assert limits.uploads.bytes == limits.downloads.bytes == 0
        assert counters.connections == 0
        assert sum(counters.requests.values()) > COUNT // 4
        assert set(counters.running.values()) <= {0}
        assert growth <= GROWTH_BYTES_MAX
        # What was written meanwhile reads as it was written: every checksum is right.
        assert sum(map(live_needles, server.store.volumes())) > 30
