"""One run of a cluster over one modelled database, a simulated bus and a seed.

A run has five parts: the nodes start; members play, in whatever weather of bus and database; the weather
turns good for longer than anything needs to recover; everything that is owed must have been paid, and
everybody sees everybody; all leave, and nothing may be left. Then the nodes stop.
"""

import asyncio
import gc
import hashlib
import random
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, NoReturn

from tests.simulation.actor import Actor
from tests.simulation.cast import OWNER, SHARED, WALL_START_S, people
from tests.simulation.cluster.bus import BusWeather, Hub
from tests.simulation.cluster.events import EVENTS
from tests.simulation.cluster.members import Member
from tests.simulation.cluster.parts import ClusterParts
from tests.simulation.cluster.script import ClusterScript, prompt_s, write_script
from tests.simulation.cluster.servers import SHUTDOWN_S, Around, Node
from tests.simulation.cluster.witnesses import MemberWitness, View, is_told
from tests.simulation.database import Database, Weather
from tests.simulation.exchanges import Asked
from tests.simulation.leftovers import Leftovers
from tests.simulation.line import Line
from tests.simulation.logs import captured
from tests.simulation.loop import SimulatedLoop
from tests.simulation.rules import ALL, Court, Rule
from tests.simulation.system import CLIENT_PATH, UpgradeRequest
from tests.simulation.tables import Commit, Kind, Tables
from tests.simulation.world import UPGRADE, Client, Outcome, Seat

STEPS_MAX: Final = 600_000
CALM_S: Final = 75.0
"""Longer than the driver waits for an answer, a session for a reader, and than presence lasts."""
WRITTEN_S: Final = 0.1
"""How soon after somebody has come something is written at most."""
SHOWN_S: Final = 30.0
"""How often members show that they are there."""
SEEN_S: Final = 3.0
"""Within which time they are seen at every node, over a bus without faults."""
LOOKED_S: Final = 2.0
FORGOTTEN_S: Final = 40.0
"""After that no node hears of a space any more to which nobody listens."""
GHOST_S: Final = 45.0 + 5.0
"""How long somebody may be shown at most after he has left: as long as presence lasts, and a look behind."""
GONE_S: Final = 120.0
"""After the last client has left, by then nothing is kept for anybody."""
SLACK_S: Final = 0.1
COUNTED: Final = frozenset(
    {
        "heard",
        "unread",
        "filled",
        "late",
        "found_behind",
        "connection",
        "ignored",
        "bus",
        "_bus",
        "_events",
        "_gone",
        "_known_invitations",
        "_nodes",
        "_nodes_ignored",
        "_numbers",
        "homes",
        "root_keys",
    }
)
"""What is counted since the start, which nodes there are, and what is remembered within bounds."""


class Journal(list[Commit]):
    """What was committed; tells of each."""

    def __init__(self, told: Callable[[Commit], None]) -> None:
        super().__init__()
        self._told = told

    def append(self, commit: Commit) -> None:
        super().append(commit)
        self._told(commit)


class Place:
    """A stage for actors: one node, whichever life of it runs just now, or whichever node there is."""

    def __init__(self, world: "ClusterWorld", number: int | None) -> None:
        self._world = world
        self._number = number
        self.weights = world.script.weights
        self.people = people()
        self.tables = world.tables

    @property
    def playing(self) -> bool:
        """Whether actors still ask for things of their own accord."""
        return self._world.playing

    @property
    def comes_back(self) -> bool:
        """A node that lets nobody in is started anew."""
        return True

    def open_line(self, actor: Actor) -> tuple[Line, MemberWitness] | None:
        """A TCP connection whose upgrade was just read."""
        return self._world.open_line(actor, self._number)

    def exchange(self, asked: Asked, *, pause_s: float, hang_up_s: float | None) -> NoReturn:
        """There are no files here."""
        raise LookupError("there are no files here")

    def next_upload(self) -> NoReturn:
        """There are no files here."""
        raise LookupError("there are no files here")


