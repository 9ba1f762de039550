"""The admin listener of a server of several workers: one server, as operators and their tools see it."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.metrics_core import Metric

from less_sync.bins import logs
from less_sync.bins.admin.asking import Answer, Silent, ask, ask_all
from less_sync.bins.admin.families import NAMES_MAX, ROLE_LABEL, counter, gauge, histogram
from less_sync.bins.admin.merged import TEND_EVERY_S
from less_sync.bins.admin.merged_readiness import merged_report
from less_sync.bins.admin.merging import RULES, Merger
from less_sync.bins.admin.metrics import CONTENT_TYPE
from less_sync.bins.admin.readiness import Status
from less_sync.bins.admin.within import Family, decode_families, encode_families
from less_sync.bins.workers.places import WorkerPlace
from less_sync.storage import Histogram
from less_sync.sync.canary import canary_space
from less_sync.sync.limits import Limits
from tests.bins.admin.opened import TOKEN, Merged, merged, worker
from tests.bins.admin.scrape import Scrape, scrape
from tests.bins.admin.test_console import watching
from tests.bins.admin.test_monitoring import PARTS, table
from tests.bins.test_server import until
from tests.sync.session.test_session import change
from tests.wire.client import Closed

LIMITS = Limits(drain_spread_s=600.0, delivery_probe_interval_s=600.0)


@pytest.fixture
async def running(database_url: str, tmp_path: Path) -> AsyncIterator[Merged]:
    async with merged(database_url, tmp_path, LIMITS) as opened:
        yield opened


@pytest.fixture(autouse=True)
def _level_is_put_back() -> Iterator[None]:
    before = logs.in_force.level
    yield
    logs.set_log_level(before)
    logs.in_force.warnings.clear()


async def look(running: Merged) -> Scrape:
    response = await running.ask("GET", "/metrics")
    assert (response.status, response.header("content-type")) == (200, CONTENT_TYPE)
    return scrape(response.body)


async def test_metrics_are_those_of_all_workers_under_the_names_of_one(running: Merged) -> None:
    one, two = running.workers
    client, other = await one.live.connect("alice"), await two.live.connect("bob")
    for each in (client, other, other):
        await each.push(change())
    told = await look(running)
    assert told.value("less_sync_connections", kind="client") == 2
    assert told.value("less_sync_rpc_total", method="push", code="ok") == 3
    assert told.value("less_sync_rpc_seconds_count", method="push") == 3
    assert told.value("less_sync_rpc_seconds_bucket", method="push", le="+Inf") == 3
    assert told.value("less_sync_db_pool_connections_max") == sum(
        each.live.pool.max_connections for each in running.workers
    )
    assert set(told.values("process_resident_memory_bytes", "worker")) == {"1", "2", "supervisor"}
    assert told.values("less_sync_workers", "state") == {"answering": 2, "silent": 0, "missing": 0}
    assert told.value("less_sync_worker_restarts_total") == 7
    assert {dict(labels)["worker"] for name, labels in told.samples if name == "less_sync_node_info"} == {
        "1",
        "2",
    }
    rows = table()
    assert {name: row.type for name, row in rows.items()} == told.types
    for name, row in rows.items():
        worker_too = {"worker"} if name.startswith("process_") else set()
        assert told.labels(name + PARTS[row.type][-1]) in (
            set(),
            {ROLE_LABEL, *row.labels, *worker_too},
        ), name


async def test_counters_stand_when_a_worker_is_replaced_and_when_one_is_silent(
    running: Merged, database_url: str, tmp_path: Path
) -> None:
    one, two = running.workers
    for each in running.workers:
        await (await each.live.connect()).push(change())

    async def pushed() -> tuple[float | None, dict[str, float]]:
        told = await look(running)
        states = told.values("less_sync_workers", "state")
        return told.value("less_sync_rpc_total", method="push", code="ok"), states

    assert await pushed() == (2, {"answering": 2, "silent": 0, "missing": 0})
    running.living.remove(two.place)
    assert await pushed() == (2, {"answering": 1, "silent": 0, "missing": 1})
    async with worker(database_url, tmp_path, 2, LIMITS) as successor:
        running.living.append(successor.place)
        await (await successor.live.connect()).push(change())
        assert await pushed() == (3, {"answering": 2, "silent": 0, "missing": 0})
        successor.place.socket.unlink()
        assert await pushed() == (3, {"answering": 1, "silent": 1, "missing": 0})
        status, body = await running.ready()
        assert (status, body["status"], body["reason"]) == (
            503,
            "degraded",
            "worker 2: it does not answer",
        )
        running.living.remove(successor.place)
    running.living.remove(one.place)
    assert await pushed() == (3, {"answering": 0, "silent": 0, "missing": 2})


async def test_readyz_is_ready_when_every_number_is(running: Merged) -> None:
    for each in running.workers:
        await until(lambda each=each: each.listener.watchdog.delivery.proofs > 0)  # type: ignore[misc]
    status, body = await running.ready()
    assert body["delivery"].pop("lag_s") > 0
    assert body["delivery"].pop("age_s") >= 0
    assert (status, body) == (
        200,
        {
            "status": "ready",
            "database": "ok",
            "delivery": {"status": "ok"},
            "draining": False,
            "sessions": 0,
            "workers": [{"worker": 1, "status": "ready"}, {"worker": 2, "status": "ready"}],
        },
    )


async def test_a_drain_reaches_all_workers_and_those_that_come_later(
    running: Merged, database_url: str, tmp_path: Path
) -> None:
    one, two = running.workers
    client, other = await one.live.connect("alice"), await one.live.connect("bob")
    for of in (client, other):
        await one.live.settled(of)
    status, body = await running.act("POST")
    assert (status, body) == (202, {"state": "draining", "sessions": 1})
    assert all(each.live.services.draining for each in running.workers)
    assert await client.closed() == Closed(1001, "server shutting down")
    async with worker(database_url, tmp_path, 2, LIMITS) as successor:
        running.living[1] = successor.place
        await until(lambda: successor.live.services.draining)
        status, body = await running.ready()
        assert (status, body["status"], body["draining"]) == (503, "draining", True)
        status, body = await running.act("DELETE")
        assert (status, body["state"]) == (200, "serving")
        assert not successor.live.services.draining
        assert (await running.ready())[0] == 200
        for each in (one, successor):
            each.live.services.sessions.refuse()
        assert (await running.act("DELETE"))[0] == 409
        running.living[1] = two.place


async def test_who_comes_later_and_does_not_answer_at_first_is_told_again(
    running: Merged, database_url: str, tmp_path: Path
) -> None:
    _, two = running.workers
    assert (await running.act("POST"))[1]["state"] == "draining"
    async with worker(database_url, tmp_path, 2, LIMITS) as successor:
        away = successor.place.socket.with_suffix(".away")
        successor.place.socket.rename(away)
        running.living[1] = successor.place
        await asyncio.sleep(3 * TEND_EVERY_S)
        assert not successor.live.services.draining
        away.rename(successor.place.socket)
        await until(lambda: successor.live.services.draining)
        running.living[1] = two.place


async def test_who_does_not_answer_a_drain_or_its_end_is_told_again_and_nothing_is_done_before(
    running: Merged,
) -> None:
    _, two = running.workers
    await asyncio.sleep(3 * TEND_EVERY_S)  # both have been looked after by now
    away = two.place.socket.with_suffix(".away")
    for method, state, draining in (("POST", "draining", True), ("DELETE", "serving", False)):
        two.place.socket.rename(away)
        assert await running.act(method) == (202, {"state": state, "sessions": 0})
        assert two.live.services.draining is not draining
        away.rename(two.place.socket)
        await until(lambda draining=draining: two.live.services.draining is draining)  # type: ignore[misc]


async def test_the_rules_of_access_are_those_of_one_process(running: Merged) -> None:
    for headers, status in (
        ({}, 401),
        ({"x_admin_token": TOKEN, "host": f"evil.example:{running.address.port}"}, 403),
        ({"x_admin_token": TOKEN, "origin": "http://evil.example"}, 403),
    ):
        assert (await running.ask("POST", "/drain", **headers)).status == status
    assert (await running.ask("GET", "/metrics", host="evil.example:1")).status == 401
    for path in ("/within/families", "/within/state", "/within/largest"):
        assert (await running.ask("GET", path)).status == 404
    assert not any(each.live.services.draining for each in running.workers)


async def test_the_log_level_is_that_of_all(running: Merged) -> None:
    assert await running.act("POST", "/log-level/debug") == (200, {"log_level": "debug"})
    assert logs.in_force.level == "debug"
    assert (await running.ask("POST", "/log-level/loud", x_admin_token=TOKEN)).status == 404


async def test_the_console_shows_one_server(running: Merged) -> None:
    one, two = running.workers
    client = await one.live.connect("alice")
    for each in running.workers:
        each.live.services.metrics.chore_ended("maintenance", failed=False)
    page = await running.ask("GET", "/")
    assert (page.status, page.header("content-type")) == (200, "text/html; charset=utf-8")
    await client.push(
        {**change(), "blob": b"x" * 100}
    )  # surveyed with the first look, and then once a minute
    async with watching(running) as console:
        told = await console.next()
        assert set(told) == {
            *("at", "version", "up_s", "ready", "log_level", "warnings", "tasks", "chores"),
            *("growing", "largest", "largest_ago_s", "largest_fault", "figures"),
        }
        assert [{"kind": "client"}, 1] in told["figures"]["less_sync_connections"]
        assert "supervisor: admin listener" in told["tasks"]
        assert "worker 2: delivery watchdog" in told["tasks"]
        [chore] = told["chores"]
        assert (chore["name"], chore["runs"], chore["failures"]) == ("maintenance", 2, 0)
        growing, largest = told["growing"], told["largest"]
        while not growing or not largest:
            await client.push({**change(), "blob": b"x" * 100})
            told = await console.next()
            growing, largest = growing or told["growing"], largest or told["largest"]
        assert growing[0]["bytes"] % 100 == 0
        assert told["largest_fault"] == ""
        assert all(each.live.services.metrics.growth is not None for each in (one, two))


def test_each_worker_watches_a_space_of_its_own() -> None:
    node = bytes(16)
    assert len({canary_space(node, number) for number in range(65)}) == 65
    assert canary_space(node, 0) == canary_space(node)


async def test_a_worker_that_says_nothing_is_given_up_and_the_others_are_heard(tmp_path: Path) -> None:
    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 999999999999\r\n\r\n")
        try:
            while True:
                writer.write(b"x" * 1_000_000)
                await writer.drain()
        except OSError:
            writer.close()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"nonsense\r\n\r\n")
        writer.close()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        writer.close()

    places = [WorkerPlace(number, 1, tmp_path / f"{number}") for number in range(1, 6)]
    servers = [
        await asyncio.start_unix_server(how, str(place.socket))
        for how, place in zip((hold, flood, talk, answer), places[:4], strict=True)
    ]
    assert await ask_all(places, "GET", "/", within_s=0.5) == {places[3]: Answer(200, b"ok")}
    with pytest.raises(Silent):
        await ask(places[1], "GET", "/", within_s=60.0)  # by the size of its answer
    for server in servers:
        server.close()


class TestMerging:
    """What becomes of the series of two workers."""

    ONE, TWO, NEXT = (WorkerPlace(number, pid, Path("s")) for number, pid in ((1, 10), (2, 11), (2, 12)))

    @staticmethod
    def told(*families: Metric) -> list[Family]:
        found = decode_families(encode_families(families))
        assert found is not None
        return found

    @staticmethod
    def values(families: Iterator[Metric]) -> dict[str, dict[tuple[str, ...], float]]:
        return {
            one.name: {
                tuple(value for name, value in sample.labels.items() if name != ROLE_LABEL): sample.value
                for sample in one.samples
            }
            for one in families
        }

    def both(self, make: Any, name: str, first: float, second: float, *labels: str) -> dict[Any, float]:
        merger, values = Merger(), {tuple("x" for _ in labels): 0.0}
        told = {
            place: self.told(make(name, "", dict.fromkeys(values, value), *labels))
            for place, value in ((self.ONE, first), (self.TWO, second))
        }
        return self.values(merger.merged([self.ONE, self.TWO], told))[name.removesuffix("_total")]

    def test_counters_and_gauges_are_summed_and_some_gauges_are_not(self) -> None:
        assert self.both(counter, "less_sync_a_total", 1, 2) == {(): 3}
        assert self.both(gauge, "less_sync_a", 1, 2, "kind") == {("x",): 3}
        assert self.both(gauge, "less_sync_delivery_lag_seconds", 3, 2) == {(): 3}
        assert self.both(gauge, "less_sync_federation_link_open", 1, 0, "home") == {("x",): 0}
        assert self.both(gauge, "process_open_fds", 1, 2) == {("1",): 1, ("2",): 2}

    def test_every_rule_is_for_a_gauge_that_there_is(self) -> None:
        assert {table()[name].type for name in RULES} == {"gauge"}

    def test_while_one_is_replaced_two_of_a_number_are_one(self) -> None:
        told = {
            place: self.told(
                gauge("process_start_time_seconds", "", {(): at}),
                gauge("process_resident_memory_bytes", "", {(): 5}),
            )
            for place, at in ((self.TWO, 100), (self.NEXT, 200))
        }
        found = self.values(Merger().merged([self.TWO, self.NEXT], told))
        assert found["process_start_time_seconds"] == {("2",): 200}
        assert found["process_resident_memory_bytes"] == {("2",): 10}

    def test_what_the_ended_counted_stays_and_what_they_measured_goes(self) -> None:
        merger = Merger()

        def tell(places: dict[WorkerPlace, int], living: list[WorkerPlace]) -> dict[str, Any]:
            told = {
                place: self.told(counter("a_total", "", {("x",): at}, "m"), gauge("b", "", {(): at}))
                for place, at in places.items()
            }
            return self.values(merger.merged(living, told))

        assert tell({self.ONE: 3, self.TWO: 4}, [self.ONE, self.TWO]) == {"a": {("x",): 7}, "b": {(): 7}}
        assert tell({self.ONE: 3}, [self.ONE, self.TWO]) == {"a": {("x",): 7}, "b": {(): 3}}
        assert tell({self.ONE: 3, self.NEXT: 0}, [self.ONE, self.NEXT]) == {"a": {("x",): 7}, "b": {(): 3}}
        assert tell({self.ONE: 4, self.NEXT: 1}, [self.ONE, self.NEXT]) == {"a": {("x",): 9}, "b": {(): 5}}
        assert tell({}, []) == {"a": {("x",): 9}, "b": {}}

    def test_buckets_are_summed_in_their_order_whatever_each_worker_knows(self) -> None:
        first, second = Histogram((1.0, 2.0)), Histogram((1.0, 2.0))
        first.add(0.5)
        second.add(1.5)
        second.add(9.0)
        merger = Merger()
        told = {
            self.ONE: self.told(histogram("h", "", {("a",): first}, "m")),
            self.TWO: self.told(histogram("h", "", {("b",): second, ("a",): second}, "m")),
        }
        [family] = merger.merged([self.ONE, self.TWO], told)
        shown = [
            (sample.name, sample.labels["m"], sample.labels.get("le"), sample.value)
            for sample in family.samples
        ]
        assert shown == [
            ("h_bucket", "a", "1", 1),
            ("h_bucket", "a", "2", 2),
            ("h_bucket", "a", "+Inf", 3),
            ("h_count", "a", None, 3),
            ("h_sum", "a", None, 11),
            ("h_bucket", "b", "1", 0),
            ("h_bucket", "b", "2", 1),
            ("h_bucket", "b", "+Inf", 2),
            ("h_count", "b", None, 2),
            ("h_sum", "b", None, 10.5),
        ]

    def test_names_of_others_are_bounded_over_all_workers_and_no_counter_falls(self) -> None:
        merger = Merger()

        def tell(place: WorkerPlace, names: range) -> dict[tuple[str, ...], float]:
            told = {place: self.told(counter("a_total", "", {(f"h{one}",): 1 for one in names}, "home"))}
            return self.values(merger.merged([place], told))["a"]

        tell(self.ONE, range(NAMES_MAX))
        found = tell(self.TWO, range(NAMES_MAX - 10, 2 * NAMES_MAX))
        assert len(found) == NAMES_MAX + 1
        assert (found["h0",], found[f"h{NAMES_MAX - 1}",], found["other",]) == (1, 2, NAMES_MAX)


def _ready(status: str, **more: Any) -> Answer:
    body = {
        "status": status,
        "database": "ok",
        "delivery": {"status": "ok", "lag_s": 0.1, "age_s": 1.0},
        "draining": status == "draining",
        "sessions": 2,
        **more,
    }
    return Answer(200 if status == "ready" else 503, json.dumps(body).encode())


@pytest.mark.parametrize(
    ("answers", "status", "reason"),
    [
        ([(1, "ready"), (2, "ready")], "ready", ""),
        ([(1, "starting"), (2, "starting")], "starting", "r"),
        ([(1, "draining"), (2, "draining")], "draining", "r"),
        ([(1, "unavailable"), (2, "degraded")], "unavailable", "r"),
        ([(1, "ready"), (2, "unavailable")], "degraded", "worker 2: r"),
        ([(1, "ready"), (2, "starting")], "degraded", "worker 2: r"),
        ([(1, "ready")], "degraded", "worker 2: it is being started"),
        ([], "starting", "it is being started"),
        # One of a number is replaced.
        ([(1, "ready"), (2, "draining"), (2, "ready")], "ready", ""),
        ([(1, "ready"), (2, "ready"), (2, "starting")], "ready", ""),
        ([(1, "ready"), (2, None)], "degraded", "worker 2: it does not answer"),
        ([(1, None), (2, None)], "unavailable", "it does not answer"),
    ],
)
def test_one_word_for_all_workers(answers: list[tuple[int, str | None]], status: str, reason: str) -> None:
    living = [WorkerPlace(number, pid, Path("s")) for pid, (number, _) in enumerate(answers)]
    told = {
        place: _ready(word, reason="" if word == "ready" else "r")
        for place, (_, word) in zip(living, answers, strict=True)
        if word is not None
    }
    report = merged_report(2, living, told)
    assert (report.status, report.reason) == (Status(status), reason)
    assert report.body["sessions"] == 2 * len(told)
    assert (report.body["database"] == "ok") == bool(told)


def test_of_what_workers_find_out_the_worst_is_told_and_nonsense_is_no_answer() -> None:
    places = [WorkerPlace(number, number, Path("s")) for number in (1, 2, 3)]
    late = {"status": "late", "lag_s": 5.0, "age_s": 0.5}
    report = merged_report(
        3,
        places,
        {
            places[0]: _ready("ready", bus={"connected": True}, node="a"),
            places[1]: _ready("degraded", delivery=late, bus={"connected": False}, node="a"),
            places[2]: Answer(200, b"[]"),
        },
    )
    assert report.body["delivery"] == {"status": "late", "lag_s": 5.0, "age_s": 1.0}
    assert (report.body["bus"], report.body["node"]) == ({"connected": False}, "a")
    assert report.body["workers"][2] == {
        "worker": 3,
        "status": "unavailable",
        "reason": "it does not answer",
    }
