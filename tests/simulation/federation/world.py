"""One run of two servers over modelled databases, a modelled wire and a seed.

A run has five parts: the servers start; members and neighbours play, in whatever weather of the wire; the
weather turns good for as long as anything needs to recover; everything that is owed must have been paid; all
leave, and nothing may be left. Then the servers stop.
"""

import asyncio
import gc
import hashlib
import random
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final, NoReturn

from tests.simulation.cast import OWNER, SHARED, WALL_START_S, neighbours, people
from tests.simulation.database import Database, Weather
from tests.simulation.exchanges import Asked
from tests.simulation.federation.actors import Member, Neighbour
from tests.simulation.federation.events import EVENTS
from tests.simulation.federation.parts import FederatedParts
from tests.simulation.federation.script import FederatedScript, draw_fault, with_drains, write_script
from tests.simulation.federation.servers import (
    EDGE,
    HOME,
    KEYS,
    PORT,
    SHUTDOWN_S,
    Keys,
    Server,
    Standing,
)
from tests.simulation.federation.system import LinkLimits, LinkState
from tests.simulation.federation.wire import Network
from tests.simulation.federation.witnesses import EdgeWitness, NeighbourWitness, check_journal
from tests.simulation.leftovers import Leftovers
from tests.simulation.line import Line
from tests.simulation.logs import captured
from tests.simulation.loop import SimulatedLoop
from tests.simulation.rules import ALL, Court, Rule
from tests.simulation.system import CLIENT_PATH, UpgradeRequest
from tests.simulation.tables import Kind, Tables
from tests.simulation.witness import Witness
from tests.simulation.world import UPGRADE, Client, Outcome, Seat

STEPS_MAX: Final = 600_000
GIVEN_UP_S: Final = 60.0
"""When the weather turns good, what is half-open is given up after so long."""
CALM_S: Final = GIVEN_UP_S + 400.0
"""And then the longest wait of a link that was refused is over."""
LINGER_S, IDLE_S = 20.0, 60.0
"""In place of 60 s and 600 s, so that runs see their ends."""
GONE_S: Final = LINGER_S + 2 * IDLE_S + 100.0
"""After the last client has left, by then nothing is kept for anybody."""
PULLS_MAX: Final = 3
"""So often is pulled at the end by whom nothing was sent: a home that is not reached is left out."""
REMEMBERED: Final = frozenset({"_homes", "_made_s", "_checks", "homes", "root_keys", "_peers", "refused"})
"""Which servers and spaces there are, what a home said lately: bounded, and not given back."""


class FederatedLoop(SimulatedLoop):
    """Has a network: the world's own."""

    network: Network

    async def create_connection(self, make: Callable[[], Any], host: str, port: int, **tls: object) -> Any:  # type: ignore[override]  # as it is called
        """As asyncio's, over the simulated wire."""
        return await self.network.connect(make, host, port)


class Place:
    """A stage for the actors of one server, whichever life of it runs just now."""

    def __init__(self, world: "FederatedWorld", standing: Standing) -> None:
        self._world = world
        self.standing = standing
        self.weights = world.script.weights
        self.people = people() | neighbours()
        self.tables = world.home_tables
        """As members see them: of the shared space everybody sees the home's."""
        self.server: Server
        self.leftovers: Leftovers
        self.seats: list[Seat] = []

    @property
    def playing(self) -> bool:
        """Whether actors still ask for things of their own accord."""
        return self._world.playing

    @property
    def comes_back(self) -> bool:
        """Whether a server that lets nobody in will do so again: one that stops is started anew."""
        return True

    async def start(self) -> None:
        """Begin a life of the server."""
        world, standing = self._world, self.standing
        self.server = Server(standing, world.loop, world.fork(), world.parts)
        await self.server.start()
        for _ in range(4):  # what the background does once, at the start, is over then
            await asyncio.sleep(0)
        server = self.server
        found = [server.services, server.forwarder, server.quotas, server.socket.pipelined]
        self.leftovers = Leftovers(world.loop, found, ignored=REMEMBERED)
        server.listening = True

    def open_line(self, actor: Any) -> tuple[Line, Witness] | None:
        """A TCP connection whose upgrade was just read."""
        world, server = self._world, self.server
        if not server.listening or server.services.draining:
            return None
        witness = world.witness(self, actor)
        name = f"{actor.person.name} {witness.number}"
        client = Client(witness, actor)
        line = Line(world.loop, world.loop.outside, world.fork(), client, actor.temper.pace, name)
        witness.behind = lambda: line.behind
        self.seats.append(Seat(line, witness))
        socket = server.serve(line)
        line.attach(socket)
        socket.upgrade(CLIENT_PATH, UpgradeRequest("GET", "1.1", UPGRADE, server.subprotocols), b"")
        return line, witness

    def exchange(self, asked: Asked, *, pause_s: float, hang_up_s: float | None) -> NoReturn:
        """There are no files here."""
        raise LookupError("there are no files here")

    def next_upload(self) -> NoReturn:
        """There are no files here."""
        raise LookupError("there are no files here")


