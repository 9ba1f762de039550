"""Multipart uploads, well formed and mutated, from a seed."""

import random
from collections.abc import Iterator
from typing import Final

BOUNDARY: Final = b"BoUnDaRy"
_HEADS: Final = (
    b'Content-Disposition: form-data; name="file"; filename="a.txt"',
    b'Content-Disposition: form-data; name="file"; filename="C:\\dir\\b.jpg"',
    b"Content-Disposition: form-data; name=file; filename*=utf-8''K%C3%A4se.png",
    b"Content-Disposition: form-data; filename=d.bin; name=file",
    b'Content-Disposition: form-data; name="ts"',
    b'Content-Disposition: form-data; name="note"',
    b'Content-Disposition: form-data;\r\n name="file";\r\n\tfilename=c',
    b'content-disposition:form-data; name="file"; filename=""',
    b"X-Other: y",
)
_MORE: Final = (
    b"",
    b"\r\nContent-Type: text/plain",
    b"\r\nContent-Type: x/y\r\nIdempotency-Key: http://h:1/3,01?ts=1",
    b"\r\nContent-Type: application/octet-stream",
    b"\r\nContent-Type: x/y; z=1",
    b"\r\nContent-Transfer-Encoding: binary",
    b"\r\nContent-Encoding: gzip",
)
_CONTENTS: Final = (
    b"",
    b"data",
    b"line\r\nline\n\r\n",
    b"--" + BOUNDARY + b"x",
    b"\r\n--" + BOUNDARY + b"-",
    b"\r\n--BoUn\r\n--",
    bytes(range(256)),
    b"longer " * 200,
)
_ENDS: Final = (b"--\r\n", b"--", b"-- \r\n", b"--\r\nepilogue", b"\r\n", b"")
_PIECES: Final = (
    b"\r\n",
    b"\n",
    b"\r",
    b"-",
    b"--",
    b":",
    b" ",
    b'"',
    b"\x00",
    b"\\",
    b";",
    b"=",
    BOUNDARY,
    b"--" + BOUNDARY,
    b"\r\n--" + BOUNDARY,
    b"\r\n--" + BOUNDARY + b"--",
    b"\r\n\r\n",
)


def well_formed(chance: random.Random) -> bytes:
    """One to three parts."""
    parts = [
        b"--" + BOUNDARY + b"\r\n" + chance.choice(_HEADS) + chance.choice(_MORE) + b"\r\n\r\n" + content
        for content in chance.choices(_CONTENTS, k=chance.randint(1, 3))
    ]
    return b"\r\n".join(parts) + b"\r\n--" + BOUNDARY + chance.choice(_ENDS)


def mutated(seed: int) -> Iterator[bytes]:
    """Bodies without end: each with up to four bytes or pieces put in, taken out or exchanged."""
    chance = random.Random(seed)
    while True:
        body = bytearray(well_formed(chance))
        for _ in range(chance.randint(0, 4)):
            at = chance.randint(0, len(body))
            match chance.randint(0, 3):
                case 0:
                    body[at:at] = chance.choice(_PIECES)
                case 1:
                    del body[at : at + chance.randint(1, 12)]
                case 2:
                    body[at : at + 1] = bytes((chance.randint(0, 255),))
                case _:
                    del body[at:]
        yield bytes(body)
