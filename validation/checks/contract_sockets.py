"""Lane `contract`, connections: their names, their rest, their end (docs/protocol.md 2 and 3.2)."""

import asyncio
import time
from typing import Final

from less_sync.validation.commands import printed
from less_sync.validation.context import Context
from less_sync.validation.conversation import Closed, Conversation
from less_sync.validation.outcome import Faulty, NotReached, slug
from less_sync.validation.procedure import AtLeast, Looser, Parameter, Place, Procedure, Same
from less_sync.validation.spaces import change, make_space, measure_pull, pull, pushed, record
from less_sync.validation.waiting import together

NAMES: Final = ("betterbase-rpc-v1", "less-rpc-v1")
"""Of one protocol; the server prefers the first."""
GOING_AWAY: Final = 1001
PUSHES: Final = 10
HEALTH_PAUSE_S: Final = 0.2


async def both_names(context: Context) -> None:
    """Open a connection by each name of the protocol, and by both."""
    owner = context.run.people.person(context.target.name, "owner")
    for offered, wanted in (((NAMES[0],), NAMES[0]), ((NAMES[1],), NAMES[1]), (NAMES[::-1], NAMES[0])):
        reason = slug("refused", *offered)
        try:
            async with context.converse(owner, subprotocols=offered) as one:
                context.measured.same("names", wanted, one.socket.subprotocol, reason)
                await one.barrier()
        except NotReached:
            raise
        except Faulty as fault:
            context.say(f"{', '.join(offered)}: {fault}")
            context.measured.same("names", wanted, str(fault), reason)


async def socket_idle(context: Context) -> None:
    """Hold a connection on which nothing is sent but pongs: it lives, and the server's keepalives come."""
    people, target = context.run.people, context.target.name
    # Two connections of a person are the most: the other checks have theirs.
    name = "stranger" if people.can(target, "stranger:token") else "owner"
    async with context.converse(people.person(target, name)) as idle:
        await idle.barrier()
        began_s = time.monotonic()
        ends_s = began_s + context.number("idle_s")
        context.say(f"authenticated as {name}, and silent from here on")
        while (left_s := ends_s - time.monotonic()) > 0:
            try:
                await idle.receive(left_s)
            except TimeoutError:
                break
        context.measured.number("keepalives", idle.keepalives)
        context.say(f"{idle.keepalives} keepalives came")
        await idle.barrier()
        context.measured.number("held_s", round(time.monotonic() - began_s))


async def drain(context: Context) -> None:
    """Restart the server by the operator's command: connections are told, nothing acknowledged is lost.

    It runs when all windows have ended: counters and the start of the process differ from then on.
    """
    owner = context.run.people.person(context.target.name, "owner")
    measured = context.measured
    async with context.converse(owner) as one, context.converse(owner) as other:
        space = await make_space(context, one, owner)
        await other.barrier()
        written = []
        for _ in range(PUSHES):
            identity, blob = context.stream.uuid(), context.stream.take(64)
            written.append(record(space, identity, blob, await pushed(one, space, [change(identity, blob)])))
        close_s, health_s = context.number("close_s"), context.number("health_s")
        command = printed(context, "STAGING_RESTART_COMMAND", within_s=close_s + health_s)
        restart = asyncio.create_task(command)
        try:
            closes = await together(_end(one, close_s), _end(other, close_s))
            if restart.done():
                measured.same("back", 0, restart.result().status, "command")
            for closed in closes:
                measured.same("told", True, closed is not None, "not-closed")
                if closed is not None:
                    measured.same("told", GOING_AWAY, closed.code, slug("closed", closed.code))
            if None in closes:
                return
            context.say("both connections were told; wait for the server to be back")
            measured.same("back", True, await _healthy(context, health_s), "not-back")
            measured.same("back", 0, (await restart).status, "command")
        finally:
            restart.cancel()
            await asyncio.wait([restart])
    async with context.converse(owner) as again:
        measure_pull(measured, "kept", written, written[-1].cursor, await pull(again, space))


async def _end(conversation: Conversation, within_s: float) -> Closed | None:
    try:
        return await conversation.close_seen(within_s)
    except TimeoutError:
        return None


async def _healthy(context: Context, within_s: float) -> bool:
    ends_s = time.monotonic() + within_s
    while time.monotonic() < ends_s:
        try:
            if (await context.request("GET", "/health")).status == 200:
                return True
        except Faulty:
            pass  # it is not there yet
        await asyncio.sleep(HEALTH_PAUSE_S)
    return False


PROCEDURES: Final = (
    Procedure(
        "both-names",
        "contract",
        both_names,
        "both names of the protocol are spoken, and the first is preferred",
        (Same("names"),),
        exclusive=("identity:owner",),
        capabilities=("owner:token",),
    ),
    Procedure(
        "socket-idle",
        "contract",
        socket_idle,
        "a silent connection lives, and hears the server's keepalives",
        (AtLeast("held_s", "idle_s", "closed"), AtLeast("keepalives", "keepalives", "no-keepalive")),
        parameters={"idle_s": Parameter(95, Looser.DOWN), "keepalives": Parameter(3, Looser.DOWN)},
        timeout_s=120,
        place=Place.BESIDE,
    ),
    Procedure(
        "drain",
        "contract",
        drain,
        "a restart tells connections, loses nothing acknowledged, and the server is back soon",
        (Same("told"), Same("back"), Same("kept")),
        parameters={"close_s": Parameter(40, Looser.UP), "health_s": Parameter(20, Looser.UP)},
        timeout_s=90,
        capabilities=("owner:key",),
        inputs=("STAGING_RESTART_COMMAND",),
        place=Place.LAST,
        writes=True,
    ),
)
