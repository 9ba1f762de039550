"""Workers are kept: started anew, replaced, given up; with stubs for workers, which are real processes."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # ships no types
import pytest
from structlog.testing import capture_logs

from less_sync.bins.errors import CommandError
from less_sync.bins.settings.given import Given
from less_sync.bins.supervisor import Supervisor
from less_sync.bins.workers.crew import Crew, Orders, Pace
from less_sync.bins.workers.messages import Begin, Sources
from less_sync.bins.workers.process import WorkerFailed

TIMEOUT_S = 30.0
STUB = Path(__file__).with_name("stub.py")
AT_ONCE = Pace((0.0, 0.01))


@asynccontextmanager
async def crew_of(
    mode: str,
    directory: Path,
    *,
    number: int = 2,
    ending_s: float = 15.0,
    command: Sequence[str] | None = None,
    pace: Pace = AT_ONCE,
) -> AsyncIterator[tuple[Crew, Supervisor]]:
    """A crew of stubs whose processes wait for their first message; all gone at the end."""

    def begin(number: int, migrates: bool) -> Begin:
        socket = str(directory.parent / f"{number}.sock")
        return Begin(number, Sources.of(Given({})), None, migrate=migrates, admin=socket)

    command = command or [sys.executable, str(STUB), mode, str(directory)]
    async with Supervisor() as vital:
        orders = Orders(command, {"PATH": os.defpath}, lambda _number: (), begin)
        crew = Crew(number, orders, vital, ending_s=ending_s, pace=pace)
        await crew.gather()
        try:
            yield crew, vital
        finally:
            vital.expect_ends()
            await crew.stop()
            assert not crew.places()


def begun(directory: Path) -> list[tuple[int, int]]:
    """Number and process id of all that began, in that order."""
    return sorted((int(a), int(b)) for a, _, b in (path.name.partition("-") for path in directory.iterdir()))


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        while not condition():  # noqa: ASYNC110  # another process's doing
            await asyncio.sleep(0.01)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "begun").mkdir()
    return tmp_path / "begun"


async def test_all_begin_and_can_be_asked_until_they_stop(directory: Path) -> None:
    async with crew_of("good", directory, number=3) as (crew, vital):
        assert crew.places() == []
        await crew.begin()
        places = crew.places()
        assert sorted((place.number, place.pid) for place in places) == begun(directory)
        assert [number for number, _ in begun(directory)] == [1, 2, 3]
        assert {place.socket.name for place in places} == {"1.sock", "2.sock", "3.sock"}
        assert vital.first is None
    assert not any(psutil.pid_exists(pid) for _, pid in begun(directory))


async def test_one_that_dies_is_started_again_with_its_number(directory: Path) -> None:
    async with crew_of("good", directory) as (crew, _):
        await crew.begin()
        killed = next(place.pid for place in crew.places() if place.number == 2)
        os.kill(killed, signal.SIGKILL)
        await until(lambda: crew.restarts == 1 and len(crew.places()) == 2)
        assert [number for number, _ in begun(directory)] == [1, 2, 2]
        assert killed not in {place.pid for place in crew.places()}


async def test_replacing_puts_another_in_each_place_and_ends_the_one_before(directory: Path) -> None:
    async with crew_of("good", directory) as (crew, _):
        await crew.begin()
        before = {place.pid for place in crew.places()}
        crew.replace()
        await until(lambda: len(begun(directory)) == 4 and not any(map(psutil.pid_exists, before)))
        await until(lambda: len(crew.places()) == 2)
        assert sorted(place.number for place in crew.places()) == [1, 2]
        assert crew.restarts == 0


async def test_one_whose_successor_fails_stays_and_so_do_all_behind_it(directory: Path) -> None:
    async with crew_of("second-fails", directory, number=1) as (crew, _):
        await crew.begin()
        before = crew.places()
        crew.replace()
        await until(lambda: len(begun(directory)) == 2)
        await until(lambda: not psutil.pid_exists(max(pid for _, pid in begun(directory))))
        assert crew.places() == before


async def test_what_a_worker_says_of_its_end_ends_the_start(directory: Path) -> None:
    async with crew_of("fails", directory) as (crew, _):
        with pytest.raises(CommandError, match=r"^there is no such thing$") as caught:
            await crew.begin()
        assert caught.value.causes == ("nobody made it",)
        assert len(begun(directory)) <= 2


@pytest.mark.parametrize("mode", ["mute", "garbage"])
async def test_one_that_ends_without_a_word_is_tried_again_a_few_times(mode: str, directory: Path) -> None:
    async with crew_of(mode, directory, number=1) as (crew, _):
        expected = r"^worker 1 does not start: it ended before it was ready \(SIGKILL\)$"
        with pytest.raises(CommandError, match=expected):
            await crew.begin()
        assert len(begun(directory)) == 3


async def test_nobody_left_and_none_that_starts_ends_the_server_with_the_workers_words(
    directory: Path,
) -> None:
    async with crew_of("second-fails", directory, number=1) as (crew, vital):
        await crew.begin()
        os.kill(crew.places()[0].pid, signal.SIGKILL)
        await asyncio.wait_for(vital.ended.wait(), TIMEOUT_S)
        assert vital.first is not None
        assert vital.first.task == "keeper of worker 1"
        assert str(vital.first.fault) == "there is no such thing"
        assert len(begun(directory)) == 1 + 5


async def test_a_successor_that_dies_while_the_one_before_drains_is_started_again_at_once(
    directory: Path,
) -> None:
    async with crew_of("deaf", directory, number=1, ending_s=3.0) as (crew, _):
        await crew.begin()
        [before] = crew.places()
        crew.replace()
        await until(lambda: crew.places() and before not in crew.places())
        [after] = crew.places()
        os.kill(after.pid, signal.SIGKILL)
        await until(lambda: crew.restarts == 1 and crew.places())
        assert psutil.pid_exists(before.pid), "it does not end by itself"


async def test_where_no_process_can_be_started_who_serves_stays_and_another_is_tried(directory: Path) -> None:
    class Refusing(list[str]):
        """A command that does not exist while it is told so: an upgrade that is under way."""

        is_there = True

        def __iter__(self) -> Iterator[str]:
            return iter([self[0] if self.is_there else "/nonexistent", *self[1:]])

    command = Refusing([sys.executable, str(STUB), "good", str(directory)])
    async with crew_of("good", directory, number=1, command=command) as (crew, vital):
        await crew.begin()
        [before] = crew.places()
        command.is_there = False
        with capture_logs() as logged:
            crew.replace()
            await until(lambda: any(entry["event"] == "the workers are not replaced" for entry in logged))
        assert [entry["reason"] for entry in logged if "reason" in entry] == [
            "no process can be started: No such file or directory (os error 2)"
        ]
        assert crew.places() == [before]
        with capture_logs() as logged:
            os.kill(before.pid, signal.SIGKILL)
            await until(lambda: any(entry["event"] == "a worker does not start" for entry in logged))
            command.is_there = True
            await until(crew.places)
        assert not vital.ended.is_set()


async def test_where_no_process_can_be_started_at_all_the_start_says_so(directory: Path) -> None:
    with pytest.raises(CommandError, match=r"^worker 1 does not start: no process can be started: "):
        async with crew_of("good", directory, command=["/nonexistent"]):
            pytest.fail("it started")


async def test_who_stops_starts_nobody_any_more_and_that_is_no_fault(directory: Path) -> None:
    async with crew_of("good", directory, number=1, pace=Pace((3600.0,))) as (crew, vital):
        await crew.begin()
        os.kill(crew.places()[0].pid, signal.SIGKILL)
        await until(lambda: not crew.places())
        vital.expect_ends()
        crew.keep_no_more()
        await crew.stop()
        assert vital.first is None


async def test_one_that_does_not_end_is_killed_when_its_time_is_over(directory: Path) -> None:
    async with crew_of("deaf", directory, number=1, ending_s=0.2) as (crew, _):
        await crew.begin()
        pid = crew.places()[0].pid
    assert not psutil.pid_exists(pid)


async def test_one_that_is_not_ready_in_time_is_killed(directory: Path) -> None:
    async with crew_of("slow", directory, number=1) as (crew, _):
        worker = await crew.start(9)
        crew.let_begin(worker)
        with pytest.raises(WorkerFailed, match=r"^it was not ready within 0\.1 s$"):
            await worker.ready(0.1)
        await asyncio.wait_for(worker.over.wait(), TIMEOUT_S)
        assert worker.end == "SIGKILL"
