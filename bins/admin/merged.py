"""The admin listener of a server with several workers, run by their supervisor (docs/operations.md 12.5).

The same address, rules, routes and answers as those of a server of one process: each worker is asked over its
Unix socket, and the answers are merged. One that does not answer in time is left out, and counted.
"""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import structlog
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from less_sync.bins.admin.asking import ASK_S, Answer, ask_all
from less_sync.bins.admin.counts import WorkerCounts, of_reporter, of_workers
from less_sync.bins.admin.families import with_role
from less_sync.bins.admin.figures import figures
from less_sync.bins.admin.listener import serve_operators
from less_sync.bins.admin.merged_readiness import merged_report
from less_sync.bins.admin.merging import WORKER_LABEL, Merger
from less_sync.bins.admin.metrics import AGE_S_MAX
from less_sync.bins.admin.operated import Told
from less_sync.bins.admin.readiness import Report
from less_sync.bins.admin.shown import SPACES_SHOWN
from less_sync.bins.admin.within import FAMILIES_PATH, LARGEST_PATH, STATE_PATH, Family, decode_families
from less_sync.bins.http_server import SteppedServer
from less_sync.bins.logs import WARNINGS_KEPT, in_force, set_log_level
from less_sync.bins.settings.config import Settings
from less_sync.bins.settings.parts import ListenAddress
from less_sync.bins.supervisor import Supervisor
from less_sync.bins.workers.places import Places, WorkerPlace

if TYPE_CHECKING:
    from less_sync.fleet.reporter.reporter import Standing

TEND_EVERY_S: Final = 0.5
"""So long at most a new worker goes without what operators have asked of all."""
SUPERVISOR: Final = "supervisor"
"""Stands for the supervisor where workers are told apart."""
ANSWERING: Final = "answering"
SILENT: Final = "silent"
MISSING: Final = "missing"

_log = structlog.get_logger(__name__)


class Workers(NamedTuple):
    """What the listener knows of the workers."""

    places: Places
    wanted: int
    """Numbered from 1."""
    restarts: Callable[[], int]
    """How many were started anew because one had ended by itself."""


