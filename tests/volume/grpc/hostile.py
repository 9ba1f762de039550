"""Messages that nobody would send, and what a call may answer to them."""

import asyncio
from random import Random
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import Message

from less_sync.volume.grpc.row import Row
from less_sync.volume.grpc.table import CALLS
from tests.volume.grpc.serving import SERVICE, Serving

NUMBERS = (
    0,
    1,
    2,
    3,
    7,
    8,
    255,
    2**15,
    2**31 - 1,
    -1,
    -8,
    -(2**31),
    2**32 - 1,
    2**63 - 1,
    -(2**63),
    2**64 - 1,
)
TEXTS = (
    "",
    "000",
    "3,0100000007",
    "3,01",
    "hdd",
    "\\x00",
    "é" * 300,
    "../x",
    ".dat",
    ".idx",
    "a" * 9_000,
    "%s",
    '"',
)
ALLOWED = {
    grpc.StatusCode.OK,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.UNIMPLEMENTED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.INTERNAL,
}


RESERVED_BYTES_MAX = 1 << 20
"""A temporary directory may be in memory, which would really be taken."""


def filled(random: Random, message: Message) -> Message:
    """A message whose members have values from the edges of their kinds."""
    for field in message.DESCRIPTOR.fields:
        if random.random() < 0.2:
            continue
        if field.message_type is not None:
            target: Any = getattr(message, field.name)
            filled(random, target.add() if field.is_repeated else target)
            continue
        values = [
            value
            for _ in range(3 if field.is_repeated else 1)
            if (value := _value(random, field)) is not None
        ]
        if field.is_repeated:
            getattr(message, field.name).extend(values)
        elif values:
            is_reserving = field.name == "preallocate"
            value = min(values[0], RESERVED_BYTES_MAX) if is_reserving else values[0]
            setattr(message, field.name, value)
    return message


def _value(random: Random, field: Any) -> Any:
    """One that fits; None if the one drawn does not."""
    if field.type == field.TYPE_STRING:
        return random.choice(TEXTS)
    if field.type == field.TYPE_BYTES:
        return random.randbytes(random.choice((0, 3, 16, 40, 5_000)))
    if field.type == field.TYPE_BOOL:
        return random.random() < 0.5
    number = random.choice(NUMBERS)
    low, high = {
        field.TYPE_UINT32: (0, 2**32 - 1),
        field.TYPE_UINT64: (0, 2**64 - 1),
        field.TYPE_INT32: (-(2**31), 2**31 - 1),
        field.TYPE_ENUM: (0, 99),
    }.get(field.type, (-(2**63), 2**63 - 1))
    return number if low <= number <= high else None


def mutated(random: Random, raw: bytes) -> bytes:
    """The bytes with some changed, cut or doubled."""
    found = bytearray(raw)
    for _ in range(random.randrange(3)):
        if found:
            found[random.randrange(len(found))] = random.randrange(256)
    cut = random.randrange(len(found) + 1)
    return bytes(random.choice((found, found[:cut], found + found[cut:])))


async def code_of(server: Serving, row: Row, raw: bytes) -> tuple[grpc.StatusCode, str]:
    call: Any = server.channel.stream_stream(SERVICE + row.name)
    try:
        async with asyncio.timeout(20):
            async for _ in call(iter([raw])):
                pass
    except grpc.aio.AioRpcError as error:
        return error.code(), error.details() or ""
    return grpc.StatusCode.OK, ""


async def send(server: Serving, random: Random, per_call: int) -> int:
    """Send messages to every call, in no order and sixteen at once; return how many."""
    raws = [
        (row, mutated(random, raw) if random.random() < 0.4 else raw)
        for row in CALLS
        for raw in (filled(random, row.request()).SerializeToString() for _ in range(per_call))
    ]
    random.shuffle(raws)
    for start in range(0, len(raws), 16):
        group = raws[start : start + 16]
        answers = await asyncio.gather(*(code_of(server, row, raw) for row, raw in group))
        for (row, raw), (code, text) in zip(group, answers, strict=True):
            shown = f"{row.name} {raw!r}: {code} {text}"
            assert code in ALLOWED, shown
            assert text != "internal error", shown
            assert code is not grpc.StatusCode.INTERNAL or "unmarshalling" in text, shown
    return len(raws)
