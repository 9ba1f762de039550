"""Lane `contract`, at the end: nothing of the run is live afterwards (docs/validation.md 3.3).

Spaces cannot be deleted by the protocol. Their records are, which removes their files, and the empty spaces
are named in the report.
"""

from collections.abc import Sequence
from itertools import groupby
from typing import Final, assert_never
from uuid import UUID

from less_sync.auth import Permission
from less_sync.sync.protocol.messages import InvitationListResult, PushResult
from less_sync.validation.context import Context
from less_sync.validation.conversation import Conversation, Ended
from less_sync.validation.made import Made, made_at
from less_sync.validation.outcome import CheckEnd, Faulty, slug
from less_sync.validation.people import Person
from less_sync.validation.procedure import Place, Procedure, Same
from less_sync.validation.spaces import Space, change, pull_if_there, read

ROUNDS: Final = 3
"""How often the records of a space are deleted: what a cut connection had sent may be written in between."""
GONE: Final = "gone"


async def cleanup(context: Context) -> None:
    """Delete the records, invitations and grants of the run, and look whether they are gone."""
    made = made_at(context.run, context.target.name)
    context.measured.no_samples(GONE)
    by_person = groupby(sorted(made, key=lambda one: one.person), key=lambda one: one.person)
    for name, things in [(name, list(things)) for name, things in by_person]:
        await _of_one(context, name, things)
    context.say(f"{len(made)} things were made; {len(context.run.left_behind)} are left behind")


async def _of_one(context: Context, name: str, made: Sequence[Made]) -> None:
    """What one person can remove. What could not be removed is left behind, and the next is tried."""
    left = list(made)
    try:
        person = context.run.people.person(context.target.name, name)
        async with context.converse(person) as conversation:
            for one in made:
                try:
                    await _remove(context, conversation, person, one)
                except Ended:
                    raise
                except CheckEnd as end:
                    _failed(context, one, end)
                left.remove(one)
    except CheckEnd as end:
        for one in left:
            _failed(context, one, end)


def _failed(context: Context, made: Made, end: CheckEnd) -> None:
    context.say(f"{made.kind} {made.id}: {end}")
    context.measured.same(GONE, True, False, slug("live", made.kind))
    _left(context, made)


def _left(context: Context, made: Made) -> None:
    context.run.left_behind.append((context.target.name, made))


async def _remove(context: Context, conversation: Conversation, person: Person, made: Made) -> None:
    match made.kind:
        case "space":
            space = _opened(context, person, made.id)
            there, live = await _emptied(conversation, space)
            context.measured.same(GONE, 0, live, "live:records")
            if made.id in context.run.confirmed:
                # Left out of a pull like one that does not exist: what is in it was not seen.
                context.measured.same(GONE, True, there, "live:space")
                there = True
            if there:
                _left(context, made)
        case "invitation":
            response = await conversation.ask("invitation.delete", {"id": made.id})
            if response.error is not None and response.error.code != "not_found":
                raise Faulty("refused", "invitation.delete", response.error.code)
            result = await conversation.call("invitation.list", {"limit": 200})
            kept = read(InvitationListResult, result, "invitation.list").invitations
            context.measured.same(GONE, False, made.id in {one.id for one in kept}, "live:invitation")
        case "grant":
            space = _opened(context, person, made.space)
            response = await conversation.ask("membership.revoke", space.params(ucan_cid=made.id))
            if response.error is not None:
                raise Faulty("refused", "membership.revoke", response.error.code)
            context.measured.same(GONE, {}, response.result, "live:grant")
        case _:
            assert_never(made.kind)


def _opened(context: Context, person: Person, space: str) -> Space:
    identity = UUID(space)
    return Space(identity, person.grant(person, identity, Permission.ADMIN, stream=context.stream))


async def _emptied(conversation: Conversation, space: Space) -> tuple[bool, int]:
    """Whether the space is there, and how much is live in it when its records have been deleted."""
    live = 0
    for _ in range(ROUNDS):
        pulled = await pull_if_there(conversation, space)
        if pulled is None:
            return False, 0
        records = [one for one in pulled.records if not one.deleted]
        live = len(records)
        if not records:
            return True, len(pulled.files)
        changes = [change(one.id, None, expected=one.cursor) for one in records]
        result = read(PushResult, await conversation.call("push", space.params(changes=changes)), "push")
        if not result.ok and result.error != "conflict":
            break
    return True, live


PROCEDURES: Final = (
    Procedure(
        "cleanup",
        "contract",
        cleanup,
        "nothing that the run made is live afterwards",
        (Same(GONE),),
        timeout_s=60,
        capabilities=("owner:key",),
        place=Place.TIDY,
        writes=True,
    ),
)
