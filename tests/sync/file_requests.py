"""Requests about files over real sockets, and what they are about."""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

from tests.live import Client, Live
from tests.sync.raw_http import Response, connected

EPOCH = (1).to_bytes(4, "big")


def dek(filler: bytes = b"\xaa") -> bytes:
    """A wrapped DEK of epoch 1; the server does not look into it."""
    return EPOCH + filler * 40


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def path(space: str, file: UUID | str) -> str:
    return f"/api/v1/spaces/{space}/files/{file}"


def headers(live: Live, record: str, user: str = "alice", /, **changes: str | None) -> dict[str, str]:
    """The head of a good upload; names of changes have `_` for `-`, None leaves one out."""
    whole: dict[str, str | None] = {
        "authorization": f"Bearer {live.token(user)}",
        "x-record-id": record,
        "x-wrapped-dek": b64(dek()),
        **{name.replace("_", "-"): value for name, value in changes.items()},
    }
    return {name: value for name, value in whole.items() if value is not None}


async def request(
    live: Live, method: str, target: str, fields: Mapping[str, str], body: bytes | None = None
) -> Response:
    """One request; `Content-Length` is that of the body unless `fields` name another, or another framing."""
    if "transfer-encoding" in fields:
        body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body or b""), body or b"")
    elif body is not None and "content-length" not in fields:
        fields = {**fields, "content-length": str(len(body))}
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    async with connected(live.port) as connection:
        head = f"{method} {target} HTTP/1.1\r\nHost: h\r\n{lines}\r\n"
        connection.send(head.encode("latin-1") + (body or b""))
        return await connection.receive(body=method != "HEAD")


def told(response: Response) -> tuple[int, str]:
    """Status and error text of a refusal."""
    return response.status, json.loads(response.body)["error"] if response.body else ""


@dataclass(slots=True)
class Shelf:
    """A live record in somebody's space, and files that are bound to it."""

    live: Live
    client: Client
    record: str
    user: str = "alice"
    space: str = ""
    more: dict[str, str] = field(default_factory=dict)
    """Headers that each request brings along."""

    async def put(
        self, file: UUID | str, body: bytes, *, key: bytes | None = None, **changes: str | None
    ) -> Response:
        fields = headers(self.live, self.record, self.user, **changes)
        if key is not None:
            fields["x-wrapped-dek"] = b64(key)
        target = path(self.space or self.client.space, file)
        return await request(self.live, "PUT", target, {**fields, **self.more}, body)

    async def get(self, file: UUID | str, method: str = "GET", **more: str) -> Response:
        fields = {"authorization": f"Bearer {self.live.token(self.user)}", **self.more, **more}
        return await request(self.live, method, path(self.space or self.client.space, file), fields)

    async def delete_record(self) -> Any:
        """Push a tombstone over the record."""
        cursor = await self.cursor()
        return await self.client.push({"id": self.record, "expected_cursor": cursor}, space=self.space)

    async def cursor(self) -> int:
        """The record's."""
        entries = await self.client.pull(-1, space=self.space)
        records = [data for name, data in entries if name == "pull.record" and data["id"] == self.record]
        return int(records[0]["cursor"])


async def shelf(live: Live, user: str = "alice") -> Shelf:
    """A connected user with one record in the personal space."""
    client = await live.connect(user)
    record = str(uuid4())
    pushed = await client.push({"id": record, "expected_cursor": 0, "blob": b"x"})
    assert pushed["ok"]
    return Shelf(live, client, record, user)