class ClusterWorld:
    """Nodes, their clients, the bus between them and the database under them.

    Args:
        trace: told every outside event, for whoever looks at a failure.
        parts: what to put in place of the nodes' own.
    """

    def __init__(
        self,
        seed: int,
        *,
        rules: frozenset[Rule] = ALL,
        trace: Callable[[str], None] | None = None,
        parts: ClusterParts | None = None,
    ) -> None:
        self.seed = seed
        self.chance = random.Random(seed)
        self.script: ClusterScript = write_script(self.chance)
        self.playing = True
        self.court = Court(rules)
        self._trace = trace
        self._digest = hashlib.blake2b(digest_size=16)
        self.loop = SimulatedLoop(
            self.fork(),
            callback_s_max=self.script.callback_s_max,
            steps_max=STEPS_MAX,
            on_outside=self._note,
            on_fault=self._fault,
        )
        loop = self.loop
        self.tables = Tables(self.wall, loop.time, self.fork(), journal=Journal(self._committed))
        self.tables.on_invited = self._invited
        self.hub = Hub(loop.outside, loop.time, self.fork())
        self.hub.weather = self.script.bus
        self.around = Around(loop, self.script, self.hub, self.wall, parts or ClusterParts())
        self.databases = [
            Database(self.tables, Weather(latency_s=0.0), chance=self.fork(), schedule=loop.outside)
            for _ in range(self.script.nodes)
        ]
        self.nodes: list[Node] = []
        self.leftovers: list[Leftovers] = []
        self.seats: list[Seat] = []
        self.heard_s = self.script.heard_s
        """Within which time what is committed now is heard of; None: some time."""
        self.restarting: dict[int, asyncio.Task[None]] = {}
        self._seen_s: dict[str, float] = {}
        """When each pseudonym was last present at its node."""
        self.members = [
            Member(Place(self, at), name, temper, self.fork(), loop.outside)
            for at, name, temper in self.script.members
        ]

    def fork(self) -> random.Random:
        """Chance of its own for one part of the world."""
        return random.Random(self.chance.getrandbits(64))

    def wall(self) -> float:
        """The wall clock of all."""
        return WALL_START_S + self.loop.time()

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
        """A line of a node's log."""
        self._tell(f"log {level}: {event} {fields}")
        if fields.get("exc_info"):
            if fields["exc_info"] is True:
                fields["exc_info"] = "".join(traceback.format_exception(*sys.exc_info())[-4:])
            self.court.charge(Rule.FAULTS, f"logged: {event}: {fields}", self.loop.time())

    # The stage.

    def open_line(self, actor: Actor, at: int | None) -> tuple[Line, MemberWitness] | None:
        """Connect an actor to a node; to any that there is without a number."""
        open_now = [
            number
            for number, node in enumerate(self.nodes)
            if node.is_listening and not node.services.draining and at in (None, number)
        ]
        if not open_now:
            return None
        number = self.chance.choice(open_now)
        node, limits, loop = self.nodes[number], self.script.limits, self.loop
        waiting_max = limits.backlog_frames + limits.pushes_in_flight + limits.pulls_waiting + 3
        witness = MemberWitness(
            len(self.seats) + 1,
            actor.person,
            self.court,
            self.tables,
            loop.time,
            self._digest.update,
            waiting_max + limits.queue_frames,
        )
        witness.node = number
        witness.on_subscribed = lambda space: self._subscribed(witness, space)
        witness.on_revoked = lambda cid: self._revoked(number, cid)
        witness.may_say_goodbye = lambda: not node.is_listening or node.services.draining
        if self._trace is not None:
            witness.on_frame = self._tell
        name = f"{actor.person.name} {witness.number} at {number}"
        line = Line(loop, loop.outside, self.fork(), Client(witness, actor), actor.temper.pace, name)
        witness.behind = lambda: line.behind
        self.seats.append(Seat(line, witness))
        socket = node.serve(line)
        line.attach(socket)
        socket.upgrade(CLIENT_PATH, UpgradeRequest("GET", "1.1", UPGRADE, node.services.subprotocols), b"")
        return line, witness

    def witnesses(self) -> list[MemberWitness]:
        """Of all connections there ever were."""
        return [seat.witness for seat in self.seats if isinstance(seat.witness, MemberWitness)]

    # What is owed at a time.

    def _committed(self, commit: Commit) -> None:
        within_s = self.heard_s
        if within_s is None or not is_told(commit):
            return
        space = str(commit.space)
        listening = [(one, times) for one in self.witnesses() if (times := one.listens(space)) is not None]

        def check() -> None:
            for witness, times in listening:
                if witness.listens(space) == times:
                    witness.check_heard(commit, within_s=within_s)

        self.loop.outside(within_s + SLACK_S, "to be heard", check)

    def _invited(self, mailbox: str) -> None:
        """Who listens to a space has signed in, and hears of what comes to his mailbox."""
        if self.heard_s is None:
            return
        within_s, now_s = self.heard_s + self.script.limits.invitation_delay_max_s, self.loop.time()
        owed = [
            (one, times)
            for one in self.witnesses()
            if one.person.mailbox == mailbox and (times := one.listens()) is not None
        ]

        def check() -> None:
            for witness, times in owed:
                if witness.listens() == times:
                    witness.check_invited(now_s, within_s=within_s)

        self.loop.outside(within_s + SLACK_S, "to be heard", check)

    def _subscribed(self, witness: MemberWitness, space: str) -> None:
        """What was committed while the answer was on its way is owed as well."""
        within_s, now_s, times = self.heard_s, self.loop.time(), witness.listens(space)
        if within_s is None or times is None:
            return

        def check() -> None:
            if witness.listens(space) == times:
                for commit in self.tables.journal:
                    if str(commit.space) == space and commit.at_s <= now_s and is_told(commit):
                        witness.check_heard(commit, within_s=within_s)

        self.loop.outside(within_s + SLACK_S, "to be heard", check)

    def _revoked(self, at: int, cid: str) -> None:
        """A revocation was answered: at its node nothing more is heard, and soon nothing at the others."""
        self._bar(cid, at)
        if self.script.revoked_s is not None:
            self.loop.outside(self.script.revoked_s + SLACK_S, "revoked", lambda: self._bar(cid))

    def _bar(self, cid: str, at: int | None = None) -> None:
        for witness in self.witnesses():
            if at in (None, witness.node):
                witness.bar(cid)

    def present(self) -> View:
        """Who is present in the shared space, at all nodes."""
        return {
            entry.peer: entry.data
            for node in self.nodes
            if node.is_listening
            for entry in node.services.presence.everybody(SHARED)
        }

    def _look_for_ghosts(self) -> None:
        """Nobody is shown who has left long ago."""
        now_s = self.loop.time()
        self._seen_s.update(dict.fromkeys(self.present(), now_s))
        for witness in self.witnesses():
            if witness.listens() is None:
                continue
            for peer in witness.view:
                if now_s - self._seen_s.setdefault(peer, now_s) > GHOST_S:
                    what = f"connection {witness.number} still sees {peer[:6]}"
                    self.court.charge(Rule.PRESENCE, what, now_s)
        self.loop.outside(LOOKED_S, "look", self._look_for_ghosts)

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
        self.tables.create(SHARED, "", people()[OWNER].root_key)
        loop.run_until_complete(self._start())
        self._tasks = Leftovers(loop, [])
        loop.outside(LOOKED_S, "look", self._look_for_ghosts)
        self._play()
        self._calm_down()
        self._check_paid()
        self._leave()
        loop.run_until_complete(self._stop())
        loop.run_until_idle(LOOKED_S / 2)
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
        for number in range(self.script.nodes):
            node = Node(f"node {number}", self.around, self.databases[number], self.fork())
            self.nodes.append(node)
            self.leftovers.append(await self.begin(node))

    async def begin(self, node: Node) -> Leftovers:
        """Begin a life of a node."""
        await node.start()
        for _ in range(4):  # what the background does once, at the start, is over then
            await asyncio.sleep(0)
        node.is_listening = True
        return Leftovers(self.loop, [node.services, node.nodes, node.socket.pipelined], ignored=COUNTED)

    async def _stop(self) -> None:
        for node in self.nodes:
            await node.stop()

    def _play(self) -> None:
        loop, script = self.loop, self.script
        for database in self.databases:
            database.weather = script.database
        for member in self.members:
            loop.outside(self.chance.random() * script.arrive_s, "arrive", member.connect)
        for event in script.events:
            loop.outside(event.at_s, event.name, lambda event=event: EVENTS[event.name](self, event.amount))  # type: ignore[misc]  # mypy cannot type its default
        loop.run_for(script.play_s)

    def _calm_down(self) -> None:
        """Good weather, for as long as anything needs to recover; then all show that they are there."""
        self.playing = False
        for database in self.databases:
            database.weather = Weather()
        # Whoever restarts has, the bus is back, and those of whom nothing is heard any more have been swept.
        self.loop.run_for(script_end_s(self.script) + self.script.quiet_s)
        self.hub.weather = BusWeather(latency_s=self.script.bus.latency_s)
        for member in self.members:
            member.calm()
        self.loop.run_for(CALM_S)

    def _check_paid(self) -> None:
        """Nothing is owed, nobody hears who may not, everybody sees everybody."""
        for commit in self.tables.journal:
            if commit.kind is Kind.REVOKE:
                self._bar(commit.mark.decode())
        self._check_settled()
        for number in range(len(self.nodes)):
            self._probe(number)
        self._check_settled()
        self._check_presence()

    def _check_settled(self) -> None:
        for seat in self.seats:
            if not seat.line.is_closing() and seat.witness.closed_with is None:
                seat.witness.check_settled()

    def _probe(self, number: int) -> None:
        """A push at one node, which everybody hears of but those whose access was revoked."""
        probe = next(one for one in self.members if one.person.name == OWNER)
        probe.hang_up()
        self.loop.run_for(1.0)

        def push() -> None:
            probe.visit(Place(self, number))
            probe.push(str(SHARED), probe.person.grants[0][0])

        self.loop.outside(0.0, "probe", push)
        self.loop.run_for(2.0)

    def _check_presence(self) -> None:
        """All come back, one after the other, and show that they are there until nobody need know of them any
        more but by that."""
        for member in self.members:
            member.hang_up()
        self.loop.run_for(FORGOTTEN_S)
        begun = len(self.seats)
        self.heard_s = prompt_s(self.hub.weather)
        for number, member in enumerate(self.members):
            self.loop.outside(number * 0.4, "come back", member.come_back)
            self.loop.outside(number * 0.4 + self.chance.random() * WRITTEN_S, "write", self.members[0].write)
        for _ in range(2):
            self.loop.run_for(SHOWN_S / 2 + SEEN_S)
            present = self.present()
            for seat in self.seats[begun:]:
                if isinstance(seat.witness, MemberWitness) and seat.witness.listens() is not None:
                    seat.witness.check_view(present, self._own(seat.witness, present))
            for member in self.members:
                member.show()
            self.loop.run_for(SEEN_S)

    def _own(self, witness: MemberWitness, present: View) -> str | None:
        """The pseudonym of a connection, which shows its number."""
        return next((peer for peer, data in present.items() if data == witness.own_mark), None)

    def _leave(self) -> None:
        for member in self.members:
            member.hang_up()
        self.loop.run_for(GONE_S)
        now_s = self.loop.time()
        for node, leftovers in zip(self.nodes, self.leftovers, strict=True):
            for what in leftovers.of_objects():
                self.court.charge(Rule.ZERO, f"{node.name}: {what}", now_s)
        for what in self._tasks.since_start():
            self.court.charge(Rule.ZERO, what, now_s)


def script_end_s(script: ClusterScript) -> float:
    """How long what a script begins may last."""
    return 2 * SHUTDOWN_S + 10.0 if script.events else 1.0
