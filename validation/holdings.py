"""What a person has in a space of their own: written through one server, and read back through another.

One listing of a pull, byte for byte, and the contents of files are the measure.
"""

import hashlib
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from less_sync.sync.protocol.messages import MembershipAppendResult, PullFile, PullMembership, PullRecord
from less_sync.validation.context import Context
from less_sync.validation.conversation import Conversation
from less_sync.validation.file_routes import file_path, put_file
from less_sync.validation.outcome import Faulty
from less_sync.validation.people import Person
from less_sync.validation.spaces import ALL, Space, change, dek, pull, pushed, read
from less_sync.validation.targets import Target

RECORDS_PER_PUSH: Final = 50
BLOB_BYTES: Final = 200
FILE_BYTES: Final = 5_000
PAYLOAD_BYTES: Final = 64


@dataclass(frozen=True, slots=True)
class Holdings:
    """All that a pull lists of a space, in its order, and the digests of contents of files."""

    cursor: int
    records: tuple[PullRecord, ...]
    files: tuple[PullFile, ...]
    members: tuple[PullMembership, ...]
    contents: dict[str, str] = field(default_factory=dict)
    """SHA-256 by file."""


async def write_through(
    context: Context, target: Target, person: Person, *, records: int, files: int = 0, members: int = 0
) -> None:
    """Write new records, files of the first of them and entries of the membership log.

    Raises:
        Faulty: the server refused any of it.
    """
    space = Space(await person.personal_space())
    async with context.converse(person, target=target) as conversation:
        ids = [context.stream.uuid() for _ in range(records)]
        changes = [change(one, context.stream.take(BLOB_BYTES), dek=dek(context.stream)) for one in ids]
        for start in range(0, records, RECORDS_PER_PUSH):
            await pushed(conversation, space, changes[start : start + RECORDS_PER_PUSH])
        if members:
            await _append(context, conversation, space, members)
    for one in ids[:files]:
        file, key, content = context.stream.uuid(), dek(context.stream), context.stream.take(FILE_BYTES)
        answer = await put_file(context, person, space, file, one, key, content, target=target)
        if answer.status != 201:
            raise Faulty("file-refused", answer.status)


async def _append(context: Context, conversation: Conversation, space: Space, count: int) -> None:
    chain = [entry for page in (await pull(conversation, space, ALL)).members for entry in page.entries]
    last, version = (chain[-1].entry_hash if chain else b""), len(chain)
    for _ in range(count):
        payload = context.stream.take(PAYLOAD_BYTES)
        digest = hashlib.sha256(payload).digest()
        params = space.params(expected_version=version, prev_hash=last, entry_hash=digest, payload=payload)
        result = await conversation.call("membership.append", params)
        version = read(MembershipAppendResult, result, "membership.append").metadata_version
        last = digest


async def read_through(context: Context, target: Target, person: Person) -> Holdings:
    """What the person's own space holds, as a server gives it out.

    Raises:
        Faulty: as `pull`; `file:STATUS`, a content is not to be had.
    """
    space = Space(await person.personal_space())
    async with context.converse(person, target=target) as conversation:
        pulled = await pull(conversation, space, ALL)
    contents = {}
    for file in pulled.files:
        if file.deleted:
            continue
        try:
            path = file_path(space.id, UUID(file.id))
        except ValueError:
            raise Faulty("shape", "pull.file") from None
        answer = await context.request("GET", path, person=person, target=target)
        if answer.status != 200 or len(answer.body) != file.size:
            raise Faulty("file", answer.status)
        contents[file.id] = hashlib.sha256(answer.body).hexdigest()
    return Holdings(
        pulled.begin.cursor, tuple(pulled.records), tuple(pulled.files), tuple(pulled.members), contents
    )
