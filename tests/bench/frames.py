"""Bytes the load generator sends, made before anything is measured, and a counter for the bytes it reads."""

import os
from collections.abc import Sequence
from typing import Final
from uuid import UUID, uuid4

import cbor2
from websockets.frames import Frame, Opcode

DEK_BYTES: Final = 44
PUSH_OK: Final = b"bok\xf5"
"""In every answer to a push that was written: the key `ok` and true."""
PULL_END: Final = b"g_chunks"
"""In the answer that ends a pull, and in nothing before it as long as blobs are not chosen to hold it."""


def shown(ucan: str) -> dict[str, str]:
    """The member that shows a UCAN, where there is one."""
    return {"ucan": ucan} if ucan else {}


def client_frame(payload: bytes) -> bytes:
    """One binary message, masked with a random key as RFC 6455 5.3 has it."""
    return Frame(Opcode.BINARY, payload).serialize(mask=True)


PONG: Final = Frame(Opcode.PONG, b"").serialize(mask=True)
"""Says that a client is there, unasked (RFC 6455 5.5.3)."""


def upgrade_request(port: int, path: str = "/api/v1/ws", lines: str = "") -> bytes:
    """The opening handshake; the answer's accept key is not checked.

    Args:
        lines: further header lines, each with its end.
    """
    return (
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{lines}"
        "Connection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
        "Sec-WebSocket-Protocol: betterbase-rpc-v1\r\n\r\n"
    ).encode()


def auth_frame(token: str) -> bytes:
    return client_frame(cbor2.dumps({"type": 2, "method": "auth", "params": {"token": token}}))


def subscribe_frame(*spaces: str, ucans: Sequence[str] = ()) -> bytes:
    """Subscribe to spaces; the shared ones with a UCAN each."""
    entries = [{"id": space, "since": 0} for space in spaces]
    with_ucans = [{**entry, "ucan": ucan} for entry, ucan in zip(entries, ucans, strict=False)]
    params = {"spaces": with_ucans or entries}
    return client_frame(cbor2.dumps({"type": 0, "id": "s", "method": "subscribe", "params": params}))


def pull_frame(space: str, ucan: str = "") -> bytes:
    params = {"spaces": [{"id": space, "since": 0} | shown(ucan)]}
    return client_frame(cbor2.dumps({"type": 0, "id": "p", "method": "pull", "params": params}))


def push_frames(space: str, *, count: int, records: int, blob_bytes: int, ucan: str = "") -> list[bytes]:
    """`count` pushes of `records` new records each; random ids and blobs, a wrapped DEK beside every blob."""
    return [push_frame(space, [uuid4() for _ in range(records)], blob_bytes, ucan) for _ in range(count)]


def push_frame(space: str, ids: Sequence[UUID], blob_bytes: int, ucan: str = "") -> bytes:
    changes = [
        {
            "id": str(id),
            "blob": os.urandom(blob_bytes),
            "expected_cursor": 0,
            "dek": wrapped_dek(),
        }
        for id in ids
    ]
    params = {"space": space, "changes": changes} | shown(ucan)
    return client_frame(cbor2.dumps({"type": 0, "id": "w", "method": "push", "params": params}))


def tiny_push_frame(space: str, records: int) -> bytes:
    """A push of new records of one byte each, without keys."""
    changes = [{"id": str(uuid4()), "blob": b"x", "expected_cursor": 0} for _ in range(records)]
    params = {"space": space, "changes": changes}
    return client_frame(cbor2.dumps({"type": 0, "id": "w", "method": "push", "params": params}))


def wrapped_dek() -> bytes:
    """44 bytes as clients send them: epoch 1 before what is taken for key material."""
    return b"\0\0\0\1" + os.urandom(DEK_BYTES - 4)


class FrameCounter:
    """Counts binary messages in a server's byte stream by their headers alone.

    Keepalives (the one-byte message), pings and close frames are passed over. A server never masks
    (RFC 6455 5.1), and ours does not fragment.
    """

    __slots__ = ("_rest", "_skip")

    def __init__(self) -> None:
        self._rest = b""
        self._skip = 0

    def feed(self, data: bytes) -> int:
        """Return how many messages are complete with `data`."""
        if self._skip >= len(data):  # the middle of a long message
            self._skip -= len(data)
            return 0 if self._skip else 1
        done = 0
        at = self._skip
        if at:
            done, self._skip = 1, 0
        elif self._rest:
            data, self._rest = self._rest + data, b""
        size = len(data)
        while at + 2 <= size:
            body = at + 2
            length = data[at + 1]
            if length > 125:
                width = 2 if length == 126 else 8
                body += width
                if body > size:
                    break
                length = int.from_bytes(data[at + 2 : body], "big")
            counted = data[at] == 0x82 and length != 1
            if body + length > size:
                if not counted:
                    break  # a short control frame: wait for the rest of it
                self._skip = body + length - size
                return done
            done += counted
            at = body + length
        self._rest = data[at:]
        return done