class MergedServer:
    """All workers as one server. Implements `Operated`; `tend` must run beside it.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, workers: Workers, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._workers = workers
        self._clock = clock
        self._merger = Merger()
        self._process = ProcessCollector(registry=None)
        self._looking = asyncio.Lock()
        self._families: Sequence[Metric] = ()
        self._looked_s: float | None = None
        self._acting = asyncio.Lock()
        """Lest a new worker hear of a drain behind the word that it was taken back."""
        self._draining: bool | None = None
        """None: operators have asked for neither."""
        self._level: str | None = None
        self._tended: set[WorkerPlace] = set()
        self.reporter: Callable[[], Standing | None] = lambda: None
        """How the reporter to a fleet plane stands, which runs beside this; None: there is none."""

    async def families(self) -> Sequence[Metric]:
        """The families of the metrics, at most `AGE_S_MAX` old; whoever asks meanwhile waits for one look."""
        async with self._looking:
            if self._looked_s is None or self._clock() - self._looked_s >= AGE_S_MAX:
                self._families = await self._look()
                self._looked_s = self._clock()
        return self._families

    async def metrics(self) -> bytes:
        """As `Operated.metrics`."""
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Made(await self.families()))
        return generate_latest(registry)

    async def ready(self) -> Report:
        """As `Operated.ready`."""
        living = self._living()
        return merged_report(self._workers.wanted, living, await ask_all(living, "GET", "/readyz"))

    async def drain(self) -> Told:
        """As `Operated.drain`. A worker that comes later drains too."""
        async with self._acting:
            if not self._draining:
                _log.warning("draining", workers=len(self._living()))
            self._draining = True
            return await self._act("POST", "/drain", "draining")

    async def take_drain_back(self) -> Told:
        """As `Operated.take_drain_back`; 409 when no worker can."""
        async with self._acting:
            self._draining = False
            return await self._act("DELETE", "/drain", "serving")

    async def log_at(self, level: str) -> Told:
        """As `Operated.log_at`: every worker, those that come later, and the supervisor."""
        async with self._acting:
            self._level = level
            set_log_level(level)
            await self._ask_of_all("POST", f"/log-level/{level}")
        _log.warning("the log level was changed by an operator", to=level)
        return Told(200, {"log_level": level})

    def forget_level(self) -> None:
        """The settings name another level, which all know by now: workers that come later begin with it."""
        self._level = None

    async def tend(self) -> None:
        """Ask what operators have asked of all of new workers, and of those that were too busy to answer.

        Runs until it is cancelled.
        """
        while True:
            await asyncio.sleep(TEND_EVERY_S)
            living = self._living()
            self._tended &= set(living)
            for place in living:
                if place not in self._tended and await self._tell(place):
                    self._tended.add(place)

    async def ask_all(self, path: str) -> dict[WorkerPlace, Answer]:
        """What every worker answers."""
        return await ask_all(self._living(), "GET", path)

    async def ask_one(self, path: str, *, within_s: float = ASK_S) -> Answer | None:
        """What the first worker answers that does; None: none does. Each may take `within_s`."""
        for place in sorted(self._living()):
            for answer in (await ask_all([place], "GET", path, within_s=within_s)).values():
                return answer
        return None

    def _living(self) -> Sequence[WorkerPlace]:
        return list(self._workers.places())

    async def _ask_of_all(self, method: str, path: str) -> dict[WorkerPlace, Answer]:
        """Ask every worker that lives; who does not answer is asked again by `tend`."""
        answers = await ask_all(self._living(), method, path)
        self._tended.intersection_update(answers)
        return answers

    async def _tell(self, place: WorkerPlace) -> bool:
        """Tell one what was asked of all; whether it has answered. Who has not is told again."""
        async with self._acting:
            wanted = [("POST", f"/log-level/{self._level}")] if self._level is not None else []
            if self._draining is not None:
                wanted.append(("POST" if self._draining else "DELETE", "/drain"))
            for method, path in wanted:
                if place not in await ask_all([place], method, path):
                    return False
        return True

    async def _act(self, method: str, path: str, state: str) -> Told:
        """The answers of all as one: the sum of their sessions, 409 only if nobody could, and not done (202)
        while one has not answered."""
        living = len(self._living())
        answers = await self._ask_of_all(method, path)
        told = [(answer.status, json.loads(answer.body)) for answer in answers.values()]
        sessions = sum(body["sessions"] for _, body in told)
        able = [status for status, _ in told if status < 300]
        if told and not able:
            return Told(told[0][0], {"state": told[0][1]["state"], "sessions": sessions})
        done = 200 if len(answers) >= living else 202
        return Told(max([done, *able]), {"state": state, "sessions": sessions})

    async def _look(self) -> Sequence[Metric]:
        living = self._living()
        answers = await ask_all(living, "GET", FAMILIES_PATH)
        told: dict[WorkerPlace, Sequence[Family]] = {}
        for place, answer in answers.items():
            if answer.status == 200 and (families := decode_families(answer.body)) is not None:
                told[place] = families
        ours = (
            *of_workers(self._counts(living, told)),
            *of_reporter(self.reporter()),
            *self._of_supervisor(),
        )
        own = {one.name: one for one in ours}
        found = [_with_samples(one, own.pop(one.name, None)) for one in self._merger.merged(living, told)]
        return [*found, *own.values()]

    def _counts(self, living: Sequence[WorkerPlace], told: Mapping[WorkerPlace, object]) -> WorkerCounts:
        missing = set(range(1, self._workers.wanted + 1)) - {place.number for place in living}
        states = {ANSWERING: len(told), SILENT: len(living) - len(told), MISSING: len(missing)}
        return WorkerCounts(states, self._workers.restarts())

    def _of_supervisor(self) -> Iterable[Metric]:
        for family in with_role(self._process.collect()):
            ours = Metric(family.name, family.documentation, family.type)
            for sample in family.samples:
                ours.add_sample(sample.name, {**sample.labels, WORKER_LABEL: SUPERVISOR}, sample.value)
            yield ours


class MergedState:
    """What the console shows of all workers. Implements `Shown`.

    Args:
        clock: monotonic seconds.
    """

    def __init__(
        self,
        server: MergedServer,
        vital: Supervisor,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._server = server
        self._vital = vital
        self._clock = clock
        self._began_s = clock()

    def looked_at(self, looked_at: bool) -> None:
        """Nothing: the workers count by space for a while whenever they are asked."""

    async def told(self) -> dict[str, Any]:
        """As `Shown.told`."""
        answers, report, families, largest = await asyncio.gather(
            self._server.ask_all(STATE_PATH),
            self._server.ready(),
            self._server.families(),
            self._server.ask_one(LARGEST_PATH),
        )
        states = {place: json.loads(answer.body) for place, answer in answers.items() if answer.status == 200}
        numbered = sorted(states.items())
        told = [state for _, state in numbered]
        ours = [{**line, WORKER_LABEL: SUPERVISOR} for line in in_force.warnings]
        theirs = [
            {**line, WORKER_LABEL: place.number} for place, state in numbered for line in state["warnings"]
        ]
        warnings = sorted([*ours, *theirs], key=lambda line: str(line.get("ts", "")))
        return {
            "at": time.time(),
            "version": told[0]["version"] if told else "",
            "up_s": self._clock() - self._began_s,
            "ready": dict(report.body),
            "log_level": told[0]["log_level"] if told else in_force.level,
            "warnings": warnings[-WARNINGS_KEPT:],
            "tasks": [
                *(f"{SUPERVISOR}: {name}" for name in self._vital.running),
                *(f"worker {place.number}: {name}" for place, state in numbered for name in state["tasks"]),
            ],
            "chores": _merged_chores(told),
            "growing": _merged_growth(told),
            **(json.loads(largest.body) if largest is not None else _NONE_LARGEST),
            "figures": figures(families),
        }

    async def aclose(self) -> None:
        """Nothing is under way here."""


_NONE_LARGEST: Final[Mapping[str, Any]] = {
    "largest": [],
    "largest_ago_s": None,
    "largest_fault": "no worker answers",
}


class MergedListener:
    """The listener while it is open."""

    def __init__(self, server: SteppedServer, merged: MergedServer) -> None:
        self._server = server
        self.forget_level: Final = merged.forget_level

    @property
    def address(self) -> ListenAddress:
        """Where it really listens."""
        return self._server.address


def merged_server(
    workers: Workers,
    stack: AsyncExitStack,
    vital: Supervisor,
    *,
    clock: Callable[[], float] = time.monotonic,
) -> MergedServer:
    """All workers as one server, which is tended until `stack` ends it.

    Args:
        clock: monotonic seconds, for the age of metrics.
    """
    merged = MergedServer(workers, clock=clock)
    stack.push_async_callback(vital.stop, vital.start("tending of new workers", merged.tend()))
    return merged


async def open_merged(
    settings: Settings, merged: MergedServer, stack: AsyncExitStack, vital: Supervisor
) -> MergedListener:
    """Listen where `ADMIN_ADDR` says, which must be set, for all workers; `stack` ends it.

    Raises:
        CommandError: as `open_admin`.
    """
    server = await serve_operators(settings, merged, MergedState(merged, vital), stack, vital)
    return MergedListener(server, merged)


class _Made(Collector):
    def __init__(self, families: Sequence[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def _with_samples(family: Metric, other: Metric | None) -> Metric:
    if other is not None:
        family.samples.extend(other.samples)
    return family


def _merged_chores(told: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What all have done together; whoever did it last counts."""
    chores: dict[str, dict[str, Any]] = {}
    for one in (chore for state in told for chore in state["chores"]):
        known = chores.setdefault(one["name"], {**one, "runs": 0, "failures": 0})
        known["runs"] += one["runs"]
        known["failures"] += one["failures"]
        known["ago_s"] = min(known["ago_s"], one["ago_s"])
    return list(chores.values())


def _merged_growth(told: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    records, sizes = Counter[str](), Counter[str]()
    for one in (grown for state in told for grown in state["growing"]):
        records[one["space"]] += one["records"]
        sizes[one["space"]] += one["bytes"]
    return [
        {"space": space, "records": records[space], "bytes": size}
        for space, size in sizes.most_common(SPACES_SHOWN)
    ]
