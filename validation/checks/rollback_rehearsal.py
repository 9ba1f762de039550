"""The whole way back, on a copy of the operator's data, with the incumbent itself (docs/validation.md 6.6).

The incumbent opens what the candidate has made of the database. A less-sync refuses migrations that it does
not know; with `down` the candidate's are taken back before it starts, as docs/migrations.md has it.
"""

import asyncio
import math
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Final

from less_sync.sync.protocol.messages import PullRecord, PushResult
from less_sync.validation.checks.backup_paths import incumbent_knows, taken_back
from less_sync.validation.context import Context
from less_sync.validation.conversation import Conversation
from less_sync.validation.evidence import Evidence
from less_sync.validation.holdings import Holdings, read_through, write_through
from less_sync.validation.matrix import TargetSpec
from less_sync.validation.outcome import Faulty, slug
from less_sync.validation.people import Person
from less_sync.validation.procedure import AtMost, Looser, Parameter, Procedure, Same
from less_sync.validation.relay import Relay, relay
from less_sync.validation.scratch import Copy
from less_sync.validation.scratch_databases import connected
from less_sync.validation.scratch_server import READY_S, ScratchServer
from less_sync.validation.shape import versions
from less_sync.validation.spaces import Space, change, dek, read
from less_sync.validation.targets import Target

WRITTEN_BY_INCUMBENT: Final = 20
FILES: Final = 2
MEMBERS: Final = 2
ANSWER_S: Final = 10.0
RECONNECT_S: Final = 0.05
WRITE_BLOB_BYTES: Final = 64
CANDIDATE: Final = "candidate"
INCUMBENT: Final = "incumbent"


async def incumbent_opens(context: Context) -> None:
    """Candidate, incumbent, candidate again on one database: each reads what the other wrote, and writes."""
    scratch, measured = context.run.scratch, context.measured
    restored = await scratch.restored(context.say)
    person = scratch.person("way-back")
    async with scratch.copy(restored) as copy:
        async with scratch.candidate(copy, context.say) as server:
            files = FILES if context.run.manifest.features["files"] else 0
            records = context.number("records")
            await write_through(context, server.target, person, records=records, files=files, members=MEMBERS)
            written = await read_through(context, server.target, person)
        measured.number("records", len(written.records))
        found = await _down(context, copy)
        ready_s = max(READY_S, float(context.number("healthy_s")))
        async with scratch.incumbent(copy, context.say, ready_s=ready_s) as server:
            measured.number("healthy_s", math.ceil(server.started_ms / 1000))
            _compare(context, written, await read_through(context, server.target, person), "incumbent")
            await write_through(context, server.target, person, records=WRITTEN_BY_INCUMBENT)
            more = await read_through(context, server.target, person)
        await _measure_versions(context, copy, found)
        added = len(more.records) - len(written.records)
        measured.same("written", WRITTEN_BY_INCUMBENT, added, "not-written")
        async with scratch.candidate(copy, context.say) as server:
            _compare(context, more, await read_through(context, server.target, person), "candidate-again")


def _compare(context: Context, wanted: Holdings, seen: Holdings, where: str) -> None:
    """Everything that the other server listed, byte for byte."""
    for name in ("records", "files", "members", "contents", "cursor"):
        mine, theirs = getattr(wanted, name), getattr(seen, name)
        context.measured.same("read", mine, theirs, slug("differs", name, where))
    context.say(f"{where}: {len(seen.records)} records, {len(seen.files)} files and the members read")


async def _down(context: Context, copy: Copy) -> tuple[int, ...]:
    """Take back what the incumbent does not know, if that is the way; the migrations that it will find."""
    if context.check.parameters["down"] is True:
        known = await incumbent_knows(context)
        await taken_back(context, copy, known.versions)
    async with connected(copy.url) as connection:
        return await versions(connection)


async def _measure_versions(context: Context, copy: Copy, found: tuple[int, ...]) -> None:
    """The incumbent has left the bookkeeping as it found it: what is lost was lost on the way to it."""
    async with connected(copy.url) as connection:
        context.measured.same("losses", found, await versions(connection), "other-versions")


@dataclass(slots=True)
class Writer:
    """A client that pushes on a schedule, through whatever is in service, and remembers every answer."""

    context: Context
    person: Person
    target: Target
    interval_s: float
    space: Space
    acknowledged: dict[str, PullRecord] = field(default_factory=dict)
    """By id, as a pull has to bring it."""
    unanswered: dict[str, PullRecord] = field(default_factory=dict)
    """May have been written; their cursor is not known."""
    refused: str = ""
    """What a server said of a push that it should have taken."""

    async def run(self) -> None:
        """Push until cancelled, or until a push is refused."""
        while not self.refused:
            try:
                async with self.context.converse(self.person, target=self.target) as conversation:
                    await conversation.barrier()
                    await self._push(conversation)
            except (Faulty, TimeoutError):
                pass  # between two servers there is none; the push under way counts as unanswered
            await asyncio.sleep(RECONNECT_S)

    async def _push(self, conversation: Conversation) -> None:
        next_s = time.monotonic()
        while not self.refused:
            await asyncio.sleep(max(0.0, next_s - time.monotonic()))
            next_s = max(next_s, time.monotonic() - 1.0) + self.interval_s
            await self._one(conversation)

    async def _one(self, conversation: Conversation) -> None:
        stream = self.context.stream
        name, blob, key = str(stream.uuid()), stream.take(WRITE_BLOB_BYTES), dek(stream)
        record = PullRecord(space=str(self.space.id), id=name, blob=blob, cursor=0, dek=key)
        self.unanswered[name] = record
        params = self.space.params(changes=[change(name, blob, dek=key)])
        response = await conversation.ask("push", params, ANSWER_S)
        if response.error is not None:
            # After `internal` a write may have been done; all else has no business here.
            if response.error.code != "internal":
                self.refused = response.error.code
            return
        try:
            result = read(PushResult, response.result, "push")
        except Faulty:
            self.refused = "shape"
            return
        if result.ok:
            del self.unanswered[name]
            self.acknowledged[name] = replace_cursor(record, result.cursor)
        elif result.error != "internal":
            self.refused = result.error


