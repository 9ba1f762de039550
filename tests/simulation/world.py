"""One run of the whole server over a modelled database, a modelled network and a seed.

A run has four parts: the server starts; the actors play, in whatever weather; everything calms down, so that
whatever is owed must have been paid; all leave, and nothing may be left. Then the server stops.
"""

import asyncio
import gc
import hashlib
import math
import random
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, cast
from uuid import UUID

from tests.simulation.actor import Actor
from tests.simulation.backups import ModelledBackup
from tests.simulation.cast import OWNER, SHARED, WALL_START_S, authenticator, people
from tests.simulation.contents import DistantBlobs
from tests.simulation.database import Database, Weather
from tests.simulation.exchanges import Asked, Exchanges, head
from tests.simulation.leftovers import Leftovers
from tests.simulation.line import MARKS_SCALE, Line
from tests.simulation.logs import captured
from tests.simulation.loop import SimulatedLoop
from tests.simulation.parts import Parts
from tests.simulation.rules import ALL, Court, Rule, Violation
from tests.simulation.script import Script, with_drains, write_script
from tests.simulation.system import (
    CLIENT_PATH,
    ClientSocket,
    Doors,
    PostgresPool,
    Services,
    UpgradeRequest,
    build_services,
    create_app,
    run_background,
    websocket_protocol,
)
from tests.simulation.tables import Kind, Tables
from tests.simulation.witness import DRAIN_S, Witness

STEPS_MAX: Final = 400_000
WRITE_BUFFER_BYTES: Final = 256 * 1024
"""The mark the server sets for its transports, before it is scaled."""
ANSWER_BYTES_MAX: Final = 400
"""Of a push or a small request: they do not wait for a slow reader."""
SHUTDOWN_S: Final = 8.0
SLACK_S: Final = 0.1
"""How much later than it was set a timer may run: time passes with every callback."""
CALM_S: Final = 75.0
"""Longer than the driver waits for an answer, and than a session waits for a reader."""
UPGRADE: Final = (
    (b"connection", b"Upgrade"),
    (b"upgrade", b"websocket"),
    (b"sec-websocket-version", b"13"),
    (b"sec-websocket-key", b"AAAAAAAAAAAAAAAAAAAAAA=="),
    (b"sec-websocket-protocol", b"betterbase-rpc-v1"),
)


@dataclass(slots=True)
class Outcome:
    """What a run came to."""

    seed: int
    digest: str
    violations: list[Violation]
    requests: int
    simulated_s: float


class Connections:
    """What the socket class asks of uvicorn's state."""

    def __init__(self) -> None:
        self.connections: set[object] = set()


@dataclass(slots=True)
class Seat:
    """One connection that was opened."""

    line: Line
    witness: Witness
    frames: list[object] = field(default_factory=list)


class Client:
    """The client's end of a line: witness first, actor then."""

    def __init__(self, witness: Witness, actor: Actor) -> None:
        self._witness = witness
        self._actor = actor
        self.delivered = witness.delivered

    def written(self, data: bytes) -> list[object]:
        return list(self._witness.written(data))

    def received(self, frame: object) -> None:
        self._actor.received(cast(Any, frame))

    def ended(self) -> None:
        self._witness.ended = True
        self._actor.ended()


