"""News in sequence: what subscribers are told of a space begins where the last they were told of it ended.

What comes early waits for what it follows, `GAP_S` at most; then the rows of the gap are read, one query,
and told. What comes late has been told in that way, and is dropped. So nobody is told anything twice or out
of order, whatever the bus loses, repeats and reorders (docs/scaling.md 3.3).

*Our own writes* take the same way. Before rows are read those under way are awaited: what was read could be
one of them, and its author is to hear of it by his answer alone.
"""

import asyncio
from collections.abc import Awaitable, Callable
from collections.abc import Sequence as Many
from typing import Final
from uuid import UUID

import structlog

from less_sync.storage import NewsStore, StorageError
from less_sync.sync.announce import Notice
from less_sync.sync.live.broker import NO_CURSOR, Broker
from less_sync.sync.live.catch_up import caught_up
from less_sync.sync.live.sequence import Early, Room, Sequence

GAP_S: Final = 0.05
"""How long what came early waits for what it follows."""
FILLS_MAX: Final = 4
"""Gaps that are read at the same time; what others wait for is in the order of their spaces."""
ROWS_MAX: Final = 512
"""Of one gap. A longer one is told as `pull`, as is one whose values have more bytes than a frame."""

log = structlog.get_logger(__name__)


class InOrder:
    """One per node. Holds something for those spaces alone that are out of sequence, within bounds.

    Args:
        settled: returns once our own writes to a space that were under way have been announced.
        frame_bytes_max: of one notification, and of the values of one gap.
    """

    def __init__(
        self,
        broker: Broker,
        store: NewsStore,
        settled: Callable[[UUID], Awaitable[None]],
        *,
        frame_bytes_max: int,
        room: Room | None = None,
        gap_s: float = GAP_S,
    ) -> None:
        self._broker = broker
        self._store = store
        self._settled = settled
        self._frame_bytes_max = frame_bytes_max
        self._room = room or Room()
        self._gap_s = gap_s
        self._sequences: dict[UUID, Sequence] = {}
        self._wanted: dict[UUID, None] = {}
        """Gaps to be read, the oldest first."""
        self._fillers: set[asyncio.Task[None]] = set()
        self._closed = False
        self.filled = 0
        """Gaps that were read since the start."""
        self.late = 0
        """Commits that were dropped because they had been told."""

    @property
    def waiting(self) -> int:
        """Spaces out of sequence."""
        return len(self._sequences)

    def take(
        self, space: UUID, cursor: int, notices: Many[Notice], *, size_bytes: int, own: bool = False
    ) -> None:
        """Tell a commit, now or when its turn comes; not at all if it was told, or if nobody listens.

        Args:
            cursor: the one it moved the space to, from the one before.
            size_bytes: what waiting costs.
            own: made here.
        """
        told = self._broker.cursor(space)
        if told != NO_CURSOR and cursor <= told:
            self.late += 1
            return
        sequence = self._sequences.get(space) if self._sequences else None
        if sequence is None:
            if told == cursor - 1:
                self._tell(space, cursor, notices)
                return
            sequence = self._begin(space, told)
            if sequence is None:
                return
        sequence.hold(Early(cursor - 1, cursor, notices, size_bytes, own))
        self._go_on(space, sequence)

    def heard(self, space: UUID, cursor: int, *, follows: int = NO_CURSOR) -> None:
        """The space is at `cursor`, and what was committed there is not at hand.

        Args:
            follows: what it follows; when that is what was told last there is nothing to wait for.
        """
        told = self._broker.cursor(space)
        if told != NO_CURSOR and cursor <= told:
            return
        sequence = self._sequences.get(space)
        if sequence is None:  # one in which nothing waits is one all the same, and may be read for
            sequence = self._begin(space, told)
            if sequence is None:
                return
        sequence.heard(cursor)
        if told != NO_CURSOR and follows == told:
            self._fill_soon(space, sequence)
        else:
            self._go_on(space, sequence)

    def entered(self, space: UUID) -> None:
        """The first who listens to a space was let in: it is known from where on to tell."""
        sequence = self._sequences.get(space) if self._sequences else None
        if sequence is not None:
            self._go_on(space, sequence)

    def drop(self, space: UUID) -> None:
        """Nobody listens any more, or the space was set back: nothing waits."""
        sequence = self._sequences.pop(space, None) if self._sequences else None
        if sequence is not None:
            sequence.clear()
            self._wanted.pop(space, None)

    async def aclose(self) -> None:
        """Read and tell nothing any more."""
        self._closed = True
        for space in list(self._sequences):
            self.drop(space)
        tasks = list(self._fillers)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _begin(self, space: UUID, told: int) -> Sequence | None:
        """Nothing is kept for spaces that nobody listens to, or is being let into."""
        if self._closed or (told == NO_CURSOR and not self._broker.listened_to(space)):
            return None
        sequence = self._sequences[space] = Sequence(self._room)
        return sequence

    def _tell(self, space: UUID, cursor: int, notices: Many[Notice]) -> None:
        for notice in notices:
            self._broker.publish(space, notice.build, exclude=notice.exclude, cursor=cursor)

    def _go_on(self, space: UUID, sequence: Sequence) -> None:
        """Tell what is in sequence now; wait for what is missing."""
        if self._in_sequence(space, sequence) or sequence.filling or sequence.timer is not None:
            return
        if self._broker.cursor(space) != NO_CURSOR:
            loop = asyncio.get_running_loop()
            sequence.timer = loop.call_later(self._gap_s, self._fill_soon, space, sequence)

    def _in_sequence(self, space: UUID, sequence: Sequence) -> bool:
        """Tell what follows what was told; True when nothing is missing any more, and `sequence` is gone."""
        told = self._broker.cursor(space)
        if told == NO_CURSOR:
            return False
        sequence.forget(up_to=told)
        while (one := sequence.next(told)) is not None:
            sequence.stop_waiting()
            self._tell(space, one.cursor, one.notices)
            told = max(one.cursor, self._broker.cursor(space))
        if sequence.top > told:
            return False
        self.drop(space)
        return True

    # Gaps that are read.

    def _fill_soon(self, space: UUID, sequence: Sequence) -> None:
        sequence.stop_waiting()
        if self._sequences.get(space) is not sequence or sequence.filling or self._closed:
            return
        sequence.filling = True
        self._wanted[space] = None
        if len(self._fillers) < FILLS_MAX:
            task = asyncio.get_running_loop().create_task(self._fill_wanted(), name="reading of news")
            self._fillers.add(task)

    async def _fill_wanted(self) -> None:
        try:
            while self._wanted:
                space = next(iter(self._wanted))
                del self._wanted[space]
                await self._fill(space)
        finally:
            # Nothing is awaited between the last look at what is wanted and here: what comes later finds
            # room.
            task = asyncio.current_task()
            if task is not None:
                self._fillers.discard(task)

    async def _fill(self, space: UUID) -> None:
        """Read what is missing once; the comparison tries again what fails.

        What is missing then takes its turn behind the others: a space that is written to faster than it is
        read would keep them waiting for ever.
        """
        sequence = self._sequences.get(space)
        if sequence is None:
            return
        more = False
        try:
            more = await self._read(space, sequence)
        except StorageError as error:
            log.debug("news were not read", space=str(space), error=str(error))
        except Exception:
            log.exception("news were not read", space=str(space))
        finally:
            # It may have been dropped, and the space have another one, which is wanted by itself.
            sequence.filling = more = more and self._sequences.get(space) is sequence
            if more:
                self._wanted[space] = None

    async def _read(self, space: UUID, sequence: Sequence) -> bool:
        """Fill one gap; whether there may be another one."""
        await self._settled(space)
        if self._sequences.get(space) is not sequence or self._in_sequence(space, sequence):
            return False
        told = self._broker.cursor(space)
        if told == NO_CURSOR:
            return False  # nobody has been let in yet
        up_to = sequence.gap_ends()
        news = await self._store.between(
            space, told, up_to, rows_max=ROWS_MAX, bytes_max=self._frame_bytes_max
        )
        # From here nothing is awaited.
        if self._sequences.get(space) is not sequence:
            return False
        if news is None:
            self.drop(space)
            return False
        if self._broker.cursor(space) != told:
            return True  # what was missing came meanwhile
        if news.cursor < up_to:
            # Whoever said so before the rows were read was wrong.
            sequence.forget(above=max(news.cursor, told))
            up_to = news.cursor
        if up_to > told:
            for cursor, build in caught_up(news, told, up_to, frame_bytes_max=self._frame_bytes_max):
                self._broker.publish(space, build, cursor=cursor)
            self.filled += 1
        return not self._in_sequence(space, sequence)
