"""Tens of thousands of messages that nobody would send."""

import os
from pathlib import Path
from random import Random

import pytest

from less_sync.volume.grpc.protos import volume_server_pb2 as pb
from tests.bench.usage import resident_bytes
from tests.volume.grpc.hostile import send
from tests.volume.grpc.serving import put, serving

ROUNDS = 10
MESSAGES_PER_CALL = 20
GROWTH_BYTES_MAX = 64 << 20


@pytest.mark.parametrize("seed", [1, 2])
async def test_no_message_breaks_a_server_or_makes_it_grow(tmp_path: Path, seed: int) -> None:
    random, before = Random(seed), 0
    async with serving(tmp_path) as server:
        for round_ in range(ROUNDS):
            if server.store.volume(3) is None:
                await put(await server.volume(3), 1, 7, b"x" * 1_000)
            sent = await send(server, random, per_call=MESSAGES_PER_CALL)
            assert sent == 49 * MESSAGES_PER_CALL
            state = (await server.call(pb.GetStateRequest())).state
            state.maintenance = False
            await server.call(pb.SetStateRequest(state=state))
            if round_ == 1:
                before = resident_bytes(os.getpid())
        assert resident_bytes(os.getpid()) - before < GROWTH_BYTES_MAX
        open_files = len(os.listdir("/proc/self/fd"))
        volumes = list(server.store.volumes())
        assert open_files < 2 * len(volumes) + 64
