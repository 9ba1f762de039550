"""Requests as nobody would send them: the recorded ones with bytes changed, lost, doubled and mixed."""

import base64
from collections.abc import Iterator
from random import Random
from typing import Any, Final

from tests.volume.replay import scenarios

BODY_BYTES_MAX: Final = 8 << 10
"""Of a recorded request that is mutated: long bodies say nothing that short ones do not."""
TOKENS: Final = (
    *(
        b"\r\n",
        b"\r\n\r\n",
        b"\n",
        b"\r",
        b"\x00",
        b"\xff\xfe",
        b" ",
        b"\t",
        b":",
        b",",
        b"%",
        b"%zz",
        b"?",
        b"&",
    ),
    *(
        b"-1",
        b"99999999999999999999",
        b"18446744073709551616",
        b"0x10",
        b"_1",
        b"..",
        b"//",
        b"/./",
        b";",
        b'"',
    ),
    *(
        b"Transfer-Encoding: chunked\r\n",
        b"Content-Length: 5\r\n",
        b"Content-Length: 0\r\n",
        b"Expect: 100-continue\r\n",
    ),
    *(b"Range: bytes=0-0,1-1,2-2\r\n", b"Range: bytes=-1\r\n", b"Content-Encoding: gzip\r\n", b"Host: a\r\n"),
    *(
        b"Connection: close\r\n",
        b"HTTP/1.0",
        b"HTTP/1.1",
        b"HTTP/2.0",
        b"0\r\n\r\n",
        b"5\r\nhello\r\n",
        b"--x--\r\n",
    ),
    *(
        b"cm=true",
        b"ttl=3d",
        b"ts=99999999999999999999",
        b"fsync=true",
        b"width=100000",
        b"crop_x2=9",
        b"type=replicate",
    ),
)


def recorded_requests() -> list[bytes]:
    """All recorded requests whose body is short, as bytes; addresses of other servers are made up."""
    found = []
    for scenario in scenarios().values():
        for step in scenario["steps"]:
            if step["method"] == "RAW":
                found.append(step["raw"].encode("latin-1"))
            elif "expect" in step and (raw := _request(step)) is not None:
                found.append(raw)
    return found


def mutants(seed: int, count: int, originals: list[bytes]) -> Iterator[bytes]:
    """`count` requests made of `originals`, the same for the same seed."""
    random = Random(seed)
    for _ in range(count):
        mutant = bytearray(random.choice(originals))
        for _ in range(random.choice((0, 1, 1, 1, 2, 3, 8))):
            _mutate(random, mutant, originals)
        yield bytes(mutant)


def _mutate(random: Random, mutant: bytearray, originals: list[bytes]) -> None:
    at = random.randrange(len(mutant) + 1)
    length = random.choice((1, 1, 2, 4, 16, 100))
    match random.randrange(7):
        case 0 if at < len(mutant):
            mutant[at] ^= 1 << random.randrange(8)
        case 1:
            del mutant[at : at + length]
        case 2:
            mutant[at:at] = mutant[at : at + length] * random.choice((1, 2, 30))
        case 3:
            mutant[at:at] = random.choice(TOKENS)
        case 4:
            del mutant[at:]
        case 5:
            other = random.choice(originals)
            mutant[at:] = other[random.randrange(len(other)) :]
        case _:
            mutant[at:at] = random.randbytes(length)


def _request(step: dict[str, Any]) -> bytes | None:
    body = step.get("body")
    content = b""
    if body is not None:
        if "repeat" in body:
            text, times = body["repeat"]
            if len(text) * times > BODY_BYTES_MAX:
                return None
            content = text.encode("latin-1") * times
        else:
            content = base64.b64decode(body["base64"]) if "base64" in body else body["text"].encode("latin-1")
        if len(content) > BODY_BYTES_MAX:
            return None
    lines = [f"{step['method']} {step['path']} HTTP/1.1", "Host: h"]
    lines += [f"{name}: {value}" for name, value in step.get("headers", {}).items()]
    if body is not None:
        lines.append(f"Content-Length: {len(content)}")
    return "\r\n".join([*lines, "", ""]).encode("utf-8") + content
