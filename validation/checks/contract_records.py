"""Lane `contract`, records: what is pushed is pulled, and nothing else is (docs/protocol.md 7.4 and 7.5)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from less_sync.sync.protocol.frames import FRAME_BYTES_MAX, Response, encode_request
from less_sync.sync.protocol.messages import PullRecord, PushResult
from less_sync.validation.context import Context
from less_sync.validation.conversation import Conversation, Ended
from less_sync.validation.outcome import Faulty, slug
from less_sync.validation.procedure import Looser, Parameter, Procedure, Same
from less_sync.validation.spaces import (
    Space,
    change,
    dek,
    make_space,
    measure_notice,
    measure_pull,
    measure_records,
    pull,
    pushed,
    read,
    record,
    subscribe,
)
from less_sync.validation.waiting import heard, together

SIZES_BYTES: Final = (0, 1, 1024, 1024 * 1024)
MANY: Final = 500
SMALL_BYTES: Final = 64
HEAR_S: Final = 2.0
FRAME_SPARED_BYTES: Final = 16
"""By how much the largest frame of a check is shorter than the longest that there is."""


async def round_trip(context: Context) -> None:
    """Push, and pull by another connection: once all, once from a cursor in the middle."""
    owner = context.run.people.person(context.target.name, "owner")
    async with context.converse(owner) as one, context.converse(owner) as other:
        space = await make_space(context, one, owner)
        written: list[PullRecord] = []
        cursors: list[int] = []

        async def push(contents: Sequence[tuple[UUID, bytes, bytes | None]]) -> None:
            changes = [change(identity, blob, dek=key) for identity, blob, key in contents]
            cursors.append(await pushed(one, space, changes))
            written.extend(
                record(space, identity, blob, cursors[-1], dek=key) for identity, blob, key in contents
            )

        for size_bytes in SIZES_BYTES:
            key = dek(context.stream) if size_bytes != 1 else None
            await push([(context.stream.uuid(), context.stream.take(size_bytes), key)])
        identity = context.stream.uuid()
        await push([(identity, context.stream.take(_room_bytes(space, identity)), None)])
        context.say(f"pushed {len(written)} records in {len(cursors)} pushes, one of just under 4 MiB")
        await push(
            [
                (context.stream.uuid(), context.stream.take(SMALL_BYTES), dek(context.stream))
                for _ in range(MANY)
            ]
        )
        first, middle = cursors[0], cursors[-2]
        context.measured.same("cursors", list(range(first, first + len(cursors))), cursors, "cursor")
        context.say(f"pulled everything, then what is above cursor {middle}")
        measure_pull(context.measured, "all", written, cursors[-1], await pull(other, space))
        late = [one for one in written if one.cursor > middle]
        measure_pull(context.measured, "later", late, cursors[-1], await pull(other, space, middle))


def _room_bytes(space: Space, identity: UUID) -> int:
    """The size of the one blob whose push fills a frame but for some bytes."""
    empty = encode_request("v100", "push", space.params(changes=[change(identity, bytes(1 << 16))]))
    return FRAME_BYTES_MAX - FRAME_SPARED_BYTES - (len(empty) - (1 << 16))


async def conflict(context: Context) -> None:
    """Pushes that rest on another state than the server's: refused as a whole, and nothing is stored."""
    owner = context.run.people.person(context.target.name, "owner")
    async with context.converse(owner) as one:
        space = await make_space(context, one, owner)
        ids = [context.stream.uuid() for _ in range(3)]
        kept: list[PullRecord] = []
        cursor = 0
        for identity, blob in ((ids[0], b"first"), (ids[1], b"second")):
            cursor = await pushed(one, space, [change(identity, blob)])
            kept.append(record(space, identity, blob, cursor))
        stale = kept[0].cursor
        replaced = context.stream.take(SMALL_BYTES)
        cursor = await pushed(one, space, [change(ids[0], replaced, expected=stale)])
        kept[0] = record(space, ids[0], replaced, cursor)
        ten = [change(context.stream.uuid(), b"one of ten") for _ in range(9)]
        cases = {
            "stale": [change(ids[0], b"stale", expected=stale)],
            "exists": [change(ids[1], b"exists")],
            "unknown": [change(ids[2], b"unknown", expected=cursor)],
            "one-of-ten": [*ten[:6], change(ids[1], None, expected=cursor + 1), *ten[6:]],
        }
        for name, changes in cases.items():
            context.say(f"push that must be a conflict: {name}")
            answer = await one.call("push", space.params(changes=changes))
            result = read(PushResult, answer, "push")
            context.measured.same("refused", (False, "conflict"), (result.ok, result.error), f"answer:{name}")
            measure_pull(context.measured, "kept", kept, cursor, await pull(one, space))


