"""The standbys that pulls may be read from, each with a pool of its own (docs/scaling.md 5).

Nothing waits for a replica that is away: connecting, and finding out that it is a standby of our database, is
done by a task beside the pulls that would like to use it, which meanwhile go to the primary. Nothing runs
while nobody pulls.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar
from uuid import UUID

import asyncpg
import structlog

from less_sync.storage.counts import REFUSALS, ReplicaCounts
from less_sync.storage.errors import QUERY_CANCELED, REPEATABLE, StorageError, translate
from less_sync.storage.postgres.place import place_of
from less_sync.storage.postgres.pool import Connect, PostgresPool, Special
from less_sync.storage.postgres.pull_places import PullPlaces
from less_sync.storage.queries import sql

if TYPE_CHECKING:
    from less_sync.storage.postgres.pool import Connection

T = TypeVar("T")

TRY_S: Final = 1.0
"""After a refusal, until the replica is tried again: by one pull, or by the task that connects."""
KNOWN_S: Final = 5.0
"""For which nobody asks again whether it is a standby of ours."""
BELIEVED_S: Final = 15.0
"""After which it is not read from before that is known again."""
REMINDER_S: Final = 60.0

_PREPARE_S_MAX: Final = 8.0
_ACQUIRE_S: Final = 1.0
_STATEMENT_S: Final = 5.0
_READ_ONLY: Final = "25006"
_CANCELLED: Final = REPEATABLE | {QUERY_CANCELED, _READ_ONLY}
_NIL: Final = UUID(int=0)
_log = structlog.get_logger(__name__)

Identity = tuple[int, int]
"""Of a cluster: its system identifier, and the timeline that it writes or follows."""


class NotFit(StorageError):
    """The replica cannot serve a pull; the database is well.

    Attributes:
        reason: one of `ReplicaCounts.refused`.
    """

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


class Replica:
    """One standby.

    Args:
        identify: tells who the primary is.
        max_connections: of its pool, which is for pulls alone.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        url: str,
        identify: Callable[[], Awaitable[Identity]],
        *,
        max_connections: int,
        clock: Callable[[], float] = time.monotonic,
        connect: Connect = asyncpg.connect,
    ) -> None:
        self.place: Final = place_of(url)
        """Where it is, for logs and metrics."""
        self.counts: Final = ReplicaCounts()
        self.pool: PostgresPool | None = None
        """None until it was reached for the first time."""
        self._places: PullPlaces | None = None
        self._url = url
        self._identify = identify
        self._max_connections = max_connections
        self._clock = clock
        self._connect = connect
        self._known_until_s = self._believed_until_s = self._next_try_s = clock()
        self._preparing: asyncio.Task[None] | None = None
        self._tasks: list[asyncio.Task[Any]] = []  # Any: what each is for
        self._doubted = False
        """The last answer was a refusal: until one is good, one pull at a time asks."""
        self._asked_by: object | None = None
        """That pull."""
        self._away = False
        self._told_s = 0.0

    @property
    def usable(self) -> bool:
        """Whether pulls are read from it now."""
        now_s = self._clock()
        return now_s < self._believed_until_s and now_s >= self._next_try_s

    @property
    def places(self) -> PullPlaces:
        """What readers take turns at; there once it was reached."""
        assert self._places is not None
        return self._places

    def take(self, who: object) -> bool:
        """Whether `who` is to ask it now; `release` follows."""
        now_s = self._clock()
        if now_s < self._next_try_s:
            return False
        if now_s >= self._known_until_s and self._preparing is None:
            self._preparing = asyncio.create_task(self._prepare(), name="replica")
        if now_s >= self._believed_until_s or (self._doubted and self._asked_by is not None):
            return False
        if self._doubted:
            self._asked_by = who
        return True

    def release(self, who: object) -> None:
        """`who` asks no more."""
        if self._asked_by is who:
            self._asked_by = None

    def served(self) -> None:
        """A pull is read from it."""
        self.counts.served += 1
        self._doubted = False

    def refused(self, error: StorageError) -> None:
        """A pull goes to the primary: leave the replica alone for `TRY_S`."""
        reason = _reason(error)
        self.counts.refused[reason] += 1
        self._doubted = True
        now_s = self._clock()
        self._next_try_s = now_s + TRY_S
        if reason in ("away", "stranger"):
            self._known_until_s = self._believed_until_s = now_s
            self._tell(str(error))

    def ask(self, work: Callable[[], Awaitable[T]]) -> "asyncio.Task[T | StorageError]":
        """Run something beside; it gives what `work` gives, or its `StorageError`, and may be left alone."""
        self._tasks = [task for task in self._tasks if not task.done()]
        task = asyncio.create_task(_answered(work), name="replica read")
        self._tasks.append(task)
        return task

    async def aclose(self, timeout_s: float) -> None:
        """End what runs, and close its connections; those still in use after `timeout_s` are cut."""
        tasks = [task for task in (*self._tasks, self._preparing) if task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=timeout_s)
        if self.pool is not None:
            await self.pool.aclose(timeout_s)

    async def _prepare(self) -> None:
        """Connect if need be, and make sure that it follows our primary. A task of its own."""
        try:
            async with asyncio.timeout(_PREPARE_S_MAX):
                primary = await self._primary()
                if primary is not None:
                    await self._meet(primary)
        except Exception as error:
            self.refused(translate(error))
        finally:
            self._preparing = None

    async def _primary(self) -> Identity | None:
        try:
            return await self._identify()
        except StorageError:
            # That is no fault of the replica's, and whoever pulls is told.
            self._next_try_s = self._clock() + TRY_S
            return None

    async def _meet(self, primary: Identity) -> None:
        if self.pool is None:
            self.pool = await PostgresPool.open(
                self._url,
                max_connections=self._max_connections,
                connect_timeout_s=0.0,
                acquire_timeout_s=_ACQUIRE_S,
                connect=self._connect,
                special=_SPECIAL,
            )
            self._places = PullPlaces(self.pool, alone=True)
        [(cluster, timeline, standby)] = await self.pool.fetch("identify_standby")
        if not standby:
            raise NotFit("stranger", "it is no standby: it takes writes")
        if (cluster, timeline) != primary:
            raise NotFit(
                "stranger", "it does not follow DATABASE_URL's database, or not yet since a failover"
            )
        now_s = self._clock()
        self._known_until_s, self._believed_until_s = now_s + KNOWN_S, now_s + BELIEVED_S
        if self._away:
            self._away = False
            _log.warning("pulls are read from the replica again", replica=self.place)

    def _tell(self, why: str) -> None:
        """Log that it is not used, once a minute."""
        now_s = self._clock()
        if not self._away or now_s - self._told_s >= REMINDER_S:
            self._told_s = now_s
            _log.warning("pulls are not read from the replica", replica=self.place, reason=why)
        self._away = True


