"""Lane `contract`, what is told at once: notifications, presence, events (docs/protocol.md 6.3, 8 and 9)."""

import asyncio
import time
from typing import Final

from less_sync.auth import Permission
from less_sync.sync.protocol.frames import Notification
from less_sync.sync.protocol.messages import EventNotice, PresenceLeaveNotice, PresenceNotice, SubscribeResult
from less_sync.validation.context import Context
from less_sync.validation.conversation import Conversation
from less_sync.validation.procedure import AtMost, Looser, Parameter, Procedure, Same
from less_sync.validation.spaces import change, dek, make_space, pushed, read, shared, subscribe
from less_sync.validation.waiting import heard, heard_by_now

HEAR_S: Final = 2.0
BLOB_BYTES: Final = 64
PRESENCE_BYTES_MAX: Final = 1024
EVENT_BYTES_MAX: Final = 4096


async def notify(context: Context) -> None:
    """Push several times: another device of the owner hears of each, the author of none."""
    owner = context.run.people.person(context.target.name, "owner")
    total, deadline_s = context.number("pushes"), context.number("deadline_ms") / 1000
    wanted: list[dict[str, object]] = []
    sent_s: dict[int, float] = {}
    arrived: list[tuple[float, object]] = []
    async with context.converse(owner) as author, context.converse(owner) as device:
        space = await make_space(context, author, owner)
        await subscribe(author, space)
        await subscribe(device, space)
        listening = asyncio.create_task(_listen(device, arrived, total))
        try:
            for _ in range(total):
                identity, blob, key = (
                    context.stream.uuid(),
                    context.stream.take(BLOB_BYTES),
                    dek(context.stream),
                )
                began_s = time.monotonic()
                cursor = await pushed(author, space, [change(identity, blob, dek=key)])
                sent_s[cursor] = began_s
                entry = {"id": str(identity), "blob": blob, "cursor": cursor, "dek": key}
                wanted.append(
                    {
                        "space": str(space.id),
                        "prev": cursor - 1,
                        "cursor": cursor,
                        "key_generation": 1,
                        "records": [entry],
                    }
                )
            await asyncio.wait([listening], timeout=deadline_s)
        finally:
            listening.cancel()
            await asyncio.wait([listening])
        if not listening.cancelled():
            listening.result()
        context.say(f"{len(arrived)} of {total} notifications came in time")
        arrived += [(time.monotonic(), params) for params in await heard_by_now(device, "sync")]
        to_author = await heard_by_now(author, "sync")
    _measure_notices(context, wanted, [params for _, params in arrived])
    context.measured.same("author", [], to_author, "author")
    late_ms = [
        int((arrived_s - sent_s[cursor]) * 1000)
        for arrived_s, params in arrived
        if (cursor := _cursor(params)) in sent_s
    ]
    context.measured.number("slowest_ms", max(late_ms, default=0), samples=len(late_ms))


async def _listen(device: Conversation, arrived: list[tuple[float, object]], total: int) -> None:
    while len(arrived) < total:
        frame = await device.next(60.0)
        if isinstance(frame, Notification) and frame.method == "sync":
            arrived.append((time.monotonic(), frame.params))


def _measure_notices(context: Context, wanted: list[dict[str, object]], seen: list[object]) -> None:
    cursors, seen_cursors = [_cursor(one) for one in wanted], [_cursor(one) for one in seen]
    same = context.measured.same
    same("heard", set(), set(cursors) - set(seen_cursors), "missing")
    same("heard", len(set(seen_cursors)), len(seen_cursors), "twice")
    same("heard", cursors, seen_cursors, "order")
    same("heard", wanted, seen, "shape")


def _cursor(params: object) -> int:
    """Of a `sync`; -1 where it has none."""
    cursor = params.get("cursor") if isinstance(params, dict) else None
    return cursor if isinstance(cursor, int) else -1