async def tombstone(context: Context) -> None:
    """A deletion is heard of and pulled by those who are behind, and an old state does not undo it."""
    owner = context.run.people.person(context.target.name, "owner")
    measured = context.measured
    async with context.converse(owner) as one, context.converse(owner) as device:
        space = await make_space(context, one, owner)
        kept, gone = context.stream.uuid(), context.stream.uuid()
        blob = context.stream.take(SMALL_BYTES)
        before = await pushed(one, space, [change(kept, blob), change(gone, blob, dek=dek(context.stream))])
        await subscribe(device, space)
        cursor = await pushed(one, space, [change(gone, None, expected=before)])
        context.say("deleted one of two records")
        notice = {"space": str(space.id), "prev": before, "cursor": cursor, "key_generation": 1}
        entries = [{"id": str(gone), "cursor": cursor, "deleted": True}]
        heard_of = await heard(device, "sync", HEAR_S)
        measure_notice(measured, "announced", notice | {"records": entries}, heard_of)
        incremental = await pull(device, space, before)
        ids = [entry.id for entry in incremental.records]
        measured.same("incremental", True, str(gone) in ids, "not-pulled")
        measure_pull(measured, "incremental", [record(space, gone, None, cursor)], cursor, incremental)
        full = await pull(device, space)
        measured.same("full", False, str(gone) in [entry.id for entry in full.records], "in-full-pull")
        live = [record(space, kept, blob, before)]
        measure_pull(measured, "full", live, cursor, full)
        context.say("push of somebody who has not seen the deletion")
        answer = await one.call("push", space.params(changes=[change(gone, b"back", expected=before)]))
        result = read(PushResult, answer, "push")
        again = await pull(device, space)
        measured.same("buried", [str(kept)], [entry.id for entry in again.records], "resurrected")
        measured.same("buried", (False, "conflict"), (result.ok, result.error), "resurrected")


@dataclass(frozen=True, slots=True)
class Asked:
    """A request, and what `_told` has to say of its answer."""

    params: Mapping[str, object]
    told: str


async def every_answer(context: Context) -> None:
    """Four methods, a connection each, the next request in the moment of the last answer."""
    people = context.run.people
    owner, member = (people.person(context.target.name, name) for name in ("owner", "member"))
    async with (
        context.converse(owner) as pulling,
        context.converse(owner) as listing,
        context.converse(member) as pushing,
        context.converse(member) as subscribing,
    ):
        mine = await make_space(context, pulling, owner)
        theirs = await make_space(context, pushing, member)
        quiet = await make_space(context, subscribing, member)
        unknown, written = Space(context.stream.uuid()), context.stream.uuid()
        cursor = await pushed(pushing, theirs, [change(written, b"0")])
        junk = Space(unknown.id).entry(since=0) | {"id": "no-uuid"}
        cycles = {
            "pull": [
                Asked({"spaces": [mine.entry(since=0)]}, "result"),
                Asked({"spaces": [unknown.entry(since=0)]}, "result"),
                Asked({"spaces": "none"}, "invalid_params"),
                Asked({"spaces": [junk]}, "result"),
            ],
            "deks.get": [
                Asked(mine.params(), "result"),
                Asked(unknown.params(), "forbidden"),
                Asked({}, "invalid_params"),
                Asked({"space": "no-uuid"}, "bad_request"),
            ],
            "push": [
                Asked(theirs.params(changes=[]), "result"),
                Asked(theirs.params(changes=[change(written, b"1", expected=cursor - 1)]), "conflict"),
                Asked({}, "invalid_params"),
                Asked(theirs.params(changes=[change("no-uuid", b"2")]), "bad_request"),
            ],
            "subscribe": [
                Asked({"spaces": [quiet.entry(since=0)]}, "result"),
                Asked({"spaces": [unknown.entry(since=0)]}, "result"),
                Asked({"spaces": "none"}, "invalid_params"),
                Asked({"spaces": [junk]}, "result"),
            ],
        }
        connections = (pulling, listing, pushing, subscribing)
        await together(
            *(
                _one_by_one(context, conversation, method, cycle)
                for conversation, (method, cycle) in zip(connections, cycles.items(), strict=True)
            )
        )


