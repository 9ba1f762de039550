"""Lane `contract`, sharing: epochs, the membership log, invitations (docs/protocol.md 7.6 to 7.16)."""

import hashlib
import time
from collections.abc import Mapping
from typing import Any, Final

from less_sync.sync.protocol.messages import (
    EPOCH_CONFLICT,
    Invitation,
    InvitationListResult,
    MemberEntry,
    MembershipAppendResult,
    MembershipListResult,
    RecordDek,
)
from less_sync.validation.context import Context
from less_sync.validation.conversation import Conversation
from less_sync.validation.made import Made, leave
from less_sync.validation.outcome import Blocked, Faulty
from less_sync.validation.procedure import Looser, Parameter, Procedure, Same
from less_sync.validation.spaces import (
    Space,
    change,
    dek,
    make_space,
    measure_notice,
    pull,
    pushed,
    read,
    subscribe,
)
from less_sync.validation.waiting import heard

HEAR_S: Final = 2.0
RECORDS: Final = 6
CHAIN: Final = 3
"""Entries of the membership log: a server with limits takes ten an hour of a person."""
PAYLOAD_BYTES: Final = 64


async def epoch(context: Context) -> None:
    """Rotate the key of a space: begin, wrap every DEK anew, complete; nothing is lost on the way."""
    owner = context.run.people.person(context.target.name, "owner")
    measured = context.measured
    async with context.converse(owner) as one:
        space = await make_space(context, one, owner)
        old = {str(context.stream.uuid()): dek(context.stream) for _ in range(RECORDS)}
        changes = [change(name, b"sealed", dek=key) for name, key in old.items()]
        await pushed(one, space, changes)
        begun = await one.call("epoch.begin", space.params(epoch=2))
        measured.same("begun", {"epoch": 2}, begun, "begin")
        context.say("began epoch 2, and once more")
        again = await one.call("epoch.begin", space.params(epoch=2))
        conflict = {"error": EPOCH_CONFLICT, "current_epoch": 2, "rewrap_epoch": 2}
        measured.same("conflict", conflict, again, "conflict")
        measured.same("deks", old, await _deks(one, space), "dek-lost")
        new = {name: dek(context.stream, 2) for name in old}
        entries = [{"id": name, "dek": key} for name, key in new.items()]
        rewrapped = await one.call("deks.rewrap", space.params(deks=entries))
        measured.same("deks", new, await _deks(one, space), "dek-lost")
        measured.same("rewrapped", {"ok": True, "count": RECORDS}, rewrapped, "rewrap")
        context.say(f"wrapped {RECORDS} DEKs anew; complete")
        measured.same("completed", {}, await one.call("epoch.complete", space.params(epoch=2)), "complete")
        measured.same(
            "completed", "conflict", await _refusal(one, "epoch.complete", space.params(epoch=2)), "complete"
        )
        pulled = await pull(one, space)
        measured.same("deks", new, {entry.id: entry.dek for entry in pulled.records}, "dek-lost")
        ended = (pulled.begin.key_generation, pulled.begin.rewrap_epoch)
        measured.same("completed", (2, None), ended, "generation")


async def _deks(conversation: Conversation, space: Space) -> dict[str, bytes]:
    """The listing of records' DEKs. Raises Faulty `refused:deks.get:CODE`, `count`."""
    response, chunks = await conversation.response(await conversation.send("deks.get", space.params()))
    if response.error is not None:
        raise Faulty("refused", "deks.get", response.error.code)
    announced = response.result.get("_chunks") if isinstance(response.result, Mapping) else None
    if announced != len(chunks):
        raise Faulty("count")
    entries = [read(RecordDek, chunk.data, "deks.record") for chunk in chunks]
    return {entry.id: entry.dek for entry in entries}


async def _refusal(conversation: Conversation, method: str, params: Mapping[str, object]) -> str:
    """The code with which a request is refused; empty when it is not."""
    response = await conversation.ask(method, params)
    if response.error is not None and response.error.code == "rate_limited":
        raise Blocked("rate-limited")
    return "" if response.error is None else response.error.code


async def membership(context: Context) -> None:
    """Append a chain of entries, list it, and try to break it."""
    owner = context.run.people.person(context.target.name, "owner")
    measured = context.measured
    async with context.converse(owner) as one, context.converse(owner) as device:
        space = await make_space(context, one, owner)
        await subscribe(device, space)
        chain: list[MemberEntry] = []
        cursors: list[int] = []
        for version in range(CHAIN):
            payload = context.stream.take(PAYLOAD_BYTES)
            params = space.params(expected_version=version, **_next(chain, payload))
            answer = read(
                MembershipAppendResult, await one.call("membership.append", params), "membership.append"
            )
            measured.same("appended", version + 1, answer.metadata_version, "append")
            chain.append(_entry(chain, answer.chain_seq, payload))
            notice = await heard(device, "membership", HEAR_S)
            cursors.append(cursors[-1] + 1 if cursors else 1)
            wanted = {"space": str(space.id), "cursor": cursors[-1], "entries": [_raw(chain[-1])]}
            measure_notice(measured, "announced", wanted, notice)
            if notice is None:
                return
        context.say(f"appended {CHAIN} entries; one more that names another one before it")
        broken = _next(chain[:-1], context.stream.take(PAYLOAD_BYTES))
        code = await _refusal(one, "membership.append", space.params(expected_version=CHAIN, **broken))
        measured.same("broken", "conflict", code, "broken-chain")
        result = await one.call("membership.list", space.params())
        listed = read(MembershipListResult, result, "membership.list")
        _measure_chain(context, chain, listed)
        pulled = await pull(device, space)
        entries = [(one.cursor, entry) for one in pulled.members for entry in one.entries]
        measured.same("pulled", list(zip(cursors, chain, strict=True)), entries, "pulled")


