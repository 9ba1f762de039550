"""Headers that are stored with a file and come back with it."""

from typing import Final

from less_sync.volume.format.needle import PAIRS_BYTES_MAX
from less_sync.volume.http.json_text import to_json
from less_sync.volume.http.paths import text
from less_sync.volume.http.request import Request

PREFIX: Final = b"seaweed-"


def pairs_of(request: Request) -> bytes:
    """The request's `Seaweed-` headers as a JSON object, names without the prefix and sorted.

    Nothing if there are none, or if it would be longer than `PAIRS_BYTES_MAX`: then they are not stored.
    """
    found: dict[bytes, str] = {}
    for name, value in request.fields.items():
        if name.startswith(PREFIX):
            found[_canonical(name[len(PREFIX) :])] = text(value)
    if not found:
        return b""
    encoded = to_json({text(name): found[name] for name in sorted(found)})
    return encoded if len(encoded) <= PAIRS_BYTES_MAX else b""


def _canonical(name: bytes) -> bytes:
    """`x-amz-a` as `X-Amz-A`."""
    return b"-".join(part.capitalize() for part in name.split(b"-"))
