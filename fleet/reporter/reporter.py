"""The task that tells a fleet plane of this server (docs/fleet.md).

It is on no client's path: it has its own connections, catches what goes wrong, and says so once until that
changes. Whoever starts it hands in a log, where the figures come from, and how the server is drained.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, Protocol
from uuid import uuid4

import msgspec

from less_sync.fleet.reporter.client import NoAnswer, Plane, Refused
from less_sync.fleet.reporter.grid import Grid, retry_wait_s
from less_sync.fleet.reporter.messages import Beaten, Identity, heartbeat_body, registration_body
from less_sync.fleet.reporter.report import Report
from less_sync.fleet.reporter.state import Kept, StateError, StateFile

FIRST_INTERVAL_S: Final = 60
"""Until a plane has said how often it wants to hear."""
LOCK_RETRY_S: Final = 10.0
REGISTER_EVERY_S: Final = 300.0
FORBIDDEN_S: Final = 900.0
FAREWELL_S_MAX: Final = 2.0

_UNAUTHORIZED: Final = (401, 404)
"""The plane does not know the token, or the agent any more."""
_FORBIDDEN: Final = 403
_GONE: Final = 410


class Log(Protocol):
    """Takes lines: a message, and fields."""

    def info(self, message: str, **fields: object) -> object:
        """Something that an operator may want to know."""

    def warning(self, message: str, **fields: object) -> object:
        """Something that an operator should look at."""

    def error(self, message: str, *, reason: str) -> object:
        """Something failed for good."""


async def _nothing() -> None:
    """For a server that cannot be drained."""


@dataclass(frozen=True, slots=True)
class Served:
    """What a reporter is handed of the server."""

    snapshot: Callable[[], Awaitable[Report]]
    """The figures as of now. It bounds its own time."""
    drain: Callable[[], Awaitable[None]] = _nothing
    """Let nobody in and send everybody away, until `resume`."""
    resume: Callable[[], Awaitable[None]] = _nothing


@dataclass(frozen=True, slots=True)
class Times:
    """Clocks and dice, which tests replace."""

    clock: Callable[[], float] = time.monotonic
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    chance: random.Random = field(default_factory=random.Random)


@dataclass(slots=True)
class Standing:
    """What metrics tell of a reporter."""

    beaten: int = 0
    """Heartbeats that the plane has taken."""
    failed: int = 0
    """Requests to it that did not do what they should."""
    connected: bool = False
    """Whether the last one did."""
    desired_version: str | None = None


class _Over(Exception):
    """There is nothing left to do."""


class Reporter:
    """Registers, beats, obeys. `run` is its whole life but for the `farewell`.

    Args:
        enrolment_token: what a first registration takes; None: this server must be registered already.
        minimal: tell of life and disk alone.
    """

    def __init__(
        self,
        plane: Plane,
        state: StateFile,
        identity: Identity,
        served: Served,
        log: Log,
        *,
        enrolment_token: str | None,
        minimal: bool = False,
        times: Times | None = None,
    ) -> None:
        self.standing: Final = Standing()
        self._plane: Final = plane
        self._state: Final = state
        self._identity: Final = identity
        self._served: Final = served
        self._log: Final = log
        self._enrolment_token: Final = enrolment_token
        self._minimal: Final = minimal
        self._times: Final = times or Times()
        self._boot_id: Final = str(uuid4())
        self._began_s: Final = self._times.clock()
        self._grid = Grid(self._began_s, FIRST_INTERVAL_S, self._times.chance)
        self._kept = Kept(instance_id="")
        self._sequence = 0
        self._last: Report | None = None
        self._must_register = False
        self._registered_s: float | None = None
        """When the last registration was tried."""
        self._failures = 0
        """In a row."""
        self._trouble = ""
        """What was told of as being wrong, in a word."""
        self._draining = False
        """Whether the plane wants it, and has been obeyed."""
        self._disobeyed = False
        """Whether it was told of that something else that the plane wants could not be done."""
        self._unkept = False
        """Whether what is on disk is older than what is used."""
        self._over = False

    async def run(self) -> None:
        """Report until cancelled. Returns early, having told why, when there is nothing left to do."""
        try:
            await self._begin()
            while True:
                await self._times.sleep(await self._turn())
        except _Over:
            self._over = True
        except StateError as error:
            self._over = True
            self._log.error("this server does not report to its fleet plane", reason=str(error))
        except Exception as error:
            self._over = True
            self._log.error("this server does not report to its fleet plane", reason=_told(error))

    async def farewell(self) -> None:
        """Say that this server stops, once `run` is cancelled. Takes 2 s at most, and raises nothing.

        The figures are those of the last heartbeat: nothing that stops is asked any more.
        """
        try:
            if not self._over and self._kept.token and self._last is not None:
                async with asyncio.timeout(FAREWELL_S_MAX):
                    await self._beat(msgspec.structs.replace(self._last, stopping=True))
        except Exception as error:
            self._log.info("the fleet plane was not told that this server stops", reason=_told(error))

    def give_back(self) -> None:
        """Let another process report from this data directory; `run` has ended."""
        self._state.give_back()

    async def _begin(self) -> None:
        """Be the only reporter of the data directory, and know who this server is.

        Another one may be a server that is about to end, or one that was started here by mistake.
        """
        waits = False
        while not self._state.take():
            if not waits:
                self._log.warning(
                    "another process of this data directory reports to the fleet plane: this one waits"
                )
            waits = True
            await self._times.sleep(LOCK_RETRY_S)
        kept = await self._state.load()
        if kept.plane != self._plane.url:
            # A token is a secret between this server and the plane that gave it.
            kept = Kept(instance_id=kept.instance_id, plane=self._plane.url)
        if not kept.token and self._enrolment_token is None:
            raise StateError("it is not registered there, and FLEET_ENROLMENT_TOKEN is not set")
        self._kept = kept
        self.standing.desired_version = kept.desired_version

    async def _turn(self) -> float:
        """Do what is due; returns how long to wait then."""
        try:
            if self._must_register or not self._kept.token:
                return await self._register()
            report = await self._served.snapshot()
            self._last = report.minimal() if self._minimal else report
            beaten = await self._beat(self._last)
        except Refused as error:
            return self._refused(error)
        except NoAnswer as error:
            return self._retry("no answer", str(error))
        except Exception as error:
            # A fault of this program's own must not end the reports, nor fill the log.
            self._failed("fault", _told(error))
            return self._grid.wait_s(self._times.clock())
        self._succeeded(beaten.interval_s)
        self.standing.beaten += 1
        if self._unkept:
            await self._keep(self._kept)
        await self._obey(beaten)
        return self._grid.wait_s(self._times.clock())

    async def _beat(self, report: Report) -> Beaten:
        self._sequence += 1
        body = heartbeat_body(
            report,
            sequence=self._sequence,
            boot_id=self._boot_id,
            version=self._identity.version,
            uptime_s=self._times.clock() - self._began_s,
            sent_at=sent_at(self._times.now()),
        )
        return await self._plane.heartbeat(self._kept.agent_id, body, self._kept.token)

    async def _register(self) -> float:
        """Register by the enrolment token, unless that was tried just now; returns how long to wait then."""
        now_s = self._times.clock()
        if self._registered_s is not None and now_s - self._registered_s < REGISTER_EVERY_S:
            return self._registered_s + REGISTER_EVERY_S - now_s
        assert self._enrolment_token is not None, "looked at before"
        answer = await self._plane.register(
            registration_body(self._identity, self._kept.instance_id), self._enrolment_token
        )
        self._registered_s = now_s
        if answer.token is None:
            raise NoAnswer("it has given no token")
        await self._keep(
            msgspec.structs.replace(
                self._kept, plane=self._plane.url, agent_id=answer.agent_id, token=answer.token
            )
        )
        self._must_register = False
        self._succeeded(answer.interval_s)
        self._log.info("registered with the fleet plane", agent_id=answer.agent_id, url=self._plane.url)
        return 0.0

    async def _obey(self, beaten: Beaten) -> None:
        """Do what the plane wants, as far as it is known here, when that has changed.

        Only a change is followed: what an operator does on this machine in between stands. What fails is
        tried again at the next heartbeat, and told of once.
        """
        try:
            await self._drain_or_resume(beaten.draining)
            await self._note_version(beaten.desired_version)
            if beaten.rotate_token:
                await self._rotate()
        except Exception as error:
            if not self._disobeyed:
                self._log.warning("what the fleet plane wants cannot be done", reason=_told(error))
            self._disobeyed = True
        else:
            self._disobeyed = False

    async def _drain_or_resume(self, wanted: bool | None) -> None:
        if wanted is None or wanted == self._draining:
            return
        await (self._served.drain if wanted else self._served.resume)()
        self._draining = wanted
        self._log.warning(
            "the fleet plane drains this server" if wanted else "the fleet plane lets this server serve again"
        )

    async def _note_version(self, wanted: str | None) -> None:
        if wanted == self._kept.desired_version:
            return
        self.standing.desired_version = wanted
        await self._keep(msgspec.structs.replace(self._kept, desired_version=wanted))
        self._log.info("the fleet plane wants a version", version=wanted, runs=self._identity.version)

    async def _rotate(self) -> None:
        """Take a new token for the one in use. If the answer is lost, the next heartbeat asks again."""
        body = registration_body(self._identity, self._kept.instance_id)
        answer = await self._plane.register(body, self._kept.token, rotate=True)
        if answer.token is None or answer.agent_id != self._kept.agent_id:
            raise NoAnswer("it has given no token of this agent")
        await self._keep(msgspec.structs.replace(self._kept, token=answer.token))
        self._log.info("the token for the fleet plane is a new one")

    async def _keep(self, kept: Kept) -> None:
        """Put it on disk, then use it. Where that fails it is used all the same, and kept once it can be."""
        try:
            await self._state.save(kept)
        except StateError as error:
            if not self._unkept:
                self._log.warning("what the fleet plane said is not kept", reason=str(error))
            self._unkept = True
        else:
            self._unkept = False
        self._kept = kept

    def _refused(self, error: Refused) -> float:
        registering = self._must_register or not self._kept.token
        if error.status == _GONE:
            self.standing.failed += 1
            self.standing.connected = False
            self._log.error(
                "the fleet plane has retired this server, which reports no more",
                reason=f"to enrol it again: remove {self._state.path}, set another FLEET_ENROLMENT_TOKEN, "
                "start the server again",
            )
            raise _Over
        if error.status == _FORBIDDEN:
            self._failed("refused", str(error))
            return FORBIDDEN_S
        if error.status in _UNAUTHORIZED:
            self._failed("refused", f"{error}{' to a registration' if registering else ''}")
            if registering:
                self._registered_s = self._times.clock()
                # The token may be known again, as that of a plane whose database was put back.
                self._must_register = False
                return REGISTER_EVERY_S
            self._must_register = self._enrolment_token is not None
            return 0.0 if self._must_register else REGISTER_EVERY_S
        return self._retry("status", str(error), error.retry_after_s)

    def _retry(self, trouble: str, reason: str, retry_after_s: float = 0.0) -> float:
        self._failures += 1
        self._failed(trouble, reason)
        return retry_wait_s(self._failures, self._times.chance, retry_after_s)

    def _failed(self, trouble: str, reason: str) -> None:
        """Tell of what is wrong, unless that was told last."""
        self.standing.failed += 1
        self.standing.connected = False
        if trouble != self._trouble:
            self._log.warning("the fleet plane does not hear of this server", trouble=trouble, reason=reason)
        self._trouble = trouble

    def _succeeded(self, interval_s: int) -> None:
        self.standing.connected = True
        self._failures = 0
        if self._trouble:
            self._log.info("the fleet plane hears of this server again")
        self._trouble = ""
        if interval_s != self._grid.interval_s:
            self._grid = Grid(self._times.clock(), interval_s, self._times.chance)


def sent_at(moment: datetime) -> str:
    """As it stands in a heartbeat: RFC 3339, UTC, milliseconds."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _told(error: Exception) -> str:
    """For a log line; what a plane or the network did needs no name of a class before it."""
    if isinstance(error, NoAnswer | Refused):
        return str(error)
    return f"{type(error).__name__}: {error}"
