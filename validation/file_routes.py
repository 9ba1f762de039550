"""The routes of files, as checks use them (docs/files.md 2)."""

from base64 import b64encode
from typing import TYPE_CHECKING
from uuid import UUID

from less_sync.validation.outcome import Faulty

if TYPE_CHECKING:
    from less_sync.validation.context import Context
    from less_sync.validation.people import Person
    from less_sync.validation.spaces import Space
    from less_sync.validation.targets import Answer, Target


def file_path(space: UUID, file: UUID) -> str:
    """Where a file is put and got."""
    return f"/api/v1/spaces/{space}/files/{file}"


def opened(space: "Space") -> dict[str, str]:
    """The header that opens a space to whoever asks."""
    return {"X-UCAN": space.ucan} if space.ucan else {}


def dek_header(key: bytes) -> str:
    """A wrapped DEK as headers have it."""
    return b64encode(key).decode()


async def put_file(
    context: "Context",
    person: "Person",
    space: "Space",
    file: UUID,
    record: UUID | str,
    key: bytes,
    content: bytes,
    *,
    target: "Target | None" = None,
) -> "Answer":
    """Upload a file.

    Raises:
        Faulty: `proxy-limit`, something before the server refused its size; else as `Context.request`.
    """
    headers = {
        "X-Record-ID": str(record),
        "X-Wrapped-DEK": dek_header(key),
        "Content-Type": "application/octet-stream",
        **opened(space),
    }
    path = file_path(space.id, file)
    answer = await context.request("PUT", path, headers=headers, body=content, person=person, target=target)
    if answer.status == 413 and answer.header("x-protocol-version") is None:
        raise Faulty("proxy-limit")
    return answer
