"""What the bench counts by must be right before its figures mean anything."""

import os
import random
import subprocess
import sys
from argparse import Namespace
from contextlib import AsyncExitStack, nullcontext
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import cbor2
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from websockets.frames import Frame, Opcode

from less_sync.auth import UcanCache, UcanError
from less_sync.sync.protocol.frames import FRAME_BYTES_MAX
from less_sync.sync.protocol.items import FRAME_ITEMS_MAX, count_items
from tests.bench.__main__ import measure, refuse_memory, setting, started
from tests.bench.attackers import pull_with_filler
from tests.bench.attacks import HUGE_PUSH_RECORDS, MAPS_OF_4_MIB, PERMITTED_MAPS, p95
from tests.bench.chains import measure_chains, new_chain, validate, verify_bare
from tests.bench.child import Child
from tests.bench.compare import SMALL, WORKS, Turn, compare, comparison, program_at
from tests.bench.floors import files_in
from tests.bench.folder import count_files, make_files
from tests.bench.frames import FrameCounter, client_frame, tiny_push_frame
from tests.bench.model import Pair, Scale, Use
from tests.bench.report import as_json, table
from tests.bench.rows import ROWS
from tests.bench.scraped import SCRAPED, scraping
from tests.bench.usage import (
    children,
    cpu_s,
    family_cpu_s,
    file_system,
    growth_bytes,
    peak_bytes,
    reset_peak,
    resident_bytes,
    spent_s,
)
from tests.wire.issuer import new_key
from tests.wire.process import ServerProcess


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
        assert growth_bytes(process.pid, memory) > 50_000_000
        assert growth_bytes(process.pid, peak_bytes(process.pid) + 1) == 0
        assert 0 < cpu_s(process.pid) <= spent_s(before, family_cpu_s(os.getpid())) + before[process.pid]
        process.stdin.write(b"2")


def test_the_table_gives_the_median_and_says_what_was_not_reached() -> None:
    use = Use(server_s=1.0, postgres_s=2.0, load_share=0.25)
    pairs = [Pair(10.0, 5.0, 0.5, use), Pair(10.0, 7.0, 0.7, use), Pair(10.0, 5.5, 0.55, use)]
    idle = [Pair(None, 12.0, 12.0, use)]
    lines = table({"push 1": pairs, "idle": idle}).splitlines()
    assert "| 10 pushes/s: one prepared INSERT per commit | 5.5 pushes/s | 0.55 (0.50-0.70) |" in lines[2]
    assert "| ≥ 0.75 | 0.15 | NO | 1.00 s | 2.00 s | 25% |" in lines[2]
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


def test_the_comparison_says_what_became_worse() -> None:
    turns = {
        "connect": [Turn(100.0, 110.0), Turn(100.0, 90.0), Turn(200.0, 240.0)],
        "idle": [Turn(10.0, 10.2)],
        "pull": [Turn(10.0, 5.0)],
    }
    lines = comparison(turns).splitlines()
    assert lines[2].endswith("| µs | 100 | 110 | 1.100 (0.90-1.20) | worse |")
    assert lines[3].endswith("| KiB | 10 | 10.2 | 1.020 (1.02-1.02) | the same |")
    assert lines[4].endswith("| µs | 10 | 5 | 0.500 (0.50-0.50) | better |")


def test_a_checkout_is_started_by_its_own_python_in_either_layout(tmp_path: Path) -> None:
    assert program_at(tmp_path).module == "bins.cli"
    (tmp_path / "less_sync").mkdir()
    program = program_at(tmp_path)
    assert program.module == "less_sync.bins.commands.main"
    assert Path(program.python).parent.parent == tmp_path / ".venv"


def test_a_twentieth_of_the_values_exceeds_p95() -> None:
    values = [float(value) for value in range(100, 0, -1)]
    assert p95(values) == 96.0
    assert p95([7.0]) == 7.0


def test_the_attackers_frames_are_as_large_and_as_full_as_they_should_be() -> None:
    for maps in (MAPS_OF_4_MIB, PERMITTED_MAPS):
        frame = pull_with_filler(str(uuid4()), maps)
        assert FRAME_BYTES_MAX - 1024 < len(frame) <= FRAME_BYTES_MAX
        assert (count_items(frame, FRAME_ITEMS_MAX) > FRAME_ITEMS_MAX) == (maps == MAPS_OF_4_MIB)
    assert sorted(cbor2.loads(frame)) == ["id", "method", "params", "type"]
    pushed = tiny_push_frame(str(uuid4()), HUGE_PUSH_RECORDS)
    assert len(pushed) < FRAME_BYTES_MAX


