"""Lane `contract`, files over HTTP (docs/files.md 2)."""

from collections.abc import Mapping
from typing import Final

from less_sync.auth import Permission
from less_sync.sync.protocol.messages import PullFile
from less_sync.validation.context import Context
from less_sync.validation.file_routes import dek_header, file_path, opened, put_file
from less_sync.validation.people import Person
from less_sync.validation.procedure import Procedure, Same
from less_sync.validation.spaces import (
    change,
    dek,
    make_space,
    measure_notice,
    pull,
    pushed,
    shared,
    subscribe,
)
from less_sync.validation.waiting import heard

FILE_BYTES: Final = 3 * 1024 * 1024
HEAR_S: Final = 2.0


async def files(context: Context) -> None:
    """Upload a file, hear of it, read it back, see that others cannot, delete its record and it with it."""
    people, measured = context.run.people, context.measured
    owner, member = (people.person(context.target.name, name) for name in ("owner", "member"))
    file, record, key = context.stream.uuid(), context.stream.uuid(), dek(context.stream)
    content = context.stream.take(FILE_BYTES)
    async with context.converse(owner) as one:
        space = await make_space(context, one, owner)
        path = file_path(space.id, file)
        before = await pushed(one, space, [change(record, b"of the file")])
        await subscribe(one, space)
        for status in (201, 204):
            answer = await put_file(context, owner, space, file, record, key, content)
            measured.same("stored", status, answer.status, f"put:{answer.status}")
        context.say("uploaded a file of 3 MiB, and once more")
        told = {"id": str(file), "record_id": str(record), "size": FILE_BYTES, "dek": key}
        notice = {"space": str(space.id), "cursor": before + 1, "files": [told]}
        measure_notice(measured, "announced", notice, await heard(one, "file", HEAR_S))
        wanted = PullFile(
            space=str(space.id),
            id=str(file),
            record_id=str(record),
            size=FILE_BYTES,
            dek=key,
            cursor=before + 1,
        )
        measured.same("pulled", [wanted], (await pull(one, space)).files, "pulled")
        reader = shared(context, space, owner, member, Permission.READ)
        for person, headers in ((owner, opened(space)), (member, opened(reader))):
            await _measure_read(context, person, path, headers, content, key)
        for status, elsewhere, headers in (
            (401, path, {}),
            (404, file_path(context.stream.uuid(), file), opened(reader)),
        ):
            answer = await context.request("GET", elsewhere, headers=headers, person=member)
            measured.same("others", status, answer.status, f"other:{answer.status}")
        cursor = await pushed(one, space, [change(record, None, expected=before)])
        context.say("deleted the record of the file")
        gone = [{"id": str(file), "record_id": str(record), "deleted": True}]
        notice = {"space": str(space.id), "cursor": cursor, "files": gone}
        measure_notice(measured, "removed", notice, await heard(one, "file", HEAR_S))
        answer = await context.request("GET", path, headers=opened(space), person=owner)
        measured.same("removed", 404, answer.status, f"deleted:{answer.status}")


async def _measure_read(
    context: Context, person: Person, path: str, headers: Mapping[str, str], content: bytes, key: bytes
) -> None:
    same = context.measured.same
    for method, body in (("HEAD", b""), ("GET", content)):
        answer = await context.request(method, path, headers=headers, person=person)
        same("read", 200, answer.status, f"{method.lower()}:{answer.status}")
        same("read", dek_header(key), answer.header("x-wrapped-dek"), "dek")
        same("read", str(len(content)), answer.header("content-length"), "length")
        same("read", body, answer.body, "bytes")


PROCEDURES: Final = (
    Procedure(
        "files",
        "contract",
        files,
        "a file is stored once, announced, read back to the byte, hidden from others and removed",
        (Same("stored"), Same("announced"), Same("pulled"), Same("read"), Same("others"), Same("removed")),
        feature="files",
        exclusive=("identity:owner", "identity:member"),
        capabilities=("owner:key", "member:key"),
        writes=True,
    ),
)
