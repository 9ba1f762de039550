"""What UCANs let in, what they do not, and that a revoked one ends at once (docs/tokens.md 7)."""

import time
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from less_sync.auth import Permission, parse_ucan
from less_sync.sync.protocol.messages import PushResult, SubscribeResult
from less_sync.validation.checks.auth_tokens import key_of
from less_sync.validation.context import Context
from less_sync.validation.conversation import Conversation
from less_sync.validation.file_routes import file_path, opened, put_file
from less_sync.validation.made import Made, leave
from less_sync.validation.outcome import slug
from less_sync.validation.people import Person
from less_sync.validation.spaces import (
    PULL_S,
    Space,
    change,
    dek,
    make_space,
    pull,
    pull_if_there,
    pushed,
    read,
    shared,
    subscribe,
)
from less_sync.validation.waiting import heard, heard_by_now

PAYLOAD_BYTES: Final = 1024
CHAIN_LINKS_MAX: Final = 8
"""A chain of as many tokens is read (docs/tokens.md 7.3)."""
LONG_AGO_S: Final = 3600
MASKED: Final = frozenset({"date", "connection", "keep-alive"})
"""Headers that say nothing of what was asked for."""


def _people(context: Context) -> tuple[Person, Person, Person]:
    """The owner, the member and the stranger."""
    one, two, three = (
        context.run.people.person(context.target.name, name) for name in ("owner", "member", "stranger")
    )
    return one, two, three


async def push_error(conversation: Conversation, space: Space, changes: list[dict[str, object]]) -> str:
    """Push; the error with which it is refused, or `ok`."""
    result = await conversation.call("push", space.params(changes=changes), PULL_S)
    told = read(PushResult, result, "push")
    return "ok" if told.ok else told.error


def passed_on(context: Context, space: Space, by: Person, to: Person, permission: Permission) -> Space:
    """The space as somebody sees it whom another one let in who had been let in himself."""
    ucan = by.grant(to, space.id, permission, stream=context.stream, proof=space.ucan)
    return Space(space.id, ucan)


async def share(context: Context) -> None:
    """Owner, member and stranger in one space, each by what the one before granted."""
    owner, member, stranger = _people(context)
    blob = context.stream.take(PAYLOAD_BYTES)
    async with context.converse(owner) as one:
        space = await make_space(context, one, owner)
    writes = shared(context, space, owner, member, Permission.WRITE)
    reads = passed_on(context, writes, member, stranger, Permission.READ)
    record = context.stream.uuid()
    async with context.converse(member) as two:
        cursor = await pushed(two, writes, [change(record, blob)])
        context.say(f"the member pushed at cursor {cursor}")
    async with context.converse(stranger) as three:
        seen = [(one.id, one.blob) for one in (await pull(three, reads)).records]
        context.measured.same("pulled", [(str(record), blob)], seen, "bytes")
        error = await push_error(three, reads, [change(context.stream.uuid(), blob)])
        context.say(f"the stranger pulled {len(seen)} record, and a push of theirs is {error}")
        context.measured.same("refused", "forbidden", error, slug("stranger-push", error))


@dataclass(slots=True)
class _Revoking:
    """A space that three are in, of whom two by a UCAN that will be revoked."""

    owner: Person
    member: Person
    stranger: Person
    space: Space
    writes: Space
    """The member's."""
    reads: Space
    """The stranger's, through the member."""
    record: UUID
    path: str = ""
    """Of a file of the record; empty where there are no files."""


async def revoke(context: Context) -> None:
    """The member's UCAN is taken back: what rested on it ends at once, and what the owner does does not."""
    owner, member, stranger = _people(context)
    async with (
        context.converse(owner) as one,
        context.converse(member) as two,
        context.converse(stranger) as three,
    ):
        space = await make_space(context, one, owner)
        writes = shared(context, space, owner, member, Permission.WRITE)
        reads = passed_on(context, writes, member, stranger, Permission.READ)
        parts = _Revoking(owner, member, stranger, space, writes, reads, context.stream.uuid())
        await _measure_before(context, parts, one, two, three)
        cid = parse_ucan(writes.ucan).cid
        leave(context, Made("grant", owner.name, cid, str(space.id)))
        began_s = time.monotonic()
        await one.call("membership.revoke", space.params(ucan_cid=cid))
        context.say("the member's UCAN was revoked")
        await _measure_after(context, parts, one, two, three, began_s)