class FederatedWorld:
    """Two servers, their clients and what is between them.

    Args:
        trace: told every outside event, for whoever looks at a failure.
        parts: what to put in place of the servers' own.
    """

    def __init__(
        self,
        seed: int,
        *,
        rules: frozenset[Rule] = ALL,
        trace: Callable[[str], None] | None = None,
        parts: FederatedParts | None = None,
    ) -> None:
        self.seed = seed
        self.chance = random.Random(seed)
        self.parts = parts or FederatedParts()
        drains = random.Random(f"drains of {seed}")
        self.script: FederatedScript = with_drains(write_script(self.chance), drains)
        self.playing = True
        self.court = Court(rules)
        self._trace = trace
        self._digest = hashlib.blake2b(digest_size=16)
        self._connections = 0
        self.wall_offset_s = {HOME: 0.0, EDGE: 0.0}
        self.restarting: dict[str, asyncio.Task[None]] = {}
        script = self.script
        self.loop = FederatedLoop(
            self.fork(),
            callback_s_max=script.callback_s_max,
            steps_max=STEPS_MAX,
            on_outside=self._note,
            on_fault=self._fault,
        )
        fate = self.fork()
        self.network = self.loop.network = Network(
            self.loop,
            self.loop.outside,
            self.fork(),
            latency_s=script.latency_s,
            cut=script.cut,
            weather=lambda: draw_fault(fate, script),
        )
        self.network.accept[HOME, PORT] = lambda end: self.places[HOME].server.accept(end)
        self.home_tables, self.edge_tables = self._tables(HOME), self._tables(EDGE)
        self.places = {
            HOME: Place(self, self._standing(HOME, self.home_tables, None)),
            EDGE: Place(self, self._standing(EDGE, self.edge_tables, KEYS[0])),
        }
        self.members = [
            (Neighbour if name in neighbours() else Member)(
                self.places[at], name, temper, self.fork(), self.loop.outside
            )
            for at, name, temper in script.members
        ]

    def fork(self) -> random.Random:
        """Chance of its own for one part of the world."""
        return random.Random(self.chance.getrandbits(64))

    def _tables(self, name: str) -> Tables:
        return Tables(lambda: self.wall(name), self.loop.time, self.fork())

    def _standing(self, name: str, tables: Tables, fragment: str | None) -> Standing:
        weather = Weather(latency_s=self.script.database_s)
        database = Database(tables, weather, chance=self.fork(), schedule=self.loop.outside)
        at_home = name == HOME
        return Standing(
            name,
            database,
            self.script.limits if at_home else replace(self.script.limits, lifetime_s=3600.0),
            Keys(name, fragment),
            self.script.quotas,
            lambda: self.wall(name),
            trusted=[KEYS[0]] if at_home else [],
            secret=self.script.secret if at_home else None,
            link_limits=LinkLimits(idle_s=IDLE_S),
            linger_s=LINGER_S,
        )

    def wall(self, name: str) -> float:
        """A server's wall clock, which may jump."""
        return WALL_START_S + self.loop.time() + self.wall_offset_s[name]

    def _note(self, at_s: float, label: str) -> None:
        self._digest.update(f"{at_s!r} {label}\n".encode())
        if self._trace is not None:
            self._trace(f"{at_s:.6f} {label}")

    def _tell(self, what: str) -> None:
        if self._trace is not None:
            self._trace(f"{self.loop.time():.6f} {what}")

    def _fault(self, context: dict[str, Any]) -> None:
        what = f"{context.get('message')}: {context.get('exception')!r}"
        self.court.charge(Rule.FAULTS, what, self.loop.time())

    def logged(self, level: str, event: str, **fields: object) -> None:
        """A line of a server's log."""
        self._tell(f"log {level}: {event} {fields}")
        if fields.get("exc_info"):
            if fields["exc_info"] is True:
                fields["exc_info"] = "".join(traceback.format_exception(*sys.exc_info())[-4:])
            self.court.charge(Rule.FAULTS, f"logged: {event}: {fields}", self.loop.time())

    def witness(self, place: Place, actor: Member) -> Witness:
        """Who watches the next connection of an actor."""
        self._connections += 1
        tables = self.home_tables if place.standing.name == HOME else self.edge_tables
        limits = self.script.limits
        waiting_max = limits.backlog_frames + limits.pushes_in_flight + limits.pulls_waiting + 3
        told = (self.court, tables, self.loop.time, self._digest.update, waiting_max + limits.queue_frames)
        witness: Witness
        if isinstance(actor, Neighbour):
            witness = NeighbourWitness(self._connections, actor.person, *told)
        elif place.standing.name == HOME:
            witness = Witness(self._connections, actor.person, *told)
            witness.on_revoked = self._bar_at_home
        else:
            told = (self.court, self.home_tables, *told[2:])
            witness = EdgeWitness(
                self._connections,
                actor.person,
                *told,
                own_tables=self.edge_tables,
                untroubled=self._untroubled,
            )
        if self._trace is not None:
            witness.on_frame = self._tell
        return witness

    def _untroubled(self) -> bool:
        return self.script.untroubled

    def _bar_at_home(self, cid: str) -> None:
        for seat in self.places[HOME].seats:
            seat.witness.bar(cid)

    # The run.

    def run(self) -> Outcome:
        """Play the seed to its end."""
        gc.disable()  # it would end abandoned generators at moments that no seed decides
        try:
            with captured(self.logged):
                self._run()
        except Exception as error:
            text = "".join(traceback.format_exception(error)[-4:])
            self.court.charge(Rule.FAULTS, f"escaped: {text}", self.loop.time())
        finally:
            violations = self.court.violations
            self._abandon()
            self.loop.close()
            gc.enable()
        requests = sum(member.asked for member in self.members)
        return Outcome(self.seed, self._digest.hexdigest(), violations, requests, self.loop.time())

    def _run(self) -> None:
        loop = self.loop
        self.home_tables.create(SHARED, "", people()[OWNER].root_key)
        self.edge_tables.create(SHARED, "", people()[OWNER].root_key, HOME)
        loop.run_until_complete(self._start())
        self._tasks = Leftovers(loop, [])
        self._play()
        self._calm_down()
        self._check_paid()
        self._leave()
        loop.run_until_complete(self._stop())
        loop.run_until_idle(1000.0)
        for what in self._tasks.at_end():
            self.court.charge(Rule.ZERO, what, loop.time())

    def _abandon(self) -> None:
        """End what a failed run left behind, so that nothing of it is heard of later."""
        with captured(lambda level, event, **fields: None):
            self.court = Court(frozenset())
            for task in asyncio.all_tasks(self.loop):
                task.cancel()
            with suppress(Exception):
                self.loop.run_for(1.0)

    async def _start(self) -> None:
        for place in self.places.values():
            await place.start()

    async def _stop(self) -> None:
        for place in self.places.values():
            await place.server.stop()

    def _play(self) -> None:
        loop, script = self.loop, self.script
        for member in self.members:
            loop.outside(self.chance.random() * 0.05, "arrive", member.connect)
        for event in script.events:
            loop.outside(event.at_s, event.name, lambda event=event: EVENTS[event.name](self, event.amount))  # type: ignore[misc]  # mypy cannot type its default
        loop.run_for(script.play_s)

    def _calm_down(self) -> None:
        """Good weather, for as long as anything needs to recover."""
        self.playing = False
        self.wall_offset_s = dict.fromkeys(self.wall_offset_s, 0.0)
        for place in self.places.values():
            place.server.services.sessions.reopen()
        self.loop.run_for(2 * SHUTDOWN_S)  # whoever restarts has
        home, edge = self.places[HOME].standing, self.places[EDGE].standing
        assert edge.keys.fragment is not None
        if edge.keys.fragment not in home.trusted:
            home.trusted.append(edge.keys.fragment)
            EVENTS["restart home"](self, 1.0)
        self.network.settle(GIVEN_UP_S)
        for member in self.members:
            member.calm()
        self.loop.run_for(CALM_S)

    def _check_paid(self) -> None:
        """Nothing is owed, nobody hears who may not, and what is pulled is what there is."""
        for commit in self.home_tables.journal:
            if commit.kind is Kind.REVOKE:
                for place in self.places.values():
                    for seat in place.seats:
                        seat.witness.bar(commit.mark.decode())
        self._check_settled()
        self._probe()
        self._check_settled()
        self._pull_all()
        for mark in check_journal(self.home_tables.journal):
            self.court.charge(Rule.ONCE, f"{mark!r} was applied twice", self.loop.time())

    def _check_settled(self) -> None:
        for place in self.places.values():
            for seat in place.seats:
                if not seat.line.is_closing() and seat.witness.closed_with is None:
                    seat.witness.check_settled()

    def _probe(self) -> None:
        """Pushes into the shared space at either server: whose access was revoked hears nothing of them."""
        for at in (HOME, EDGE):
            probe = self._member_at(at)
            probe.hang_up()
            self.loop.run_for(1.0)

            def push(probe: Member = probe) -> None:
                probe.renew()
                probe.connect()
                probe.calm()
                probe.subscribe()
                probe.push(str(SHARED), probe.person.grants[probe._grant][0])

            self.loop.outside(0.0, "probe", push)
            self.loop.run_for(5.0)

    def _member_at(self, at: str) -> Member:
        return next(one for one in self.members if one.stage is self.places[at] and type(one) is Member)

    def _pull_all(self) -> None:
        """Everybody at the edge comes back, takes part again and pulls from the beginning."""
        edge = self.places[EDGE]
        members = [one for one in self.members if one.stage is edge and type(one) is Member]
        for member in members:
            member.hang_up()
        self.loop.run_for(1.0)
        begun = len(edge.seats)

        def come_back() -> None:
            for member in members:
                member.renew()
                member.connect()
                member.calm()

        self.loop.outside(0.0, "come back", come_back)
        for _ in range(
            PULLS_MAX
        ):  # a connection whose life ends takes those of its requests along that it lost once
            self.loop.outside(1.0, "pull", lambda: self._pull_missing(edge.seats[begun:], members))
            self.loop.run_for(30.0)
        for seat in edge.seats:
            if isinstance(seat.witness, EdgeWitness):
                seat.witness.check_at_home()
        for seat in edge.seats[begun:]:
            assert isinstance(seat.witness, EdgeWitness)
            seat.witness.check_settled()
            seat.witness.check_pulled()

    def _pull_missing(self, seats: list[Seat], members: list[Member]) -> None:
        for seat, member in zip(seats, members, strict=True):
            assert isinstance(seat.witness, EdgeWitness)
            if seat.witness.pulled is None:
                member.pull_all()

    def _leave(self) -> None:
        for member in self.members:
            member.hang_up()
        self.loop.run_for(GONE_S)
        now_s = self.loop.time()
        for name, usage in self.places[HOME].server.quotas.usages().items():
            if usage.connections or usage.spaces:
                self.court.charge(Rule.ZERO, f"{name} still uses {usage}", now_s)
        for home in self.places[EDGE].server.forwarder.homes:
            if home.link.state is not LinkState.IDLE or home.wanted:
                what = f"the link is {home.link.state}, {len(home.entries)} spaces are wanted"
                self.court.charge(Rule.ZERO, what, now_s)
        if self.network.wires:
            self.court.charge(Rule.ZERO, f"{len(self.network.wires)} connections are left", now_s)
        for place in self.places.values():
            for what in place.leftovers.of_objects():
                self.court.charge(Rule.ZERO, f"{place.standing.name}: {what}", now_s)
        for what in self._tasks.since_start():
            self.court.charge(Rule.ZERO, what, now_s)