async def presence(context: Context) -> None:
    """One shows up, another sees it; who comes later finds it in the answer; it ends with the connection."""
    people, measured = context.run.people, context.measured
    owner, member = (people.person(context.target.name, name) for name in ("owner", "member"))
    async with context.converse(member) as watcher:
        async with context.converse(owner) as one:
            mine = await make_space(context, one, owner)
            theirs = shared(context, mine, owner, member, Permission.READ)
            await subscribe(one, mine)
            await subscribe(watcher, theirs, presence=True)
            shown = context.stream.take(PRESENCE_BYTES_MAX)
            await one.notify("presence.set", {"space": str(mine.id), "data": shown + b"+"})
            await one.notify("presence.set", {"space": str(mine.id), "data": shown})
            notice = await heard(watcher, "presence", HEAR_S)
            measured.same("seen", True, notice is not None, "not-seen")
            if notice is None:
                return
            seen = read(PresenceNotice, notice, "presence")
            measured.same("seen", (str(mine.id), shown), (seen.space, seen.data), "oversize-seen")
            async with context.converse(member) as late:
                answer = await subscribe(late, theirs, presence=True)
                peers = [
                    (peer.peer, peer.data)
                    for space in read(SubscribeResult, answer, "subscribe").spaces
                    for peer in space.peers
                ]
                measured.same("listed", [(seen.peer, shown)], peers, "not-listed")
            own = await heard_by_now(one, "presence")
            measured.same("seen", [], own, "author")
        context.say("closed the connection that was present")
        notice = await heard(watcher, "presence.leave", context.number("leave_ms") / 1000)
        measured.same("left", True, notice is not None, "leave")
        if notice is not None:
            left = read(PresenceLeaveNotice, notice, "presence.leave")
            measured.same("left", (str(mine.id), seen.peer), (left.space, left.peer), "leave")


async def event(context: Context) -> None:
    """Events reach the others that are subscribed, not their author; one that is too large nobody."""
    people, measured = context.run.people, context.measured
    owner, member = (people.person(context.target.name, name) for name in ("owner", "member"))
    async with context.converse(owner) as author, context.converse(member) as other:
        mine = await make_space(context, author, owner)
        await subscribe(author, mine)
        await subscribe(other, shared(context, mine, owner, member, Permission.READ))
        data = context.stream.take(EVENT_BYTES_MAX)
        await author.notify("event.send", {"space": str(mine.id), "data": data + b"+"})
        await author.notify("event.send", {"space": str(mine.id), "data": data})
        to_author = await heard_by_now(author, "event")
        notice = await heard(other, "event", HEAR_S)
        measured.same("others", True, notice is not None, "not-seen")
        if notice is not None:
            seen = read(EventNotice, notice, "event")
            measured.same("others", (str(mine.id), data), (seen.space, seen.data), "oversize-seen")
            measured.same("others", [], await heard_by_now(other, "event"), "twice")
        measured.same("author", [], to_author, "author")


PROCEDURES: Final = (
    Procedure(
        "notify",
        "contract",
        notify,
        "another device hears of each push in time, in order, once; the author of none",
        (Same("heard"), Same("author"), AtMost("slowest_ms", "deadline_ms", "late")),
        parameters={"pushes": Parameter(20, Looser.DOWN), "deadline_ms": Parameter(2000, Looser.UP)},
        exclusive=("identity:owner",),
        capabilities=("owner:key",),
        writes=True,
    ),
    Procedure(
        "presence",
        "contract",
        presence,
        "presence is seen by others, listed for who comes later, and ends with its connection",
        (Same("seen"), Same("listed"), Same("left")),
        parameters={"leave_ms": Parameter(2000, Looser.UP)},
        exclusive=("identity:owner", "identity:member"),
        capabilities=("owner:key", "member:key"),
        writes=True,
    ),
    Procedure(
        "event",
        "contract",
        event,
        "events reach the others that are subscribed, and not their author",
        (Same("others"), Same("author")),
        exclusive=("identity:owner", "identity:member"),
        capabilities=("owner:key", "member:key"),
        writes=True,
    ),
)
