"""Spaces as checks use them: made for the run, pushed to, pulled and compared to the byte.

What a server answers is read into the types of the protocol; whatever has another shape is a fault of the
server, never an exception of the check.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar
from uuid import UUID

from less_sync.auth import Permission
from less_sync.sync.protocol.errors import ParamsError
from less_sync.sync.protocol.messages import (
    Message,
    PullBegin,
    PullCommit,
    PullFile,
    PullMembership,
    PullRecord,
    PushResult,
    SubscribeResult,
    decode_params,
)
from less_sync.validation.context import Context
from less_sync.validation.conversation import Conversation
from less_sync.validation.generated import Stream
from less_sync.validation.made import Made, leave
from less_sync.validation.measured import Measured
from less_sync.validation.outcome import Faulty
from less_sync.validation.people import Person

PULL_S: Final = 25.0
"""For the answer to a pull of some MiB over a slow network."""
DEK_BYTES: Final = 44
ALL: Final = -1
"""A cursor below all: with it tombstones are pulled too."""

Read = TypeVar("Read", bound=Message)


@dataclass(frozen=True, slots=True)
class Space:
    """A space and what opens it to one person; a personal one needs nothing."""

    id: UUID
    ucan: str = ""

    def params(self, **more: object) -> dict[str, object]:
        """Those of a method of one space."""
        ucan = {"ucan": self.ucan} if self.ucan else {}
        return {"space": str(self.id), **ucan, **more}

    def entry(self, **more: object) -> dict[str, object]:
        """It, in the list of a `subscribe` or a `pull`."""
        ucan = {"ucan": self.ucan} if self.ucan else {}
        return {"id": str(self.id), **ucan, **more}


async def make_space(context: Context, conversation: Conversation, root: Person) -> Space:
    """A shared space of the run, opened to its root. It will be cleaned up."""
    space = context.stream.uuid()
    leave(context, Made("space", root.name, str(space)))
    await conversation.call("space.create", {"id": str(space), "root_public_key": root.root_key})
    context.run.confirmed.add(str(space))
    return Space(space, root.grant(root, space, Permission.ADMIN, stream=context.stream))


def shared(context: Context, space: Space, root: Person, to: Person, permission: Permission) -> Space:
    """The space as somebody else sees it, to whom its root grants this."""
    return Space(space.id, root.grant(to, space.id, permission, stream=context.stream))


def read(kind: type[Read], value: object, method: str) -> Read:
    """A result, chunk or notification as its type. Raises Faulty `shape:METHOD`."""
    try:
        return decode_params(kind, value)
    except ParamsError:
        raise Faulty("shape", method) from None


def dek(stream: Stream, epoch: int = 1) -> bytes:
    """What stands for a wrapped DEK: nobody but clients could tell."""
    return epoch.to_bytes(4, "big") + stream.take(DEK_BYTES - 4)


def change(
    record: UUID | str, blob: bytes | None, *, expected: int = 0, dek: bytes | None = None
) -> dict[str, object]:
    """One of a push; without a blob it deletes."""
    parts = {"id": str(record), "expected_cursor": expected, "blob": blob, "dek": dek}
    return {name: part for name, part in parts.items() if part is not None}


async def subscribe(conversation: Conversation, space: Space, *, presence: bool = False) -> Any:
    """Listen to a space; the result, as it came.

    Raises:
        Faulty: `refused:subscribe:CODE`, of the space too.
    """
    result = await conversation.call("subscribe", {"spaces": [space.entry(since=0, presence=presence)]})
    for error in read(SubscribeResult, result, "subscribe").errors:
        raise Faulty("refused", "subscribe", error.error)
    return result


async def pushed(conversation: Conversation, space: Space, changes: Sequence[Mapping[str, object]]) -> int:
    """The cursor of a push that has to succeed. Raises Faulty `refused:push:CODE`."""
    result = read(PushResult, await conversation.call("push", space.params(changes=changes), PULL_S), "push")
    if not result.ok:
        raise Faulty("refused", "push", result.error)
    return result.cursor


@dataclass(frozen=True, slots=True)
class Pulled:
    """The answer to the pull of one space."""

    since: int
    begin: PullBegin
    commit: PullCommit
    chunks: tuple[tuple[str, object], ...]
    """Names and data of all that came between the two, as they came."""
    announced: object
    """`_chunks` of the result."""

    @property
    def records(self) -> list[PullRecord]:
        """In the order in which they came."""
        return [read(PullRecord, data, "pull.record") for name, data in self.chunks if name == "pull.record"]

    @property
    def members(self) -> list[PullMembership]:
        """As `records`."""
        return [
            read(PullMembership, data, "pull.membership")
            for name, data in self.chunks
            if name == "pull.membership"
        ]

    @property
    def files(self) -> list[PullFile]:
        """As `records`."""
        return [read(PullFile, data, "pull.file") for name, data in self.chunks if name == "pull.file"]


async def pull(conversation: Conversation, space: Space, since: int = 0) -> Pulled:
    """All of a space above a cursor.

    Raises:
        Faulty: `refused:pull:CODE`; `left-out`, nothing of the space came; `shape:pull`, it did not begin and
            end as a pull does.
    """
    pulled = await pull_if_there(conversation, space, since)
    if pulled is None:
        raise Faulty("left-out")
    return pulled


async def pull_if_there(conversation: Conversation, space: Space, since: int = 0) -> Pulled | None:
    """As `pull`; None for a space that is left out of the answer, as one that does not exist is."""
    request_id = await conversation.send("pull", {"spaces": [space.entry(since=since)]})
    response, chunks = await conversation.response(request_id, PULL_S)
    if response.error is not None:
        raise Faulty("refused", "pull", response.error.code)
    announced = response.result.get("_chunks") if isinstance(response.result, Mapping) else None
    if not chunks:
        if announced != 0:
            raise Faulty("count")
        return None
    first, last = chunks[0], chunks[-1]
    if first.name != "pull.begin" or last.name != "pull.commit":
        raise Faulty("shape", "pull")
    return Pulled(
        since,
        read(PullBegin, first.data, "pull.begin"),
        read(PullCommit, last.data, "pull.commit"),
        tuple((chunk.name, chunk.data) for chunk in chunks[1:-1]),
        announced,
    )


def record(
    space: Space, identity: UUID | str, blob: bytes | None, cursor: int, *, dek: bytes | None = None
) -> PullRecord:
    """A record as a pull has to bring it; without a blob its tombstone."""
    return PullRecord(
        space=str(space.id), id=str(identity), blob=blob, cursor=cursor, dek=dek, deleted=blob is None
    )


def measure_records(
    measured: Measured,
    criterion: str,
    wanted: Sequence[PullRecord],
    seen: Sequence[PullRecord],
    *,
    ties: bool = True,
) -> None:
    """Records that came beside those that had to.

    Reasons: `missing`, `unexpected`, `twice`, `cursor`, `deleted`, `bytes`, `dek`, `order`.

    Args:
        wanted: in any order; they have to come by cursor.
        ties: whether those at one cursor have to come by id: existing servers promise no order there.
    """
    ordered = sorted(wanted, key=lambda one: (one.cursor, one.id))
    wanted_ids, seen_ids = [one.id for one in ordered], [one.id for one in seen]
    by_id = {one.id: one for one in seen}
    measured.same(criterion, set(), set(wanted_ids) - by_id.keys(), "missing")
    measured.same(criterion, set(), by_id.keys() - set(wanted_ids), "unexpected")
    measured.same(criterion, len(by_id), len(seen_ids), "twice")
    both = [(one, by_id[one.id]) for one in ordered if one.id in by_id]
    for what, reason in (("cursor", "cursor"), ("deleted", "deleted"), ("blob", "bytes"), ("dek", "dek")):
        mine, theirs = [getattr(one, what) for one, _ in both], [getattr(one, what) for _, one in both]
        measured.same(criterion, mine, theirs, reason)
    by_cursor = [one.cursor for one in seen]
    measured.same(
        criterion, wanted_ids if ties else sorted(by_cursor), seen_ids if ties else by_cursor, "order"
    )


def measure_pull(
    measured: Measured, criterion: str, wanted: Sequence[PullRecord], cursor: int, pulled: Pulled
) -> None:
    """A pull of records alone: those of `measure_records`, and what its begin and end say, `count`."""
    measure_records(measured, criterion, wanted, pulled.records)
    frame = (pulled.since, cursor, pulled.since, cursor, len(wanted), len(wanted) + 2)
    begin, commit = pulled.begin, pulled.commit
    told = (begin.prev, begin.cursor, commit.prev, commit.cursor, commit.count, pulled.announced)
    measured.same(criterion, frame, told, "count")
    measured.same(criterion, len(pulled.chunks), commit.count, "count")


def measure_notice(
    measured: Measured, criterion: str, wanted: Mapping[str, object], seen: object | None
) -> None:
    """Params of a notification beside those that had to come: `not-announced`, `shape`."""
    measured.same(criterion, True, seen is not None, "not-announced")
    if seen is not None:
        measured.same(criterion, wanted, seen, "shape")
