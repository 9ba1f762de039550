"""In what shape a server is tested: as one process, as two nodes of one cluster, or as two workers.

Tests are written for one process. `make test-cluster` runs those about what clients tell each other in the
other shapes too: `--shapes nodes,workers`. A test marked `in_process` looks inside, and one marked
`one_connection` is about the requests of one client: they have no workers, which take seconds to start. One
marked `alone` is not run in other shapes.
"""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import fields
from enum import StrEnum
from itertools import count
from pathlib import Path
from typing import Final

from less_sync.bins.settings.parts import LIMITS_NAMED_ELSEWHERE, limit_variable
from less_sync.sync.limits import Limits
from less_sync.sync.live.nats_bus import NatsBus
from less_sync.sync.live.nats_link import NatsAccess, NatsAddress
from tests.nats import NatsServer
from tests.wire.issuer import Issuer, served_key_set
from tests.wire.process import ServerProcess


class Shape(StrEnum):
    """What `tests.live.live_server` starts."""

    ONE = "one"
    NODES = "nodes"
    """Two servers in this process, on one database and one bus; clients go to them by turns."""
    WORKERS = "workers"
    """`less-sync serve --workers 2` as it is started by operators; the kernel chooses who gets a client."""


class InForce:
    """The shape of the test that runs."""

    shape = Shape.ONE


@asynccontextmanager
async def two_buses() -> AsyncIterator[Sequence[NatsBus]]:
    """Two connections to a NATS of their own, for two nodes."""
    with tempfile.TemporaryDirectory() as directory, NatsServer(Path(directory)) as server:
        access = NatsAccess((NatsAddress("127.0.0.1", server.port),))
        yield [NatsBus(access, prefix="test", name=name) for name in ("one", "two")]


_rounds: Final = count()


async def flushed(bus: NatsBus) -> None:
    """Return once the server has taken what was sent before, and what it had for us has come."""
    subject = f"round.{next(_rounds)}"
    bus.listen(subject)
    while not await bus.confirmed():  # noqa: ASYNC110  it waits itself
        await asyncio.sleep(0)
    bus.leave(subject)


@asynccontextmanager
async def served_by_workers(
    database_url: str,
    issuer: Issuer,
    name: str,
    *,
    limits: Limits,
    identity_hash_key: bytes | None,
    files: bool,
) -> AsyncIterator[ServerProcess]:
    """Start `less-sync serve --workers 2` that takes the tokens of `issuer` under `name`."""
    settings = {
        "DATABASE_URL": database_url,
        "DATABASE_MAX_CONNECTIONS": "24",
        "PUSH_LANES": "6",
        "WORKERS": "2",
        **_variables(limits),
    }
    if identity_hash_key is not None:
        settings["IDENTITY_HASH_KEY"] = identity_hash_key.hex()
    if files:
        settings["FILE_STORAGE_BACKEND"] = "local"
    with tempfile.TemporaryDirectory() as directory:
        async with served_key_set(issuer) as key_set_url:
            settings |= {"DATA_DIR": directory, "TRUSTED_ISSUERS": f"{name}={key_set_url}"}
            async with ServerProcess(settings) as server:
                yield server


def _variables(limits: Limits) -> dict[str, str]:
    """What differs from the defaults, as an operator would set it."""
    usual = Limits()
    return {
        limit_variable(limit.name): str(getattr(limits, limit.name)).lower()
        for limit in fields(Limits)
        if limit.name not in LIMITS_NAMED_ELSEWHERE
        and getattr(limits, limit.name) != getattr(usual, limit.name)
    }
