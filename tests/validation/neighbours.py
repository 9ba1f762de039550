"""The other checks of a lane under a fault: each before a proxy of its own that has it, all side by side.

A proxy for each, so that what a fault counts is counted for one check, and no check meets half of it. A run
for each, so that no two share a person.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from less_sync.validation.attempt import Row
from less_sync.validation.outcome import PASSED, Outcome
from less_sync.validation.procedure import Value
from tests.validation.proxy import FaultProxy
from tests.validation.rig import Rig

AT_ONCE_MAX: Final = 6
"""Checks that run side by side."""


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A check that is looked at while the fault of another is there."""

    procedure: str
    parameters: Mapping[str, Value] = field(default_factory=dict)
    target: str = "staging"
    """Whatever its name: what is behind it is staging's server."""
    run: Mapping[str, Any] = field(default_factory=dict)
    """What its run is made of (`Rig.run`)."""
    then: str = ""
    """Another of the same run, afterwards."""


SERVICE: Final = (
    Neighbour("health", {"times": 2}),
    *(
        Neighbour(name)
        for name in ("headers", "preflight", "jwks", "routes", "request-head", "clock", "features")
    ),
)
"""Of lane `service`, what every server of the rig passes."""


def nothing_done(proxy: FaultProxy) -> None:
    """For a fault that is at the server itself. An answer may show it, so that lane `service` looks too."""
    proxy.asks.append(lambda asked: None)


async def under(make: Callable[[FaultProxy], object], rig: Rig, neighbours: Iterable[Neighbour]) -> list[Row]:
    """Their rows, in their order. Those of lane `service` are left out of faults that no answer shows."""
    probe = FaultProxy(None)
    make(probe)
    of_http = probe.asks or probe.replies or probe.body_bytes_max is not None
    gate = asyncio.Semaphore(AT_ONCE_MAX)

    async def rows(one: Neighbour) -> list[Row]:
        async with gate, FaultProxy(rig.server().port) as proxy:
            make(proxy)
            run = rig.run(addresses={one.target: proxy.url}, **one.run)
            first = await rig.row(one.procedure, target=one.target, parameters=one.parameters, run=run)
            return [first, *([await rig.row(one.then, target=one.target, run=run)] if one.then else [])]

    looked_at = [one for one in neighbours if of_http or one not in SERVICE]
    return [row for some in await asyncio.gather(*(rows(one) for one in looked_at)) for row in some]


def red(rows: Iterable[Row]) -> dict[str, Outcome]:
    """What became of those that did not pass, by procedure."""
    return {row.check.procedure.name: row.outcome for row in rows if row.outcome != PASSED}
