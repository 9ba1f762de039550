"""Data that is planted before a switch and read back after it (docs/validation.md 6.3).

It lies in the personal space of one validation user: 32 records of fixed content in pushes of four, four
tombstones, three entries of the membership log, with files one of 1 MiB, and last a record that says at which
cursors all of that lies. Ids and contents are made from the id of the space alone, so nobody has to remember
anything: whoever may read the space can tell whether it is whole.
"""

import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, Final
from uuid import UUID

import cbor2

from less_sync.sync.protocol.messages import MemberEntry, MembershipListResult, PullFile, PullRecord
from less_sync.validation.context import Context
from less_sync.validation.conversation import Conversation
from less_sync.validation.file_routes import dek_header, file_path, put_file
from less_sync.validation.generated import Stream
from less_sync.validation.outcome import Blocked, Faulty
from less_sync.validation.people import Person
from less_sync.validation.spaces import (
    ALL,
    Pulled,
    Space,
    change,
    dek,
    measure_records,
    pull,
    pushed,
    read,
    record,
)
from less_sync.validation.targets import Target

RECORDS: Final = 32
RECORDS_PER_PUSH: Final = 4
TOMBSTONES: Final = 4
CHAIN: Final = 3
FILE_BYTES: Final = 1024 * 1024
SIZES_BYTES: Final = (0, 1, 1024, 4096)
"""Of the records, in turn; the last of all has a mebibyte."""
LARGE_BYTES: Final = 1024 * 1024
PAYLOAD_BYTES: Final = 64
CRITERIA: Final = ("index", "records", "tombstones", "members")
"""What `measure_sentinel` measures; the file among the records."""


@dataclass(frozen=True, slots=True)
class Content:
    """What the sentinel of a space consists of. The first record is the one that the file belongs to."""

    space: Space
    records: Mapping[str, tuple[bytes, bytes]]
    """Blob and DEK by id, in the order of planting."""
    tombstones: Sequence[str]
    payloads: Sequence[bytes]
    """Of the entries of the membership log."""
    index: str
    """The record that says where all lies."""
    file: UUID
    file_dek: bytes

    @property
    def file_record(self) -> str:
        """The record whose file it is."""
        return next(iter(self.records))

    def file_content(self) -> bytes:
        """A mebibyte, made anew each time."""
        return Stream(self.space.id.bytes, "sentinel-file").take(FILE_BYTES)


def content_of(space: UUID) -> Content:
    """The sentinel of a personal space."""
    stream = Stream(space.bytes, "sentinel")
    sizes = [SIZES_BYTES[number % len(SIZES_BYTES)] for number in range(RECORDS - 1)]
    return Content(
        Space(space),
        {str(stream.uuid()): (stream.take(size), dek(stream)) for size in (*sizes, LARGE_BYTES)},
        [str(stream.uuid()) for _ in range(TOMBSTONES)],
        [stream.take(PAYLOAD_BYTES) for _ in range(CHAIN)],
        str(stream.uuid()),
        stream.uuid(),
        dek(stream),
    )


@dataclass(frozen=True, slots=True)
class Index:
    """The cursors at which it was planted."""

    records: tuple[int, ...]
    tombstones: tuple[int, ...]
    members: tuple[int, ...]
    file: int
    """0: without one."""

    def blob(self) -> bytes:
        """As its record has it: SHA-256 of the rest, then CBOR."""
        body = cbor2.dumps([list(self.records), list(self.tombstones), list(self.members), self.file])
        return hashlib.sha256(body).digest() + body


def index_of(blob: bytes) -> Index | None:
    """What a record says; None when it is not as `Index.blob` made it."""
    digest, body = blob[:32], blob[32:]
    if hashlib.sha256(body).digest() != digest:
        return None
    try:
        value = cbor2.loads(body)
    except Exception:  # a server that makes up a digest makes up what is behind it
        return None
    match value:
        case [list() as records, list() as tombstones, list() as members, int() as file]:
            cursors = (*records, *tombstones, *members)
        case _:
            return None
    sizes = (len(records), len(tombstones), len(members))
    if sizes != (RECORDS, TOMBSTONES, CHAIN) or not all(isinstance(one, int) for one in cursors):
        return None
    return Index(tuple(records), tuple(tombstones), tuple(members), file)


# Planting.


@dataclass(frozen=True, slots=True)
class Planted:
    """What a planting did."""

    written: int
    """Records, deletions, entries and files; 0: all was there already."""
    space: UUID


