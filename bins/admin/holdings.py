"""What the database holds, roughly, for the reporter to a fleet plane (docs/fleet.md).

Nothing is counted: the catalogue's estimates, looked at every five minutes at most. A worker is asked for it
by its supervisor, which has no connection to the database of its own.
"""

import time
from collections.abc import Callable
from typing import Final

import msgspec

from less_sync.bins.own_spaces import OWN_SPACES
from less_sync.storage import Catalogue, PostgresPool, PostgresSurveys, StorageError
from less_sync.sync.http.health import HealthProbe
from less_sync.sync.services import Services

REFRESH_S: Final = 300.0
QUESTION_S: Final = 2.0


class Holdings(msgspec.Struct, frozen=True, kw_only=True):
    """Of the database that this server uses. None: not known."""

    ok: bool | None
    """Whether it answers."""
    spaces: int | None = None
    records: int | None = None
    files: int | None = None
    storage_bytes: int | None = None
    file_bytes: int | None = None
    database_id: str | None = None


class HoldingsWatch:
    """Looks when it is asked. Takes one connection of the pool for a few milliseconds, seldom.

    Args:
        clock: monotonic seconds.
        question_s: how long the catalogue may take, which a lock on a table can hold up.
    """

    def __init__(
        self,
        services: Services,
        pool: PostgresPool,
        *,
        clock: Callable[[], float] = time.monotonic,
        question_s: float = QUESTION_S,
    ) -> None:
        self._surveys: Final = PostgresSurveys(pool, left_out=OWN_SPACES, question_s=question_s)
        self._probe: Final = HealthProbe(lambda: services.spaces.ping())
        self._clock: Final = clock
        self._known = Holdings(ok=False)
        self._looked_s: float | None = None

    async def look(self) -> Holdings:
        """What is known; takes 4 s at most, or as long as the pool lets nobody in."""
        if not await self._probe.healthy():
            return msgspec.structs.replace(self._known, ok=False)
        now_s = self._clock()
        if self._looked_s is None or now_s - self._looked_s >= REFRESH_S:
            try:
                self._known = holdings_of(await self._surveys.catalogue())
            except StorageError:
                # What was known stays; the next one who asks has it tried again.
                return msgspec.structs.replace(self._known, ok=True)
            self._looked_s = now_s
        return msgspec.structs.replace(self._known, ok=True)


def holdings_of(found: Catalogue) -> Holdings:
    """Of a database that answers, what its catalogue says."""
    return Holdings(
        ok=True,
        spaces=found.spaces,
        records=found.records,
        files=found.files,
        storage_bytes=found.storage_bytes,
        file_bytes=found.file_bytes,
        database_id=found.database_id,
    )


def decode_holdings(message: bytes) -> Holdings | None:
    """What a worker has answered; None when it is nothing of the kind."""
    try:
        return msgspec.json.decode(message, type=Holdings)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