async def _one_by_one(
    context: Context, conversation: Conversation, method: str, cycle: Sequence[Asked]
) -> None:
    """Ask until one stays without an answer, which says enough of its connection."""
    within_s = context.number("deadline_ms") / 1000
    total, answered, others = context.number("requests"), 0, 0
    for number in range(total):
        asked = cycle[number % len(cycle)]
        try:
            response = await conversation.ask(method, asked.params, within_s)
        except Ended:
            raise
        except Faulty:
            context.say(f"{method}: request {number + 1} stayed unanswered")
            break
        answered += 1
        others += _told(response) != asked.told
    context.say(f"{method}: {answered} of {total} answered")
    context.measured.same("answers", total, answered, slug("unanswered", method))
    context.measured.same("contents", 0, others, slug("answer", method))


def _told(response: Response) -> str:
    """The code of an answer that refuses, of a push's too, which is a result; else `result`."""
    if response.error is not None:
        return response.error.code
    result = response.result
    refused = isinstance(result, Mapping) and result.get("ok") is False
    return str(result.get("error")) if refused and isinstance(result, Mapping) else "result"


async def reconnect(context: Context) -> None:
    """Cut the connection in the middle of many pushes, come back, and look what became of them."""
    owner = context.run.people.person(context.target.name, "owner")
    measured, total = context.measured, context.number("pushes")
    contents = {context.stream.uuid(): context.stream.take(SMALL_BYTES) for _ in range(total)}
    acknowledged: list[PullRecord] = []
    async with context.converse(owner) as one:
        space = await make_space(context, one, owner)
        requests = [
            (identity, await one.send("push", space.params(changes=[change(identity, blob)])))
            for identity, blob in contents.items()
        ]
        for identity, request_id in requests[: total // 2]:
            response, _ = await one.response(request_id)
            result = read(PushResult, response.result, "push")
            if response.error is not None or not result.ok:
                raise Faulty("refused", "push", result.error)
            acknowledged.append(record(space, identity, contents[identity], result.cursor))
        one.cut()
    context.say(f"cut the connection after {len(acknowledged)} of {total} answers")
    known = {entry.id for entry in acknowledged}
    async with context.converse(owner) as two:
        found = (await pull(two, space)).records
        ours = [entry for entry in found if entry.id in known]
        measured.same("acknowledged", set(), known - {entry.id for entry in ours}, "lost")
        measure_records(measured, "acknowledged", acknowledged, ours)
        for identity, blob in contents.items():
            if str(identity) not in known:
                result = read(
                    PushResult,
                    await two.call("push", space.params(changes=[change(identity, blob)])),
                    "push",
                )
                measured.same("again", True, result.ok or result.error == "conflict", "refused:push")
        final = (await pull(two, space)).records
        wanted = sorted((str(identity), blob) for identity, blob in contents.items())
        measured.same("all", wanted, sorted((one.id, one.blob or b"") for one in final), "lost")


PROCEDURES: Final = (
    Procedure(
        "round-trip",
        "contract",
        round_trip,
        "what one connection pushes another pulls: bytes, DEKs, cursors, counts and order",
        (Same("cursors"), Same("all"), Same("later")),
        exclusive=("identity:owner",),
        capabilities=("owner:key",),
        writes=True,
    ),
    Procedure(
        "every-answer",
        "contract",
        every_answer,
        "each of thousands of requests, valid and invalid, is answered in time",
        (Same("answers"), Same("contents")),
        parameters={
            "requests": Parameter(1000, Looser.DOWN),
            "deadline_ms": Parameter(2000, Looser.UP),
        },
        timeout_s=120,
        exclusive=("identity:owner", "identity:member"),
        capabilities=("owner:key", "member:key"),
        writes=True,
    ),
    Procedure(
        "conflict",
        "contract",
        conflict,
        "a push that rests on another state is refused as a whole",
        (Same("refused"), Same("kept")),
        exclusive=("identity:owner",),
        capabilities=("owner:key",),
        writes=True,
    ),
    Procedure(
        "tombstone",
        "contract",
        tombstone,
        "a deletion is announced and pulled, and an older state does not undo it",
        (Same("announced"), Same("incremental"), Same("full"), Same("buried")),
        exclusive=("identity:owner",),
        capabilities=("owner:key",),
        writes=True,
    ),
    Procedure(
        "reconnect",
        "contract",
        reconnect,
        "every acknowledged push is there once after a cut in the middle of them",
        (Same("acknowledged"), Same("again"), Same("all")),
        parameters={"pushes": Parameter(50, Looser.DOWN)},
        exclusive=("identity:owner",),
        capabilities=("owner:key",),
        writes=True,
    ),
)
