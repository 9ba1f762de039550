"""What the bench counts by must be right before its figures mean anything."""

import os
import random
import subprocess
import sys
from dataclasses import replace

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from websockets.frames import Frame, Opcode

from less_sync.auth import UcanCache, UcanError
from tests.bench.chains import measure_chains, new_chain, validate, verify_bare
from tests.bench.child import Child
from tests.bench.frames import FrameCounter, client_frame
from tests.bench.report import as_json, table
from tests.bench.rows import Pair, Use
from tests.bench.usage import children, cpu_s, family_cpu_s, peak_bytes, reset_peak, resident_bytes, spent_s
from tests.wire.issuer import new_key


def server_frame(opcode: Opcode, payload: bytes) -> bytes:
    return Frame(opcode, payload).serialize(mask=False)


def test_messages_are_counted_however_the_stream_is_cut() -> None:
    chance = random.Random(3)
    sizes = [0, 2, 125, 126, 300, 65_535, 65_536, 70_000]
    for _ in range(50):
        frames = [server_frame(Opcode.BINARY, os.urandom(chance.choice(sizes))) for _ in range(20)]
        others = [
            server_frame(Opcode.BINARY, b"\xf6"),
            server_frame(Opcode.PING, os.urandom(chance.randrange(126))),
            server_frame(Opcode.CLOSE, b"\x03\xe9bye"),
        ]
        stream = frames + others * 3
        chance.shuffle(stream)
        data = b"".join(stream)
        counter, at, counted = FrameCounter(), 0, 0
        while at < len(data):
            step = chance.choice([1, 2, 3, 9, 1000, 100_000])
            counted += counter.feed(data[at : at + step])
            at += step
        assert counted == len(frames)


def test_a_client_frame_is_masked_and_whole() -> None:
    frame = client_frame(b"hello")
    assert frame[:2] == b"\x82\x85"
    mask = frame[2:6]
    assert bytes(byte ^ mask[index % 4] for index, byte in enumerate(frame[6:])) == b"hello"


def test_cpu_and_memory_of_a_process_grow_with_what_it_does() -> None:
    busy = (
        "import sys\nsys.stdin.read(1)\nx = bytearray(b'1' * 64_000_000)\ndel x\nprint('done', flush=True)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", busy + "sys.stdin.read(1)"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        before, memory = family_cpu_s(os.getpid()), resident_bytes(process.pid)
        assert process.pid in children(os.getpid())
        reset_peak(process.pid)
        process.stdin.write(b"1")
        process.stdin.flush()
        process.stdout.readline()
        assert peak_bytes(process.pid) > memory + 50_000_000
        assert 0 < cpu_s(process.pid) <= spent_s(before, family_cpu_s(os.getpid())) + before[process.pid]
        process.stdin.write(b"2")


def test_the_table_gives_the_median_and_says_what_was_not_reached() -> None:
    use = Use(server_s=1.0, postgres_s=2.0, load_share=0.25)
    pairs = [Pair(10.0, 5.0, 0.5, use), Pair(10.0, 7.0, 0.7, use), Pair(10.0, 5.5, 0.55, use)]
    idle = [Pair(None, 12.0, 12.0, use)]
    lines = table({"push 1": pairs, "idle": idle}).splitlines()
    assert "| 10 pushes/s: one prepared INSERT per commit | 5.5 pushes/s | 0.55 (0.50-0.70) |" in lines[2]
    assert "| ≥ 0.6 | 0.15 | NO | 1.00 s | 2.00 s | 25% |" in lines[2]
    assert "|  | 12 KiB | 12.0 (12.0-12.0) | ≤ 20 | 140 | yes |" in lines[3]
    rows = as_json({"push 1": pairs}, {"date": "today"})["rows"]
    assert rows[0]["ratio"] == 0.55
    assert rows[0]["reached"] is False
    assert len(rows[0]["runs"]) == 3


def test_the_chains_that_are_timed_are_valid_for_whom_they_are_and_for_nobody_else() -> None:
    chain = new_chain()
    assert len(chain.links) == 4
    verify_bare(chain)
    known = UcanCache()
    for _ in range(2):
        validate(chain, known)
        assert len(known) == 4
    with pytest.raises(UcanError):
        validate(replace(chain, audience="did:key:zNobody"), known)
    point, signature, _ = chain.links[0]
    with pytest.raises(InvalidSignature):
        verify_bare(replace(chain, links=[(point, signature, b"other")]))
    times = measure_chains(3)
    assert min(times.floor_s, times.cold_s, times.warm_s) > 0


async def test_the_load_generator_makes_distinct_tokens() -> None:
    key = new_key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    async with Child("tests.bench.load", key_pem=key, issuer="https://a.example") as load:
        answer = await load("tokens", count=3, user="u", space="s")
        assert len(set(answer["tokens"])) == 3
        assert answer["wall_s"] > 0