TINY = Scale(
    rounds=1,
    single_pushes=2,
    hundred_pushes=1,
    thousand_pushes=1,
    short_pulls=1,
    long_pull_records=400,
    subscribers=4,
    fan_outs=2,
    notifications=6,
    connects=4,
    verifications=2,
    chains=2,
    strangers=8,
    attack_s=0.2,
    huge_pushes=1,
    stalled_records=200,
    folder_files=8,
    file_bytes=600_000,
    file_transfers=1,
    small_file_bytes=10,
    files_at_once=2,
    edge_pushes=2,
    relayed_records=200,
    links=2,
)


def test_the_comparison_says_whether_a_folder_reached_what_it_should() -> None:
    lines = comparison({"folder push": [Turn(12.0, 5.0)], "folder pull": [Turn(10.0, 5.0)]}).splitlines()
    assert lines[2].endswith("| s | 12 | 5 | 0.417 (0.42-0.42) | better; ≤ 0.5: yes |")
    assert lines[3].endswith("| s | 10 | 5 | 0.500 (0.50-0.50) | better |")
    assert comparison({"folder push": [Turn(12.0, 7.0)]}).endswith("| better; ≤ 0.5: NO |")


def test_the_kind_of_disk_is_that_of_the_nearest_mount(tmp_path: Path) -> None:
    assert file_system(Path("/proc/self")) == "proc"
    assert file_system(tmp_path / "not" / "there") == file_system(tmp_path) != "proc"


def test_folder_rows_refuse_to_be_measured_in_memory() -> None:
    assert file_system(Path("/dev/shm")) == "tmpfs"
    with pytest.raises(SystemExit, match="/dev/shm is in memory"):
        refuse_memory(Path("/dev/shm"), ["push 1", "folder pull"])
    refuse_memory(Path("/dev/shm"), ["push 1"])
    refuse_memory(Path("/proc"), ["folder pull"])


def test_the_folder_that_is_pushed_has_the_files_it_should(tmp_path: Path) -> None:
    make_files(tmp_path / "files", 250)
    (tmp_path / "files" / ".less-sync").mkdir()
    (tmp_path / "files" / ".less-sync" / "state").touch()
    assert count_files(tmp_path / "files") == len(files_in(str(tmp_path / "files"))) == 250
    assert {path.stat().st_size for path in files_in(str(tmp_path / "files"))} == {1024}


async def test_every_row_and_every_comparison_runs(database_url: str, tmp_path: Path) -> None:
    async with setting(Namespace(database_url=database_url, disk=tmp_path)) as of:
        async with AsyncExitStack() as stack:
            server = await stack.enter_async_context(ServerProcess(of.settings))
            bench = await started(stack, of, server, lambda: nullcontext(server), TINY)
            await bench.floors("connect")
            results = await measure(bench, set(ROWS), 1)
        assert list(results) == list(ROWS)
        for pairs in results.values():
            assert [pair.server >= 0 for pair in pairs] == [True]
        both = {"other": None, "own": None}
        taken = await compare(
            of.url, of.settings, of.load, of.disk, programs=both, names=list(WORKS), size=SMALL
        )
        assert [(name, len(turns)) for name, turns in taken.items()] == [(name, 1) for name in WORKS]
        assert all(turn.own > 0 for name, (turn,) in taken.items() if name != "idle")


async def test_a_server_is_compared_with_itself_while_it_is_scraped(
    database_url: str, tmp_path: Path
) -> None:
    async with (
        setting(Namespace(database_url=database_url, disk=tmp_path)) as of,
        scraping(every_s=0.1) as scrapes,
    ):
        taken = await compare(
            of.url,
            of.settings,
            of.load,
            of.disk,
            programs={"off": None, "on": None},
            names=list(SCRAPED),
            size=SMALL,
            works=SCRAPED,
            own_settings=scrapes.settings,
        )
    assert [len(turns) for turns in taken.values()] == [1] * len(SCRAPED)
    assert scrapes.answers > 0
    assert scrapes.answer_bytes > 1000
    assert "≤ 1.03" in comparison(taken, SCRAPED)
