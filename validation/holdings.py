"""What a person has in a space: written through one server, and read back through another.

One listing of a pull, byte for byte, is the measure. Everything generated comes from the check's stream.
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from less_sync.sync.protocol.errors import ParamsError
from less_sync.sync.protocol.frames import Chunk
from less_sync.sync.protocol.messages import (
    MemberEntry,
    PullBegin,
    PullCommit,
    PullFile,
    PullMembership,
    PullRecord,
    decode_params,
)
from less_sync.validation.context import Context
from less_sync.validation.conversation import Conversation
from less_sync.validation.generated import Stream
from less_sync.validation.outcome import Faulty
from less_sync.validation.people import Person
from less_sync.validation.targets import Target

RECORDS_PER_PUSH: Final = 50
BLOB_BYTES: Final = 200
DEK_BYTES: Final = 44
FILE_BYTES: Final = 5_000
FIRST_EPOCH: Final = (1).to_bytes(4, "big")
PULL_S: Final = 60.0

Record = tuple[int, bytes | None, bytes | None, bool]
"""Cursor, blob, DEK, and whether it is a tombstone."""
File = tuple[int, str, int, bytes, bool]
"""Cursor, record, size, DEK, and whether it is gone."""
Member = tuple[int, int, bytes, bytes, bytes]
"""Cursor, place in the chain, hash before, hash, payload."""


@dataclass(slots=True)
class Holdings:
    """All that a pull lists of a space, and contents of files by their id."""

    cursor: int = 0
    records: dict[str, Record] = field(default_factory=dict)
    files: dict[str, File] = field(default_factory=dict)
    members: list[Member] = field(default_factory=list)
    contents: dict[str, str] = field(default_factory=dict)
    """SHA-256 of each file that was fetched."""
    twice: int = 0
    """Entries that came more than once."""

    @property
    def last_hash(self) -> bytes:
        """Of the membership chain; empty at its start."""
        return self.members[-1][3] if self.members else b""


async def pulled(conversation: Conversation, space: UUID, since: int = 0) -> Holdings:
    """What the space lists above a cursor.

    Raises:
        Faulty: `refused:pull:CODE`, `pull-shape`, or as `Conversation.response`.
    """
    params = {"spaces": [{"id": str(space), "since": since}]}
    response, chunks = await conversation.response(await conversation.send("pull", params), PULL_S)
    if response.error is not None:
        raise Faulty("refused", "pull", response.error.code)
    held, committed = Holdings(), -1
    try:
        for chunk in chunks:
            committed = _take(held, chunk, committed)
    except ParamsError:
        raise Faulty("pull-shape") from None
    if committed != len(held.records) + len(held.files) + len(held.members) + held.twice:
        raise Faulty("pull-shape")
    return held


def _take(held: Holdings, chunk: Chunk, committed: int) -> int:
    """Add a chunk; returns how many entries the commit told of, -1 before it."""
    match chunk.name:
        case "pull.begin":
            held.cursor = decode_params(PullBegin, chunk.data).cursor
        case "pull.record":
            record = decode_params(PullRecord, chunk.data)
            held.twice += record.id in held.records
            gone = record.deleted or record.blob is None
            held.records[record.id] = (record.cursor, record.blob, record.dek, gone)
        case "pull.file":
            file = decode_params(PullFile, chunk.data)
            held.twice += file.id in held.files
            held.files[file.id] = (file.cursor, file.record_id, file.size, file.dek, file.deleted)
        case "pull.membership":
            page = decode_params(PullMembership, chunk.data)
            held.members += [_member(page.cursor, entry) for entry in page.entries]
        case "pull.commit":
            return decode_params(PullCommit, chunk.data).count
        case _:
            raise Faulty("pull-shape")
    return committed


def _member(cursor: int, entry: MemberEntry) -> Member:
    return cursor, entry.chain_seq, entry.prev_hash, entry.entry_hash, entry.payload


async def pushed(
    conversation: Conversation, space: UUID, changes: Sequence[Mapping[str, Any]], within_s: float = 10.0
) -> int:
    """Push and return the cursor.

    Raises:
        Faulty: `push-refused:CODE`; or as `Conversation.call`.
    """
    result = await conversation.call("push", {"space": str(space), "changes": list(changes)}, within_s)
    if not isinstance(result, dict) or result.get("ok") is not True:
        code = result.get("error") if isinstance(result, dict) else None
        raise Faulty("push-refused", code if isinstance(code, str) else "shape")
    cursor = result.get("cursor")
    if type(cursor) is not int:
        raise Faulty("push-refused", "shape")
    return cursor


def change(stream: Stream, blob_bytes: int = BLOB_BYTES) -> dict[str, Any]:
    """A new record."""
    dek = FIRST_EPOCH + stream.take(DEK_BYTES - len(FIRST_EPOCH))
    return {"id": str(stream.uuid()), "blob": stream.take(blob_bytes), "expected_cursor": 0, "dek": dek}


async def write_through(
    context: Context, target: Target, person: Person, *, records: int, files: int, members: int
) -> Holdings:
    """Write into the person's own space through a server, and return what is then there.

    Raises:
        Faulty: it refused any of it.
    """
    space = await person.personal_space()
    async with context.converse(person, target=target) as conversation:
        changes = [change(context.stream) for _ in range(records)]
        for start in range(0, records, RECORDS_PER_PUSH):
            await pushed(conversation, space, changes[start : start + RECORDS_PER_PUSH])
        before = await pulled(conversation, space)
        await _append(conversation, context.stream, space, before, members)
        for one in changes[:files]:
            await _put(context, target, person, space, str(one["id"]))
    return await read_through(context, target, person)


async def read_through(context: Context, target: Target, person: Person) -> Holdings:
    """What the person's own space holds, contents of files too, as a server gives it out."""
    space = await person.personal_space()
    async with context.converse(person, target=target) as conversation:
        held = await pulled(conversation, space)
    for file, (_, _, size_bytes, _, gone) in held.files.items():
        if gone:
            continue
        answer = await context.request("GET", _path(space, file), person=person, target=target)
        if answer.status != 200 or len(answer.body) != size_bytes:
            raise Faulty("file", answer.status)
        held.contents[file] = hashlib.sha256(answer.body).hexdigest()
    return held


async def _append(
    conversation: Conversation, stream: Stream, space: UUID, before: Holdings, count: int
) -> None:
    """Entries for the space's membership chain."""
    last, version = before.last_hash, len(before.members)
    for _ in range(count):
        payload = stream.take(64)
        digest = hashlib.sha256(payload).digest()
        params = {
            "space": str(space),
            "expected_version": version,
            "prev_hash": last,
            "entry_hash": digest,
            "payload": payload,
        }
        result = await conversation.call("membership.append", params)
        version = int(result["metadata_version"]) if isinstance(result, dict) else -1
        last = digest


async def _put(context: Context, target: Target, person: Person, space: UUID, record: str) -> None:
    dek = FIRST_EPOCH + context.stream.take(DEK_BYTES - len(FIRST_EPOCH))
    headers = {
        "X-Record-ID": record,
        "X-Wrapped-DEK": base64.b64encode(dek).decode(),
        "Content-Type": "application/octet-stream",
    }
    path, body = _path(space, str(context.stream.uuid())), context.stream.take(FILE_BYTES)
    answer = await context.request("PUT", path, headers=headers, body=body, person=person, target=target)
    if answer.status != 201:
        raise Faulty("file-refused", answer.status)


def _path(space: UUID, file: str) -> str:
    return f"/api/v1/spaces/{space}/files/{file}"