def replace_cursor(record: PullRecord, cursor: int) -> PullRecord:
    """The same record at a cursor."""
    return PullRecord(space=record.space, id=record.id, blob=record.blob, cursor=cursor, dek=record.dek)


async def no_loss(context: Context) -> None:
    """A client pushes while the servers are switched; nothing that was acknowledged is missing at the end."""
    scratch, measured = context.run.scratch, context.measured
    restored = await scratch.restored(context.say)
    person = scratch.person("no-loss")
    async with scratch.copy(restored) as copy, relay() as way, _through(way) as target:
        space = Space(await person.personal_space())
        # Thousands of pushes would be all that the evidence has.
        quiet = replace(context, evidence=Evidence())
        writer = Writer(quiet, person, target, 1.0 / context.number("rate_per_s"), space)
        writing = asyncio.create_task(writer.run())
        try:
            await _stage(context, copy, way, writer, CANDIDATE)
            found = await _down(context, copy)
            between = await _stage(context, copy, way, writer, INCUMBENT, person)
            await _measure_versions(context, copy, found)
            final = await _stage(context, copy, way, writer, CANDIDATE, person)
        finally:
            writing.cancel()
            await asyncio.wait([writing])
        if not writing.cancelled():
            writing.result()  # it ended by itself: what was refused is measured, all else is raised
        measured.same("taken", "", writer.refused, slug("push-refused", writer.refused or "none"))
        assert between is not None
        assert final is not None
        _compare_final(context, writer, between, final)


@asynccontextmanager
async def _through(way: Relay) -> AsyncIterator[Target]:
    target = Target(TargetSpec("relay", way.url, writes="throwaway", scratch=True), way.url)
    try:
        yield target
    finally:
        await asyncio.shield(target.close())


async def _stage(
    context: Context, copy: Copy, way: Relay, writer: Writer, role: str, reader: Person | None = None
) -> Holdings | None:
    """One server in service for a while. What the reader then finds there, when nobody writes any more."""
    scratch = context.run.scratch
    async with AsyncExitStack() as stack:
        started = scratch.candidate if role == CANDIDATE else scratch.incumbent
        server: ScratchServer = await stack.enter_async_context(started(copy, context.say))
        before = len(writer.acknowledged)
        await way.lead_to(server.port)
        await asyncio.sleep(context.number("stage_ms") / 1000)
        count = len(writer.acknowledged) - before
        context.say(f"{role} in service: {count} pushes acknowledged, {len(writer.unanswered)} unanswered")
        context.measured.same("stages", True, count > 0, slug("nothing-acknowledged", role))
        await way.lead_to(None)
        if reader is None:
            return None
        # A push that was under way when its connection was cut is done by the time that this one is answered.
        quiet = replace(context, evidence=Evidence())
        await write_through(quiet, server.target, reader, records=1)
        return await read_through(quiet, server.target, reader)


def _compare_final(context: Context, writer: Writer, between: Holdings, final: Holdings) -> None:
    measured = context.measured
    seen = {one.id: one for one in final.records}
    lost = writer.acknowledged.keys() - seen.keys()
    context.say(f"{len(writer.acknowledged)} acknowledged, {len(lost)} of them lost")
    measured.number("acknowledged", len(writer.acknowledged))
    measured.number("unanswered", len(writer.unanswered))
    measured.same("kept", set(), lost, "lost")
    measured.same("kept", len(seen), len(final.records), "twice")
    there = [name for name in writer.acknowledged if name in seen]
    measured.same(
        "kept", [writer.acknowledged[name] for name in there], [seen[name] for name in there], "changed"
    )
    maybe = [name for name in writer.unanswered if name in seen]
    mine = [replace_cursor(writer.unanswered[name], seen[name].cursor) for name in maybe]
    measured.same("kept", mine, [seen[name] for name in maybe], "changed")
    # Both readers wrote one record each.
    others = seen.keys() - writer.acknowledged.keys() - writer.unanswered.keys()
    measured.same("kept", 2, len(others), "unexpected")
    early = [one for one in final.records if one.cursor <= between.cursor]
    measured.same("states", list(between.records), early, "states-differ")


_DOWN: Final = {"down": Parameter(False, Looser.UP)}
"""Whether the candidate's migrations are taken back before the incumbent starts."""

PROCEDURES: Final = (
    Procedure(
        "incumbent-opens",
        "rollback",
        incumbent_opens,
        "the incumbent opens what the candidate wrote, reads all of it and writes, and the other way round",
        (Same("read"), Same("written"), AtMost("healthy_s", "healthy_s", "deadline"), Same("losses")),
        parameters={
            "records": Parameter(200, Looser.DOWN),
            "healthy_s": Parameter(20, Looser.UP),
            **_DOWN,
        },
        timeout_s=900,
        exclusive=("scratch",),
        previous=True,
    ),
    Procedure(
        "no-loss",
        "rollback",
        no_loss,
        "no acknowledged push is lost while candidate, incumbent and candidate take over from each other",
        (Same("taken"), Same("stages"), Same("kept"), Same("states"), Same("losses")),
        parameters={
            "rate_per_s": Parameter(20, Looser.DOWN),
            "stage_ms": Parameter(3000, Looser.DOWN),
            **_DOWN,
        },
        timeout_s=300,
        exclusive=("scratch",),
        previous=True,
    ),
)