async def plant(context: Context) -> Planted:
    """Write what is missing of the sentinel into the owner's personal space at the context's target.

    The only thing beside a canary that writes to a target that may only be read: for a command that says so.
    Planting again writes nothing; what is there and differs is replaced.

    Raises:
        Faulty: the target refuses; `file-differs`, there is another file in its place.
        Blocked: the owner's token names no personal space; `rate-limited`.
    """
    person = context.run.people.person(context.target.name, "owner")
    content = content_of(await person.personal_space())
    async with _writable(context.target) as target:
        async with context.converse(person, target=target) as conversation:
            before = await pull(conversation, content.space, ALL)
            written = await _plant_records(conversation, content, before)
            written += await _plant_tombstones(conversation, content, before)
            written += await _plant_members(conversation, content)
            if context.run.manifest.features["files"]:
                written += await _plant_file(context, person, target, content)
            after = await pull(conversation, content.space, ALL)
            index = _index_found(content, after)
            there = {one.id: one for one in after.records}.get(content.index)
            if there is None or there.blob != index.blob():
                expected = 0 if there is None else there.cursor
                await pushed(
                    conversation, content.space, [change(content.index, index.blob(), expected=expected)]
                )
                written += 1
    context.say(f"planted: {written} written, the rest was there")
    return Planted(written, content.space.id)


@asynccontextmanager
async def _writable(target: Target) -> AsyncIterator[Target]:
    other = Target(replace(target.spec, writes="throwaway"), target.base_url, tls=target.tls)
    try:
        yield other
    finally:
        await other.close()


async def _plant_records(conversation: Conversation, content: Content, before: Pulled) -> int:
    there = {one.id: one for one in before.records}
    written = 0
    wanted = list(content.records.items())
    for first in range(0, RECORDS, RECORDS_PER_PUSH):
        changes = []
        for name, (blob, key) in wanted[first : first + RECORDS_PER_PUSH]:
            found = there.get(name)
            if found is None or found.deleted or (found.blob, found.dek) != (blob, key):
                changes.append(change(name, blob, expected=found.cursor if found else 0, dek=key))
        if changes:
            await pushed(conversation, content.space, changes)
        written += len(changes)
    return written


async def _plant_tombstones(conversation: Conversation, content: Content, before: Pulled) -> int:
    there = {one.id: one for one in before.records}
    live = {
        name: there[name].cursor for name in content.tombstones if name in there and not there[name].deleted
    }
    new = [name for name in content.tombstones if name not in there]
    if new:
        cursor = await pushed(conversation, content.space, [change(name, b"to be deleted") for name in new])
        live |= dict.fromkeys(new, cursor)
    if live:
        changes = [change(name, None, expected=cursor) for name, cursor in live.items()]
        await pushed(conversation, content.space, changes)
    return len(live)


async def _members(conversation: Conversation, space: Space) -> MembershipListResult:
    result = await conversation.call("membership.list", space.params())
    return read(MembershipListResult, result, "membership.list")


async def _plant_members(conversation: Conversation, content: Content) -> int:
    listed = await _members(conversation, content.space)
    there = {entry.payload for entry in listed.entries}
    missing = [payload for payload in content.payloads if payload not in there]
    last = listed.entries[-1].entry_hash if listed.entries else b""
    for number, payload in enumerate(missing):
        entry: dict[str, Any] = {"entry_hash": hashlib.sha256(payload).digest(), "payload": payload}
        before = {"prev_hash": last} if last else {}
        params = content.space.params(expected_version=listed.metadata_version + number, **before, **entry)
        await conversation.call("membership.append", params)
        last = entry["entry_hash"]
    return len(missing)


async def _plant_file(context: Context, person: Person, target: Target, content: Content) -> int:
    key = content.file_dek
    answer = await put_file(
        context,
        person,
        content.space,
        content.file,
        content.file_record,
        key,
        content.file_content(),
        target=target,
    )
    if answer.status not in (201, 204):
        raise Faulty("refused", "put", answer.status)
    path = file_path(content.space.id, content.file)
    there = await context.request("GET", path, person=person, target=target)
    if there.body != content.file_content() or there.header("x-wrapped-dek") != dek_header(key):
        raise Faulty("file-differs")
    return int(answer.status == 201)


def _index_found(content: Content, pulled: Pulled) -> Index:
    """The cursors of what lies there. Raises Faulty `missing` when something does not."""
    cursors = {one.id: one.cursor for one in pulled.records}
    members = {entry.payload: one.cursor for one in pulled.members for entry in one.entries}
    try:
        return Index(
            tuple(cursors[name] for name in content.records),
            tuple(cursors[name] for name in content.tombstones),
            tuple(members[payload] for payload in content.payloads),
            next((one.cursor for one in pulled.files if one.id == str(content.file)), 0),
        )
    except KeyError:
        raise Faulty("missing") from None


