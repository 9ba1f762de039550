"""The parts of the reporter that know no network: the grid, the tries, the words of a plane, the state."""

import asyncio
import json
import random
from dataclasses import fields
from pathlib import Path

import pytest

from less_sync.fleet.reporter.grid import JITTER, RETRY_S_MAX, Grid, retry_wait_s
from less_sync.fleet.reporter.messages import NotUnderstood, is_version, read_beaten, read_registered
from less_sync.fleet.reporter.reporter import Served
from tests.fleet.reported import state_file
from tests.fleet.stub_plane import AGENT


def test_heartbeats_lie_on_a_grid_and_missed_ones_are_left_out() -> None:
    chance, now_s = random.Random(7), 100.0
    grid = Grid(100.0, 60, chance)
    for number in range(1, 500):
        now_s += grid.wait_s(now_s)
        assert abs(now_s - 100 - 60 * number) <= 60 * JITTER + 1e-6
        now_s += chance.uniform(0, 10)
    now_s += 10_000
    assert grid.wait_s(now_s) <= 60 * (1 + JITTER)
    assert grid.wait_s(now_s) >= 60 * (1 - 2 * JITTER), "the next one is an interval later"


def test_tries_are_spread_over_a_time_that_doubles_to_a_bound() -> None:
    chance = random.Random(7)
    for failures in (1, 2, 5, 9, 10, 1000):
        bound_s = min(RETRY_S_MAX, 2.0 ** (failures - 1))
        found = [retry_wait_s(failures, chance) for _ in range(300)]
        assert 0 <= min(found) < bound_s * 0.1
        assert bound_s * 0.9 < max(found) <= bound_s
    assert retry_wait_s(1, chance, 77) == 77


@pytest.mark.parametrize(
    "token", ["x", "lsa_", "lsa_a b", "lsa_a\r\nX: y", "lsa_ü", "lsa_" + "a" * 509, "lse_x", 7]
)
def test_a_token_that_could_not_be_sent_is_refused(token: object) -> None:
    answer = {"agent_id": AGENT, "token": token, "heartbeat_interval_seconds": 60}
    with pytest.raises(NotUnderstood):
        read_registered(json.dumps(answer).encode())


DEEP = b'{"heartbeat_interval_seconds":60,"commands":' + b"[" * 20_000 + b"]" * 20_000 + b"}"


def test_an_answer_of_any_size_and_form_is_read_or_refused() -> None:
    beaten = read_beaten(b'{"heartbeat_interval_seconds":60,"desired":{"state":7,"version":[]}}')
    assert (beaten.draining, beaten.desired_version, beaten.rotate_token) == (None, None, False)
    for body in (b"null", b"7", b'{"heartbeat_interval_seconds":60,"desired":7}', b"[" * 5000, DEEP):
        with pytest.raises(NotUnderstood):
            read_beaten(body)
    assert is_version("10.20.30-rc.1")
    assert not is_version("10.20.30+build")


def test_the_handed_functions_are_three() -> None:
    assert [one.name for one in fields(Served)] == ["snapshot", "drain", "resume"]


async def test_a_cancelled_write_is_waited_for(tmp_path: Path) -> None:
    begun, done = asyncio.Event(), False
    loop = asyncio.get_running_loop()
    go_on = asyncio.Event()

    def slow(_path: Path, _content: bytes) -> None:
        nonlocal done
        loop.call_soon_threadsafe(begun.set)
        asyncio.run_coroutine_threadsafe(go_on.wait(), loop).result()
        done = True

    state = state_file(tmp_path, replace=slow)
    assert state.take()
    task = asyncio.create_task(state.load())
    await begun.wait()
    task.cancel()
    go_on.set()
    await asyncio.wait({task})
    assert (task.cancelled(), done) == (True, True)
    state.give_back()
