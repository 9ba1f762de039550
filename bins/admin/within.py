"""What a worker answers its supervisor, beyond what it answers operators (docs/scaling.md 1).

Over the Unix socket of its admin application alone: in MessagePack what goes into sums, in JSON what is
shown.
"""

import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Final

import msgspec
from prometheus_client.metrics_core import Metric
from starlette.responses import Response

from less_sync.bins.admin.holdings import HoldingsWatch
from less_sync.bins.admin.metrics import Exposition
from less_sync.bins.admin.shown import OwnState

FAMILIES_PATH: Final = "/within/families"
STATE_PATH: Final = "/within/state"
LARGEST_PATH: Final = "/within/largest"
HOLDINGS_PATH: Final = "/within/holdings"


class Sample(msgspec.Struct, frozen=True, array_like=True):
    """One series of a family, or one part of it."""

    name: str
    labels: dict[str, str]
    value: float


class Family(msgspec.Struct, frozen=True, array_like=True):
    """A family as prometheus-client has it, its name without `_total`."""

    name: str
    kind: str
    text: str
    samples: list[Sample]


_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(list[Family])


def encode_families(families: Iterable[Metric]) -> bytes:
    """All families of a process."""
    return _ENCODER.encode(
        [
            Family(
                one.name,
                one.type,
                one.documentation,
                [Sample(part.name, part.labels, part.value) for part in one.samples],
            )
            for one in families
        ]
    )


def decode_families(message: bytes) -> list[Family] | None:
    """What another process has encoded; None when it is nothing of the kind."""
    try:
        return _DECODER.decode(message)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def within_routes(
    exposition: Exposition, state: OwnState, holdings: HoldingsWatch
) -> Mapping[str, Callable[[], Awaitable[Response]]]:
    """The routes by path, for GET."""

    async def show_families() -> Response:
        return Response(encode_families(exposition.families()), media_type="application/msgpack")

    async def show_state() -> Response:
        state.glance()
        return _shown(await state.state())

    async def show_largest() -> Response:
        return _shown(state.largest())

    async def show_holdings() -> Response:
        return Response(msgspec.json.encode(await holdings.look()), media_type="application/json")

    return {
        FAMILIES_PATH: show_families,
        STATE_PATH: show_state,
        LARGEST_PATH: show_largest,
        HOLDINGS_PATH: show_holdings,
    }


def _shown(told: Mapping[str, object]) -> Response:
    # What a log line says may be anything, as on the console.
    return Response(json.dumps(told, default=str), media_type="application/json")