class Replicas:
    """All of them, in turn."""

    def __init__(self, replicas: Iterable[Replica]) -> None:
        self.all: Final[Sequence[Replica]] = tuple(replicas)
        self._next = 0

    @classmethod
    def at(cls, urls: Iterable[str], pool: PostgresPool, *, max_connections: int) -> "Replicas":
        """Those of `pool`'s database at `urls`; nothing is connected before the first pull.

        Args:
            max_connections: to each of them.
        """

        async def identify() -> Identity:
            [(cluster, timeline)] = await pool.fetch("identify_primary")
            return cluster, timeline

        return cls(Replica(url, identify, max_connections=max_connections) for url in urls)

    def take(self, who: object) -> Replica | None:
        """The next one that `who` is to ask, if any is."""
        for step in range(len(self.all)):
            replica = self.all[(self._next + step) % len(self.all)]
            if replica.take(who):
                self._next = (self._next + step + 1) % len(self.all)
                return replica
        return None

    def measured(self) -> dict[str, int]:
        """How many are `used` now and how many are `left` alone; pulls that were `served`, or refused, by
        why; and those that were `continued` at the primary."""
        used = sum(replica.usable for replica in self.all)
        counts = [replica.counts for replica in self.all]
        return {
            "used": used,
            "left": len(self.all) - used,
            "served": sum(one.served for one in counts),
            **{reason: sum(one.refused[reason] for one in counts) for reason in REFUSALS},
            "continued": sum(one.continued for one in counts),
        }

    async def aclose(self, timeout_s: float) -> None:
        """Close all connections."""
        await asyncio.gather(*(replica.aclose(timeout_s) for replica in self.all))


def _reason(error: StorageError) -> str:
    if isinstance(error, NotFit):
        return error.reason
    return "cancelled" if error.sqlstate in _CANCELLED else "away"


async def _answered(work: Callable[[], Awaitable[T]]) -> T | StorageError:
    try:
        return await work()
    except Exception as error:
        return translate(error)


async def _warm_up(con: "Connection") -> None:
    await con.fetch(sql("pull_first_of_replica"), _NIL, 0, 1, 0)
    await con.fetch(sql("pull_bound"), _NIL)


_SPECIAL: Final = Special(
    settings={"default_transaction_read_only": "on", "statement_timeout": f"{_STATEMENT_S:g}s"},
    warm_up=_warm_up,
    # The host may be gone without a word while a pull is read.
    command_timeout_s=_STATEMENT_S + 1.0,
)