class World:
    """A stage for actors, and the server behind it.

    Args:
        trace: told every outside event, for whoever looks at a failure.
        parts: what to put in place of the server's own.
    """

    def __init__(
        self,
        seed: int,
        *,
        rules: frozenset[Rule] = ALL,
        trace: Callable[[str], None] | None = None,
        script: Script | None = None,
        parts: Parts | None = None,
    ) -> None:
        self.seed = seed
        self._chance = random.Random(seed)
        self._parts = parts or Parts()
        drains = random.Random(f"drains of {seed}")
        self.script = script or with_drains(write_script(self._chance), drains)
        self.weights = self.script.weights
        self.people = people()
        self.playing = True
        self._trace = trace
        self._digest = hashlib.blake2b(digest_size=16)
        self.court = Court(rules)
        self._wall_offset_s = 0.0
        self.loop = SimulatedLoop(
            self._fork(),
            callback_s_max=self.script.callback_s_max,
            steps_max=STEPS_MAX,
            on_outside=self._note,
            on_fault=self._fault,
        )
        self.tables = Tables(self.wall, self.loop.time, self._fork())
        self.database = Database(
            self.tables, Weather(latency_s=0.0), chance=self._fork(), schedule=self.loop.outside
        )
        self._blobs = self._open_store()
        self._exchanges = Exchanges(
            self.loop,
            self.loop.outside,
            self._fork(),
            self.court,
            self.tables,
            self._blobs,
            self._digest.update,
            faultless=self.script.weather.faultless and not self.script.events,
        )
        self._exchanges.trace = self._tell
        self._seats: list[Seat] = []
        self._state = Connections()
        self._drains = 0
        self._open_since_s = -math.inf
        self._actors = [
            Actor(self, name, temper, self._fork(), self.loop.outside) for name, temper in self.script.tempers
        ]

    def _open_store(self) -> DistantBlobs:
        chance = self._fork()
        return DistantBlobs(
            now=self.wall,
            travel=self.database.travel,
            fails=lambda: chance.random() < self.database.weather.store_fails,
            changed=lambda key: None,
        )

    def _fork(self) -> random.Random:
        return random.Random(self._chance.getrandbits(64))

    def wall(self) -> float:
        """The wall clock, which may jump."""
        return WALL_START_S + self.loop.time() + self._wall_offset_s

    def _note(self, at_s: float, label: str) -> None:
        self._digest.update(f"{at_s!r} {label}\n".encode())
        if self._trace is not None:
            self._trace(f"{at_s:.6f} {label}")

    def _tell(self, what: str) -> None:
        if self._trace is not None:
            self._trace(f"{self.loop.time():.6f} {what}")

    def _fault(self, context: dict[str, Any]) -> None:
        self.court.charge(
            Rule.FAULTS, f"{context.get('message')}: {context.get('exception')!r}", self.loop.time()
        )

    def logged(self, level: str, event: str, **fields: object) -> None:
        """A line of the server's log."""
        if self._trace is not None:
            self._trace(f"{self.loop.time():.6f} log {level}: {event} {fields}")
        if fields.get("exc_info"):
            self.court.charge(Rule.FAULTS, f"logged: {event}: {fields}", self.loop.time())

    # The run.

    def run(self) -> Outcome:
        """Play the seed to its end."""
        loop = self.loop
        violations = self.court.violations
        gc.disable()  # it would end abandoned generators at moments that no seed decides
        try:
            with captured(self.logged):
                self._run()
        except Exception as error:
            text = "".join(traceback.format_exception(error)[-4:])
            self.court.charge(Rule.FAULTS, f"escaped: {text}", loop.time())
        finally:
            self._abandon()
            loop.close()
            gc.enable()
        requests = sum(actor.asked for actor in self._actors) + self._exchanges.made
        return Outcome(self.seed, self._digest.hexdigest(), violations, requests, loop.time())

    def _run(self) -> None:
        loop = self.loop
        loop.run_until_complete(self._start())
        self._leftovers = Leftovers(loop, [self.services, self._socket.pipelined])
        self._play()
        self._calm_down()
        self._leave()
        loop.run_until_complete(self._stop())
        loop.run_until_idle(1000.0)
        self._check_end()

    def _abandon(self) -> None:
        """End what a failed run left behind, so that nothing of it is heard of later."""
        with captured(lambda level, event, **fields: None):
            self.court = Court(frozenset())
            for task in asyncio.all_tasks(self.loop):
                task.cancel()
            with suppress(Exception):
                self.loop.run_for(1.0)

    async def _start(self) -> None:
        chance = self._fork()
        self._pool = await PostgresPool.open(
            "postgres://model",
            max_connections=self.script.pool_connections,
            connect=self.database.connect,
            chance=chance,
        )
        self._lanes = self._parts.lanes(self._pool, entries_max=self.script.lane_entries)
        await self._lanes.open()
        self._authenticator = authenticator(self.wall, self._keys_come if self.script.keys_s else None)
        services = build_services(
            self._pool,
            self._lanes,
            self._authenticator,
            limits=self.script.limits,
            identity_hash_key=bytes(32),
            clock=self.loop.time,
            chance=chance,
            presence_secret=chance.randbytes(32),
            blobs=self._blobs,
        )
        services.now = self.wall
        services.new_id = lambda: str(UUID(int=chance.getrandbits(128), version=4))
        services.enforce_token_expiry = self.script.enforce_token_expiry
        self._parts.alter(services)
        self.services: Services = services
        self._exchanges.application = create_app(services)
        self._socket = websocket_protocol(services, {CLIENT_PATH: self._parts.sessions(services)})
        self._background = self.loop.create_task(run_background(services, maintenance_interval_s=3600.0))
        self.tables.create(SHARED, "", self.people[OWNER].root_key)
        for _ in range(4):  # what the background does once, at the start, is over then
            await asyncio.sleep(0)

    async def _keys_come(self) -> None:
        come: asyncio.Future[None] = self.loop.create_future()

        def arrive() -> None:
            if not come.done():
                come.set_result(None)

        self.loop.outside(self._chance.random() * self.script.keys_s, "keys", arrive)
        await come

    def _play(self) -> None:
        script, loop = self.script, self.loop
        self.database.weather = script.weather
        for actor in self._actors:
            loop.outside(self._chance.random() * 0.05, "arrive", actor.connect)
        for event in script.events:
            loop.outside(event.at_s, event.name, lambda event=event: EVENTS[event.name](self, event.amount))  # type: ignore[misc]  # mypy cannot type its default
        for drain in script.drains:
            loop.outside(drain.at_s, "drain", self._drain)
            loop.outside(drain.at_s + drain.for_s, "undrain", self._undrain)
        if script.events:
            ModelledBackup(self.seed, loop, self.database, self._blobs, self.court).plan(script.play_s)
        if script.shutdown_at_s < script.play_s:
            loop.outside(script.shutdown_at_s, "shutdown", self._shut_down)
        loop.run_for(script.play_s)

    def _shut_down(self) -> None:
        self.services.sessions.refuse()
        self._shutting = self.loop.create_task(self.services.sessions.shutdown(SHUTDOWN_S))
        for seat in self._seats:
            seat.witness.shut_down_s = self.loop.time() + SHUTDOWN_S

    def _drain(self) -> None:
        sessions = self.services.sessions
        if sessions.doors is not Doors.OPEN:
            return
        spread_s = self.script.drain_spread_s
        sessions.drain(spread_s=spread_s, within_s=DRAIN_S)
        self._drains += 1
        drain = self._drains
        self.loop.outside(spread_s + DRAIN_S + SLACK_S, "drained", lambda: self._check_drained(drain))

    def _check_drained(self, drain: int) -> None:
        """Unless it was taken back meanwhile, a drain has closed every session by now."""
        sessions = self.services.sessions
        if drain == self._drains and sessions.doors is Doors.DRAINING and len(sessions):
            self.court.charge(Rule.DRAINED, f"{len(sessions)} sessions outlive a drain", self.loop.time())

    def _undrain(self) -> None:
        if self.services.sessions.reopen():
            self._open_since_s = self.loop.time()
            self._drains += 1

    def may_say_goodbye(self) -> bool:
        """Whether a session may be closed because the server drains or stops, or did so a moment ago."""
        return self.services.draining or self.loop.time() <= self._open_since_s + DRAIN_S + SLACK_S

    def _calm_down(self) -> None:
        """Let what is under way end, push once more, and see whether all that was owed has been paid."""
        self.playing = False
        self._undrain()
        self.database.weather = Weather()
        for actor in self._actors:
            actor.calm()
        self.loop.run_for(CALM_S)
        for commit in self.tables.journal:
            if commit.kind is Kind.REVOKE:
                self._bar(commit.mark.decode())
        self._probe()
        self.loop.run_for(2.0)
        for seat in self._seats:
            if not seat.line.is_closing() and seat.witness.closed_with is None:
                seat.witness.check_settled()
        self._exchanges.check_at_rest()

    def _probe(self) -> None:
        """A push into the shared space, which everybody hears of but those whose access was revoked."""
        owner = next(actor for actor in self._actors if actor.person.name == OWNER)
        owner.hang_up()
        self.loop.run_for(1.0)

        def push() -> None:
            owner.connect()
            owner.push(str(SHARED), owner.person.grants[0][0])

        self.loop.outside(0.0, "probe", push)

    def _leave(self) -> None:
        for actor in self._actors:
            actor.hang_up()
        self.loop.run_for(15.0)
        for what in self._leftovers.since_start():
            self.court.charge(Rule.ZERO, what, self.loop.time())
        self._check_rates()
        self._check_memory()

    async def _stop(self) -> None:
        self._background.cancel()
        await asyncio.wait({self._background})
        self.services.mailboxes.close()
        assert self.services.files is not None, "or nothing could be uploaded"
        await self.services.files.removals.aclose(1.0)
        await self.services.announce.aclose(1.0)
        await self._lanes.aclose(5.0)
        await self._pool.aclose(5.0)
        await self._authenticator.aclose()

    def _check_rates(self) -> None:
        tables, script = self.tables, self.script
        appended = sum(commit.kind is Kind.APPEND for commit in tables.journal)
        told = script.weather.faultless and not any(event.name in CUTTING for event in script.events)
        for action, written in (
            ("invitation", tables.invitations_made),
            ("membership_append", appended),
        ):
            taken = tables.slots.get(action, 0)
            if written > taken or (told and written != taken):
                self.court.charge(Rule.RATES, f"{written} {action} rows, {taken} slots", self.loop.time())

    def _check_end(self) -> None:
        for what in self._leftovers.at_end():
            self.court.charge(Rule.ZERO, what, self.loop.time())
        if self.database.connections:
            self.court.charge(Rule.ZERO, "connections to the database are left", self.loop.time())

    # The stage.

    def open_line(self, actor: Actor) -> tuple[Line, Witness] | None:
        """A TCP connection whose upgrade was just read."""
        if self.services.draining:
            return None
        number = len(self._seats) + 1
        witness = Witness(
            number,
            actor.person,
            self.court,
            self.tables,
            self.loop.time,
            self._digest.update,
            self._waiting_max(),
        )
        witness.on_revoked = self._bar
        witness.may_say_goodbye = self.may_say_goodbye
        if self._trace is not None:
            witness.on_frame = self._tell
        line = Line(
            self.loop,
            self.loop.outside,
            self._fork(),
            Client(witness, actor),
            actor.temper.pace,
            f"{actor.person.name} {number}",
        )
        witness.behind = lambda: line.behind
        socket: ClientSocket = self._socket(cast(Any, None), cast(Any, self._state), {})
        line.attach(socket)
        self._seats.append(Seat(line, witness))
        socket.connection_made(line)
        socket.upgrade(CLIENT_PATH, UpgradeRequest("GET", "1.1", UPGRADE, self.services.subprotocols), b"")
        return line, witness

    @property
    def comes_back(self) -> bool:
        """Whether a server that lets nobody in will do so again."""
        return self.services.sessions.doors is not Doors.STOPPING

    def exchange(self, asked: Asked, *, pause_s: float, hang_up_s: float | None) -> None:
        """Ask something about a file, over HTTP."""
        if not self.services.draining:
            asked.headers |= head(asked)
            self._exchanges.begin(asked, pause_s=pause_s, hang_up_s=hang_up_s)

    def next_upload(self) -> bytes:
        """What the next upload is to be known by."""
        return self._exchanges.next_mark()

    def _waiting_max(self) -> int:
        limits = self.script.limits
        under_way = limits.pushes_in_flight + limits.pulls_waiting + 3
        return limits.backlog_frames + under_way + limits.queue_frames  # answers may stand in the queue too

    def _check_memory(self) -> None:
        high = WRITE_BUFFER_BYTES // MARKS_SCALE
        answers = self.script.limits.pushes_in_flight * ANSWER_BYTES_MAX
        for seat in self._seats:
            line = seat.line
            if line.buffered_max > high + 2 * line.largest_write + answers:
                what = f"{line.buffered_max} bytes were unsent, {line.largest_write} in one write"
                self.court.charge(Rule.MEMORY, what, self.loop.time())

    def _bar(self, cid: str) -> None:
        for seat in self._seats:
            seat.witness.bar(cid)

    # Events.

    def _lock(self, amount: float) -> None:
        self.database.lock(SHARED, amount * amount * 14.0)

    def _lose(self, amount: float) -> None:
        self.database.lose(1 + int(amount * 3))

    def _outage(self, amount: float) -> None:
        self.database.outage(amount * 8.0)

    def _clock(self, amount: float) -> None:
        self._wall_offset_s += (amount - 0.5) * 7200.0

    def _elsewhere(self, amount: float) -> None:
        if not self.database.is_locked(SHARED):
            self.tables.bump_elsewhere(SHARED)

    def _file(self, amount: float) -> None:
        live = [id for id, r in self.tables.records.items() if r.space == SHARED and r.blob is not None]
        if live and not self.database.is_locked(SHARED):
            file = UUID(int=self._chance.getrandbits(128), version=4)
            self.tables.add_file(SHARED, file, live[int(amount * len(live))], bytes((0, 0, 0, 1)) + bytes(40))

    def _vanish(self, amount: float) -> None:
        stored = self._blobs.stored
        if stored:
            self._blobs.vanish(stored[int(amount * len(stored))])

    def _drop(self, amount: float) -> None:
        self._actors[int(amount * len(self._actors))].hang_up()


CUTTING: Final = frozenset({"lose", "outage"})
"""Events after which the outcome of a statement may be unknown."""
EVENTS: Final[dict[str, Callable[[World, float], None]]] = {
    "lock": World._lock,
    "lose": World._lose,
    "outage": World._outage,
    "clock": World._clock,
    "elsewhere": World._elsewhere,
    "file": World._file,
    "drop": World._drop,
    "vanish": World._vanish,
}