# Reading it back.


async def measure_sentinel(
    context: Context, conversation: Conversation, person: Person, *, target: Target | None = None
) -> None:
    """Read it back from the person's personal space; measures `CRITERIA`.

    Reasons: `missing`, and those of `measure_records`; `chain`, `hash`, `length`, `count`.

    Raises:
        Faulty: the target refuses to be read.
        Blocked: `no-planted-file`, there are files now and there were none.
    """
    content = content_of(await person.personal_space())
    pulled = await pull(conversation, content.space)
    told = (pulled.commit.count, pulled.announced)
    context.measured.same("index", (len(pulled.chunks), len(pulled.chunks) + 2), told, "count")
    there = {one.id: one for one in pulled.records}
    context.measured.same("index", True, content.index in there, "missing")
    if content.index not in there:
        raise Faulty("missing")
    index = index_of(there[content.index].blob or b"")
    context.measured.same("index", True, index is not None, "bytes")
    if index is None:
        raise Faulty("bytes")
    ties = (target or context.target).spec.server == "less-sync"
    _measure_live(context, content, index, pulled.records, ties=ties)
    await _measure_gone(context, conversation, content, index, ties=ties)
    await _measure_members(context, conversation, content, index, pulled)
    if index.file:
        await _measure_file(context, person, target, content, index, pulled.files)
    elif context.run.manifest.features["files"]:
        raise Blocked("no-planted-file")


def _measure_live(
    context: Context, content: Content, index: Index, seen: Sequence[PullRecord], *, ties: bool
) -> None:
    wanted = [
        record(content.space, name, blob, cursor, dek=key)
        for (name, (blob, key)), cursor in zip(content.records.items(), index.records, strict=True)
    ]
    ours = [one for one in seen if one.id in content.records]
    context.say(f"{len(ours)} of {RECORDS} records are there")
    measure_records(context.measured, "records", wanted, ours, ties=ties)


async def _measure_gone(
    context: Context, conversation: Conversation, content: Content, index: Index, *, ties: bool
) -> None:
    since = min(index.tombstones) - 1
    seen = (await pull(conversation, content.space, since)).records
    wanted = [
        record(content.space, name, None, cursor)
        for name, cursor in zip(content.tombstones, index.tombstones, strict=True)
    ]
    ours = [one for one in seen if one.id in content.tombstones]
    context.say(f"{len(ours)} of {TOMBSTONES} tombstones are there")
    measure_records(context.measured, "tombstones", wanted, ours, ties=ties)


async def _measure_members(
    context: Context, conversation: Conversation, content: Content, index: Index, pulled: Pulled
) -> None:
    same = context.measured.same
    entries = (await _members(conversation, content.space)).entries
    before = b""
    ours: list[MemberEntry] = []
    for entry in entries:
        if entry.payload in content.payloads:
            ours.append(entry)
            same("members", before, entry.prev_hash, "chain")
            same("members", hashlib.sha256(entry.payload).digest(), entry.entry_hash, "hash")
        before = entry.entry_hash
    context.say(f"{len(ours)} of {CHAIN} entries of the membership log are there")
    same("members", list(content.payloads), [entry.payload for entry in ours], "chain")
    found = [
        (one.cursor, entry)
        for one in pulled.members
        for entry in one.entries
        if entry.payload in content.payloads
    ]
    same("members", list(zip(index.members, ours, strict=False)), found, "cursor")


async def _measure_file(
    context: Context,
    person: Person,
    target: Target | None,
    content: Content,
    index: Index,
    pulled: Sequence[PullFile],
) -> None:
    same = context.measured.same
    wanted = (index.file, content.file_record, FILE_BYTES, content.file_dek)
    found = [(one.cursor, one.record_id, one.size, one.dek) for one in pulled if one.id == str(content.file)]
    same("records", [wanted], found, "file")
    path = file_path(content.space.id, content.file)
    answer = await context.request("GET", path, person=person, target=target)
    context.say(f"the file: status {answer.status}, {len(answer.body)} bytes")
    same("records", 200, answer.status, f"file:{answer.status}")
    same("records", dek_header(content.file_dek), answer.header("x-wrapped-dek"), "dek")
    same("records", content.file_content(), answer.body, "bytes")