async def _measure_before(
    context: Context, parts: _Revoking, one: Conversation, two: Conversation, three: Conversation
) -> None:
    """All three are let in: else a refusal afterwards would say nothing."""
    blob = context.stream.take(PAYLOAD_BYTES)
    await subscribe(two, parts.writes)
    await pushed(one, parts.space, [change(parts.record, blob)])
    error = await push_error(two, parts.writes, [change(context.stream.uuid(), blob)])
    context.measured.same("before", "ok", error, slug("before", "push", error))
    pulled = await pull_if_there(three, parts.reads)
    context.measured.same("before", True, pulled is not None, "before:pull")
    if context.run.manifest.features["files"]:
        file = context.stream.uuid()
        stored = await put_file(
            context, parts.owner, parts.space, file, parts.record, dek(context.stream), blob
        )
        parts.path = file_path(parts.space.id, file)
        answer = await context.request("GET", parts.path, headers=opened(parts.writes), person=parts.member)
        seen = (stored.status, answer.status, answer.body)
        context.measured.same("before", (201, 200, blob), seen, slug("before", "file", answer.status))
    await heard_by_now(two, "sync")


async def _measure_after(
    context: Context,
    parts: _Revoking,
    one: Conversation,
    two: Conversation,
    three: Conversation,
    began_s: float,
) -> None:
    measured, blob = context.measured, context.stream.take(PAYLOAD_BYTES)
    # At once, whether or not the server has told of it yet.
    error = await push_error(two, parts.writes, [change(context.stream.uuid(), blob)])
    measured.same("refused", "forbidden", error, slug("push", error))
    pulled = await pull_if_there(three, parts.reads)
    measured.same("refused", None, pulled, "pull")
    if parts.path:
        answer = await context.request("GET", parts.path, headers=opened(parts.writes), person=parts.member)
        measured.same("refused", (403, b'{"error":"access denied"}'), (answer.status, answer.body), "file")
    notice = await heard(two, "revoked", 2 * context.number("within_ms") / 1000)
    took_ms = int((time.monotonic() - began_s) * 1000)
    measured.same("ended", True, notice is not None, "not-told")
    measured.number("ended_ms", took_ms)
    context.say(f"told within {took_ms} ms; the member's push: {error}")
    error = await push_error(one, parts.space, [change(context.stream.uuid(), blob)])
    measured.same("owner", "ok", error, slug("owner-push", error))
    measured.same("ended", [], await heard_by_now(two, "sync"), "still-told")
    if parts.path:
        answer = await context.request("GET", parts.path, headers=opened(parts.space), person=parts.owner)
        measured.same("owner", 200, answer.status, slug("owner-file", answer.status))


def wrong_grants(context: Context, space: Space) -> dict[str, str]:
    """UCANs that must not let the member write, each a good one but for one thing."""
    owner, member, stranger = _people(context)
    stream, now = context.stream, int(time.time())
    write = Permission.WRITE
    return {
        "expired": owner.grant(member, space.id, write, stream=stream, expires_at=now - LONG_AGO_S),
        "audience": owner.grant(stranger, space.id, write, stream=stream),
        "space": owner.grant(member, stream.uuid(), write, stream=stream),
        "root": stranger.grant(member, space.id, write, stream=stream),
        "depth": chain(context, space.id, CHAIN_LINKS_MAX + 1),
        "read": owner.grant(member, space.id, Permission.READ, stream=stream),
    }


def chain(context: Context, space: UUID, links: int) -> str:
    """A chain of so many tokens from the owner to the member, through keys of nobody."""
    owner, member, _ = _people(context)
    giver, ucan = owner, None
    for number in range(1, links + 1):
        if number == links:
            receiver = member
        else:
            receiver = Person(f"link {number}", member.source, key_of(context.stream), owner.told)
        ucan = giver.grant(receiver, space, Permission.WRITE, stream=context.stream, proof=ucan)
        giver = receiver
    assert ucan is not None
    return ucan