def _next(chain: list[MemberEntry], payload: bytes) -> dict[str, Any]:
    """The fields of an entry behind the last of a chain."""
    before = {"prev_hash": chain[-1].entry_hash} if chain else {}
    return before | {"entry_hash": hashlib.sha256(payload).digest(), "payload": payload}


def _entry(chain: list[MemberEntry], seq: int, payload: bytes) -> MemberEntry:
    return MemberEntry(chain_seq=seq, **_next(chain, payload))


def _raw(entry: MemberEntry) -> dict[str, object]:
    before = {"prev_hash": entry.prev_hash} if entry.prev_hash else {}
    hashed = {"entry_hash": entry.entry_hash, "payload": entry.payload}
    return {"chain_seq": entry.chain_seq, **before, **hashed}


def _measure_chain(context: Context, chain: list[MemberEntry], listed: MembershipListResult) -> None:
    same = context.measured.same
    before = b""
    for entry in listed.entries:
        same("listed", hashlib.sha256(entry.payload).digest(), entry.entry_hash, "hash")
        same("listed", before, entry.prev_hash, "hash")
        before = entry.entry_hash
    same("listed", chain, listed.entries, "entries")
    seqs = [entry.chain_seq for entry in listed.entries]
    same("listed", list(range(seqs[0], seqs[0] + len(seqs))) if seqs else [], seqs, "order")
    same("listed", CHAIN, listed.metadata_version, "version")


async def invitation(context: Context) -> None:
    """Leave an invitation in a mailbox: its owner hears of it, lists it, gets it and deletes it."""
    people, measured = context.run.people, context.measured
    owner, member = (people.person(context.target.name, name) for name in ("owner", "member"))
    payload = context.stream.take(PAYLOAD_BYTES).hex()
    async with context.converse(member) as invited, context.converse(owner) as inviting:
        await invited.barrier()
        params = {"mailbox_id": await member.mailbox(), "payload": payload}
        began_s = time.monotonic()
        made = read(Invitation, await inviting.call("invitation.create", params), "invitation.create")
        leave(context, Made("invitation", member.name, made.id))
        measured.same("created", payload, made.payload, "payload")
        notice = await heard(invited, "invitation", context.number("deadline_ms") / 1000)
        measured.same("announced", {}, notice, "not-announced")
        if notice is None:
            return
        measured.number("announced_ms", int((time.monotonic() - began_s) * 1000))
        measured.same(
            "listed", [made], [one for one in await _mailbox(invited) if one.id == made.id], "listed"
        )
        got = read(Invitation, await invited.call("invitation.get", {"id": made.id}), "invitation.get")
        measured.same("got", made, got, "get")
        context.say("the invitation was heard of, listed and got; delete it")
        measured.same("deleted", {}, await invited.call("invitation.delete", {"id": made.id}), "delete")
        code = await _refusal(invited, "invitation.get", {"id": made.id})
        measured.same("deleted", "not_found", code, "delete")
        measured.same(
            "deleted", [], [one.id for one in await _mailbox(invited) if one.id == made.id], "delete"
        )


async def _mailbox(conversation: Conversation) -> list[Invitation]:
    result = await conversation.call("invitation.list", {"limit": 200})
    return read(InvitationListResult, result, "invitation.list").invitations


PROCEDURES: Final = (
    Procedure(
        "epoch",
        "contract",
        epoch,
        "a key rotation begins once, loses no DEK and completes",
        (Same("begun"), Same("conflict"), Same("deks"), Same("rewrapped"), Same("completed")),
        exclusive=("identity:owner",),
        capabilities=("owner:key",),
        writes=True,
    ),
    Procedure(
        "membership",
        "contract",
        membership,
        "the membership log keeps its hash chain, announces it and lists it",
        (Same("appended"), Same("announced"), Same("broken"), Same("listed"), Same("pulled")),
        exclusive=("identity:owner",),
        capabilities=("owner:key",),
        writes=True,
    ),
    Procedure(
        "invitation",
        "contract",
        invitation,
        "an invitation reaches its mailbox, is listed, got and deleted",
        (Same("created"), Same("announced"), Same("listed"), Same("got"), Same("deleted")),
        parameters={"deadline_ms": Parameter(6000, Looser.UP)},
        exclusive=("identity:owner", "identity:member"),
        capabilities=("owner:token", "member:token"),
        writes=True,
    ),
)
