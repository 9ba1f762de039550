"""What a procedure is given, and the only things it may do: look at its target, say what it saw, measure."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from less_sync.validation.evidence import Evidence
from less_sync.validation.generated import Stream
from less_sync.validation.matrix import Check, Manifest
from less_sync.validation.measured import Measured
from less_sync.validation.outcome import Blocked

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import asyncpg

    from less_sync.validation.conversation import Conversation
    from less_sync.validation.inputs import Inputs
    from less_sync.validation.made import Made
    from less_sync.validation.people import People, Person
    from less_sync.validation.redact import Redactor
    from less_sync.validation.scratch import Scratch
    from less_sync.validation.targets import Answer, Target
    from less_sync.validation.verify import Verdict

PERSON_SOCKETS_MAX: Final = 2
"""Open at a time for one mailbox: an existing server closes the fourth."""


@dataclass(slots=True)
class Run:
    """What all checks of a run share."""

    id: bytes
    """16 bytes: the seed of everything random."""
    kind: str
    stage: str
    manifest: Manifest
    inputs: "Inputs"
    redactor: "Redactor"
    scratch: "Scratch"
    people: "People"
    targets: "Mapping[str, Target]"
    """By name, those that have an address."""
    others_done: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when every check has ended but those of a window, which end last."""
    looked: set[str] = field(default_factory=set)
    """Windows that have taken their first look."""
    look_taken: asyncio.Event = field(default_factory=asyncio.Event)
    """Set whenever one more has."""
    left_behind: "list[tuple[str, Made]]" = field(default_factory=list)
    """What could not be removed, each with its target."""
    verifier: "Callable[[Path, str, str], Verdict] | None" = None
    """Says of a report's folder whether it may be acted on, as one of a kind and a stage."""
    made: "dict[str, list[Made]]" = field(default_factory=dict)
    """What checks left for the one that cleans up, by target."""
    confirmed: set[str] = field(default_factory=set)
    """Ids among them that a server said it had made: whether they are there is no question any more."""
    version: str = ""
    """Of this installation."""
    wall_clock_s: Callable[[], float] = time.time
    """This machine's clock, Unix time."""
    facts: dict[str, object] = field(default_factory=dict)
    """What later checks and the report make use of, by name."""

    @property
    def candidate_version(self) -> str:
        """What a candidate has to be; empty where nobody says."""
        return self.inputs.value("CANDIDATE_VERSION") or self.version


@dataclass(slots=True)
class Context:
    """One attempt at one check. Procedures measure into `measured`."""

    check: Check
    run: Run
    stream: Stream
    measured: Measured = field(default_factory=Measured)
    evidence: Evidence = field(default_factory=Evidence)
    lines: list[str] = field(default_factory=list)
    """Its log, one line per step."""
    began_s: float = field(default_factory=time.monotonic)

    def say(self, text: str) -> None:
        """Add a line to the check's log. Secrets in it are masked when it is written."""
        self.lines.append(text)

    async def until_others_done(self) -> None:
        """For a window, whose first look is taken: return when every other check has ended."""
        self.run.looked.add(self.check.id)
        self.run.look_taken.set()
        await self.run.others_done.wait()

    def number(self, name: str) -> int:
        """A whole number among the parameters."""
        value = self.check.parameters[name]
        assert isinstance(value, int), name
        return value

    def text(self, name: str) -> str:
        """A text among the parameters."""
        value = self.check.parameters[name]
        assert isinstance(value, str), name
        return value

    @property
    def target(self) -> "Target":
        """The server that this check looks at.

        Raises:
            Blocked: it has no address.
        """
        return self.target_named(self.check.target)

    def target_named(self, name: str) -> "Target":
        """Any server of the run. Raises as `target`."""
        target = self.run.targets.get(name)
        if target is None:
            spec = self.run.manifest.targets.get(name)
            raise Blocked("input", spec.input if spec is not None and spec.input else name)
        return target

    async def request(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        person: "Person | None" = None,
        target: "Target | None" = None,
    ) -> "Answer":
        """One HTTP request to the target, with the person's token if one is given; never follows a redirect.

        Raises:
            NotReached: no byte of an answer came.
            Faulty: `cut`, it ended in the middle; `deadline`.
            Broken: `write-refused`, the target may only be read.
        """
        where = target or self.target
        return await where.request(self, method, path, headers=headers or {}, body=body, person=person)

    @asynccontextmanager
    async def converse(
        self,
        person: "Person | None" = None,
        *,
        token: str | None = None,
        subprotocols: tuple[str, ...] = ("betterbase-rpc-v1",),
        target: "Target | None" = None,
    ) -> "AsyncIterator[Conversation]":
        """A WebSocket to the target, its `auth` sent already, with the person's token or another one.

        Raises:
            NotReached: nobody answered.
            Faulty: `upgrade:STATUS`.
        """
        where = target or self.target
        async with where.converse(self, person, token=token, subprotocols=subprotocols) as conversation:
            yield conversation

    @asynccontextmanager
    async def database(self) -> "AsyncIterator[asyncpg.Connection[asyncpg.Record]]":
        """The target's database, in a transaction that can write nothing.

        Raises:
            Blocked: its URL is not given.
        """
        async with self.target.database(self) as connection:
            yield connection
