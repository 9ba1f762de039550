"""The order of checks, what they wait for, and how a run ends early."""

import asyncio
from collections import Counter

import pytest

from less_sync.validation.attempt import Row
from less_sync.validation.context import Context
from less_sync.validation.matrix import Retry
from less_sync.validation.outcome import Faulty, NotReached, Outcome, Status
from less_sync.validation.procedure import Place
from tests.validation.matrices import Work, check, engine_of, outcomes, passing, told


class Witness:
    """Notes when checks begin and end, and how many run at once."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.running: set[str] = set()
        self.most = 0

    def work(self, *, turns: int = 3) -> Work:
        async def work(context: Context) -> None:
            name = context.check.id
            self.events.append(f"{name} begins")
            self.running.add(name)
            self.most = max(self.most, len(self.running))
            for _ in range(turns):
                await asyncio.sleep(0)
            self.running.discard(name)
            self.events.append(f"{name} ends")
            await passing(context)

        return work

    def before(self, first: str, second: str) -> bool:
        return self.events.index(first) < self.events.index(second)


LANES = ("service", "auth", "contract", "database")


@pytest.mark.parametrize("jobs", [1, 2, 16])
async def test_lanes_run_side_by_side_and_rows_come_in_the_order_of_the_matrix(jobs: int) -> None:
    witness = Witness()
    checks = [check(f"{lane}-{n}", witness.work(), lane=lane) for n in range(3) for lane in LANES]
    heard: list[Row] = []
    rows = await engine_of(*checks, jobs=jobs, hear=heard.append).rows()
    assert [row.check.id for row in rows] == [one.id for one in checks]
    assert all(row.outcome.status is Status.PASSED for row in rows)
    assert Counter(row.check.id for row in heard) == Counter(one.id for one in checks)
    assert witness.most == min(jobs, len(LANES))
    for lane in LANES:
        assert witness.before(f"{lane}-0 ends", f"{lane}-1 begins")
        assert witness.before(f"{lane}-1 ends", f"{lane}-2 begins")


async def test_checks_that_share_a_name_never_overlap() -> None:
    witness = Witness()
    checks = [
        check(f"{lane}-{n}", witness.work(), lane=lane, exclusive=("load", "identity:owner"))
        for n in range(2)
        for lane in LANES
    ]
    await engine_of(*checks, jobs=16).rows()
    assert witness.most == 1


async def test_windows_hold_all_lanes_and_what_comes_last_is_outside_of_them() -> None:
    witness = Witness()

    async def window(context: Context) -> None:
        witness.events.append("window begins")
        await context.until_others_done()
        witness.events.append("window ends")
        await passing(context)

    checks = [
        check("plain", witness.work()),
        check("tidy", witness.work(), of={"place": Place.TIDY}),
        check("last", witness.work(), of={"place": Place.LAST}),
        check("window", window, of={"place": Place.WINDOW}),
        check("beside", witness.work(turns=20), of={"place": Place.BESIDE}),
    ]
    rows = await engine_of(*checks, jobs=1).rows()
    assert all(row.outcome.status is Status.PASSED for row in rows)
    assert witness.events[0] == "window begins"
    assert witness.before("beside begins", "plain ends")
    order = ["beside ends", "window ends", "last begins", "last ends", "tidy begins", "tidy ends"]
    assert witness.events[-6:] == order


async def test_nothing_begins_before_every_window_has_taken_its_first_look_or_ended() -> None:
    witness = Witness()

    async def slow(context: Context) -> None:
        for _ in range(20):
            await asyncio.sleep(0)
        witness.events.append(f"{context.check.id} has looked")
        await context.until_others_done()
        await passing(context)

    async def ended(_: Context) -> None:
        raise Faulty("status", 503)

    window = {"place": Place.WINDOW}
    checks = [
        check("ended", ended, of=window),
        check("slow", slow, of=window),
        check("slower", slow, of=window),
        check("plain", witness.work()),
        check("beside", witness.work(), of={"place": Place.BESIDE}),
    ]
    found = await outcomes(checks)
    assert found["ended"] == "failed:status:503"
    assert sorted(witness.events[:2]) == ["slow has looked", "slower has looked"]


async def test_what_needs_something_that_did_not_pass_is_blocked_and_so_is_what_needs_that() -> None:
    async def failing(_: Context) -> None:
        raise Faulty("status", 503)

    found = await outcomes(
        [
            check("health", failing),
            check("push", needs=("health",)),
            check("pull", lane="auth", needs=("push",)),
            check("clock", lane="auth"),
        ]
    )
    assert found == {
        "health": "failed:status:503",
        "push": "blocked:needs:health",
        "pull": "blocked:needs:push",
        "clock": "passed:-",
    }


async def test_with_one_job_a_check_that_waits_for_another_lane_takes_nobodys_place() -> None:
    async with asyncio.timeout(5):
        found = await outcomes([check("first", needs=("second",)), check("second", lane="auth")], jobs=1)
    assert found == {"first": "passed:-", "second": "passed:-"}


async def test_what_is_decided_before_is_not_tried() -> None:
    witness = Witness()
    found = await outcomes(
        [check("a", witness.work()), check("b", witness.work())],
        preset=lambda one: Row(one, Outcome(Status.SKIPPED, "not-selected")) if one.id == "a" else None,
    )
    assert found == {"a": "skipped:not-selected", "b": "passed:-"}
    assert witness.events == ["b begins", "b ends"]


@pytest.mark.parametrize(
    ("retry", "step", "attempts"),
    [
        (None, "connect", 1),
        (Retry(2, ("connect",)), "connect", 3),
        (Retry(2, ("connect",)), "dns", 1),
        (Retry(1, ("connect", "dns")), "dns", 2),
    ],
)
async def test_a_check_is_tried_again_only_where_its_row_says_so(
    retry: Retry | None, step: str, attempts: int
) -> None:
    async def unreachable(_: Context) -> None:
        raise NotReached(step)

    (row,) = await engine_of(check("health", unreachable, retry=retry)).rows()
    assert (row.attempts, told(row.outcome)) == (attempts, f"failed:unreachable:{step}")


async def test_what_was_measured_what_was_refused_and_what_writes_is_never_tried_again() -> None:
    async def measures_first(context: Context) -> None:
        context.measured.number("slowest_ms", 1)
        raise NotReached("connect")

    async def refused(_: Context) -> None:
        raise Faulty("status", 503)

    async def unreachable(_: Context) -> None:
        raise NotReached("connect")

    again = Retry(3, ("connect", "dns", "tls-handshake"))
    rows = await engine_of(
        check("measures", measures_first, retry=again),
        check("refused", refused, retry=again),
        check("writes", unreachable, retry=again, of={"writes": True}),
    ).rows()
    assert [row.attempts for row in rows] == [1, 1, 1]


async def test_a_check_that_passes_at_a_later_attempt_says_so_and_measures_anew() -> None:
    tries = []

    async def second_time(context: Context) -> None:
        tries.append(context.stream.block())
        if len(tries) == 1:
            raise NotReached("connect")
        await passing(context)

    (row,) = await engine_of(check("health", second_time, retry=Retry(1, ("connect",)))).rows()
    assert (row.attempts, told(row.outcome)) == (2, "passed:-")
    assert tries[0] == tries[1]


async def test_an_interrupted_run_ends_soon_gives_every_check_a_row_and_tidies_up() -> None:
    witness = Witness()
    begun = asyncio.Event()

    async def long(context: Context) -> None:
        begun.set()
        for _ in range(3):  # it comes to its end within the grace
            await asyncio.sleep(0)
        await passing(context)

    engine = engine_of(
        check("long", long),
        check("after", witness.work()),
        check("last", witness.work(), of={"place": Place.LAST}),
        check("tidy", witness.work(), of={"place": Place.TIDY}),
    )
    task = asyncio.create_task(engine.rows())
    await begun.wait()
    engine.interrupt()
    found = {row.check.id: told(row.outcome) for row in await task}
    interrupted = "error:interrupted"
    assert found == {"long": "passed:-", "after": interrupted, "last": interrupted, "tidy": "passed:-"}


async def test_cancelling_a_run_leaves_no_check_running() -> None:
    ended: list[str] = []

    async def for_ever(context: Context) -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            ended.append(context.check.id)

    async def looking_for_ever(context: Context) -> None:
        try:
            await context.until_others_done()
        finally:
            ended.append(context.check.id)

    checks = [
        check("in-turn", for_ever),
        check("beside", for_ever, of={"place": Place.BESIDE}),
        check("window", looking_for_ever, of={"place": Place.WINDOW}),
    ]
    task = asyncio.create_task(engine_of(*checks).rows())
    for _ in range(20):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert sorted(ended) == ["beside", "in-turn", "window"]