async def ucan_refusals(context: Context) -> None:
    """Every wrong UCAN, by a push and by an upload; and good ones, so that refusals mean something."""
    owner, member, _ = _people(context)
    files = context.run.manifest.features["files"]
    async with context.converse(owner) as one:
        space = await make_space(context, one, owner)
    async with context.converse(member) as two:
        for name, ucan in wrong_grants(context, space).items():
            error = await push_error(two, Space(space.id, ucan), [change(context.stream.uuid(), b"refused")])
            context.say(f"{name}: {error}")
            context.measured.same("refused", "forbidden", error, slug("ucan", name))
            if files:
                answer = await context.request(
                    "PUT",
                    file_path(space.id, context.stream.uuid()),
                    headers={"X-UCAN": ucan},
                    body=b"",
                    person=member,
                )
                wanted = (403, b'{"error":"access denied"}')
                seen = (answer.status, answer.body)
                context.measured.same("refused", wanted, seen, slug("ucan", name, "http"))
        for name, ucan in (
            ("good", owner.grant(member, space.id, Permission.WRITE, stream=context.stream)),
            ("eight-links", chain(context, space.id, CHAIN_LINKS_MAX)),
        ):
            changes = [change(context.stream.uuid(), b"accepted")]
            error = await push_error(two, Space(space.id, ucan), changes)
            context.say(f"{name}: {error}")
            context.measured.same("accepted", "ok", error, slug("ucan", name))


async def isolation(context: Context) -> None:
    """The owner's personal space, asked for by the stranger, beside one that does not exist."""
    owner, _, stranger = _people(context)
    personal = await owner.personal_space()
    async with context.converse(owner) as one:
        await subscribe(one, Space(personal))  # so that it exists
    async with context.converse(stranger) as three:
        seen = {}
        # Of the version that personal spaces have: whoever guesses, guesses among those.
        nobodys = UUID(bytes=context.stream.take(16), version=5)
        for name, space in (("theirs", personal), ("nobody's", nobodys)):
            seen[name] = await _asked_for(context, three, stranger, space)
            context.say(f"{name}: {seen[name].told}")
            for what, wanted, found in (
                ("subscribe", ["forbidden"], seen[name].subscribe),
                ("pull", 0, seen[name].chunks),
                ("push", "forbidden", seen[name].push),
                ("file", 404, seen[name].file_status),
            ):
                if what != "file" or context.run.manifest.features["files"]:
                    context.measured.same("closed", wanted, found, slug("let-in", what))
        context.measured.same("alike", seen["nobody's"], seen["theirs"], "told-apart")


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is answered to who asks for a space."""

    subscribe: list[str]
    chunks: int
    push: str
    file_status: int | None
    """None without files."""
    file_headers: frozenset[tuple[str, str]]
    file_body: bytes

    @property
    def told(self) -> str:
        """For the log."""
        return f"subscribe {self.subscribe}, {self.chunks} chunks, push {self.push}, file {self.file_status}"


async def _asked_for(context: Context, conversation: Conversation, person: Person, space: UUID) -> _Asked:
    entry = {"id": str(space), "since": 0}
    result = await conversation.call("subscribe", {"spaces": [entry]})
    errors = [one.error for one in read(SubscribeResult, result, "subscribe").errors] or ["let in"]
    request_id = await conversation.send("pull", {"spaces": [entry]})
    _, chunks = await conversation.response(request_id, PULL_S)
    error = await push_error(conversation, Space(space), [change(context.stream.uuid(), b"not theirs")])
    if not context.run.manifest.features["files"]:
        return _Asked(errors, len(chunks), error, None, frozenset(), b"")
    answer = await context.request("GET", file_path(space, context.stream.uuid()), person=person)
    headers = frozenset(pair for pair in answer.headers if pair[0] not in MASKED)
    return _Asked(errors, len(chunks), error, answer.status, headers, answer.body)
