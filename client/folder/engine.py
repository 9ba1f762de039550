"""Pull, push and watch: one replica kept in agreement with its space over one client.

`pull` changes files here and nothing there, `push` the reverse; `watch` does both whenever either side moves.
Each round is repeated until the server has no objection. A fault that may pass is waited out: `push` and
`pull` give up after half a minute without progress, `watch` never. That access is gone is believed after one
answer alone, a refusal to subscribe: any other `forbidden` may be a server in trouble, and asking to
subscribe tells.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from less_sync.client.folder.arrivals import Mode
from less_sync.client.folder.blocking import in_thread
from less_sync.client.folder.errors import FolderError, ServerDown, UsageProblem
from less_sync.client.folder.exchange import Exchange, NotAllFetched
from less_sync.client.folder.report import Event, Kind, Reporter
from less_sync.sync.client import Notice, RequestFailed, ServerUnavailable
from less_sync.sync.protocol.codes import ErrorCode

_CONFLICTS_TO_FORGET: Final = 3
_CONFLICTS_MAX: Final = 8
_NOTICES_PER_TURN: Final = 64
_REST: Final = 10.0
_LASTING: Final = (
    ErrorCode.INVALID_PARAMS,
    ErrorCode.BAD_REQUEST,
    ErrorCode.PAYLOAD_TOO_LARGE,
    ErrorCode.METHOD_NOT_FOUND,
)


@dataclass(frozen=True, slots=True)
class WatchTimes:
    """How often a watch looks at the folder, and how long a server in trouble is left alone.

    A pause doubles up to `retry_s_max`, and is up to a quarter longer than that. `push` and `pull` give up
    when nothing has moved for `patience_s`.
    """

    scan_interval_s: float = 2.0
    retry_s: float = 1.0
    retry_s_max: float = 30.0
    patience_s: float = 30.0


class Engine:
    """See the module. Methods run one at a time."""

    def __init__(self, exchange: Exchange, reporter: Reporter, times: WatchTimes) -> None:
        self._exchange = exchange
        self._replica = exchange.replica
        self._state = exchange.replica.state
        self._reporter = reporter
        self._times = times

    async def push_once(self) -> None:
        """Push what changed here. Files are not touched; what changed on both sides is named.

        Raises:
            KeyMismatch: the space was written with another key; nothing was pushed.
            AccessLost: a shared space does not let us in any more.
            UsageProblem: we may only read there.
            ServerDown: the server had trouble for too long.
            FolderError: the server does not take it.
            SyncClientError: see `sync.client_errors`.
        """
        if self._exchange.read_only:
            raise UsageProblem(
                "your access to this shared space is for reading only", "`pull` and `watch` work"
            )

        async def push() -> None:
            await self._exchange.fetch_keys()
            await in_thread(self._replica.side.rescan)
            await self._until_agreed(Mode.NOTE)

        await self.patiently(push)

    async def pull_once(self) -> None:
        """Apply what changed on the server. Nothing is pushed; what changed on both sides is kept twice.

        Raises: as `push_once`, and
            TooManyDeletions: most of the folder would be deleted.
        """

        async def pull() -> None:
            await self._exchange.fetch_keys()
            await in_thread(self._replica.side.rescan, tell=False)
            await self._exchange.pull(Mode.APPLY)

        await self.patiently(pull)

    async def watch(self) -> None:
        """Keep both sides in agreement until cancelled. Survives whatever the client reconnects from.

        Raises: as `pull_once`, but for ServerDown.
        """
        clock = asyncio.get_running_loop().time
        started = pull_due = push_due = False
        next_scan, pause_s = 0.0, self._times.retry_s
        while True:
            try:
                if not started:
                    await self._start_watch()
                    started, next_scan = True, clock() + self._times.scan_interval_s
                due = pull_due or push_due
                notice = None if due else await self._notice(max(0.0, next_scan - clock()))
                for _ in range(_NOTICES_PER_TURN):
                    pull_due = await self._exchange.take(notice) or pull_due
                    notice = await self._notice(0.0)
                    if notice is None:
                        break
                if (began := clock()) >= next_scan:
                    scanned = self._replica.side.scan.files
                    await in_thread(self._replica.side.rescan)
                    push_due = self._replica.side.differs_from(scanned) or push_due
                    # A large folder on a slow disk is looked at less often.
                    next_scan = clock() + max(self._times.scan_interval_s, _REST * (clock() - began))
                if pull_due or push_due:
                    await self._until_agreed(Mode.APPLY, pull_first=pull_due)
                pull_due = push_due = False
                pause_s = self._times.retry_s
            except (ServerUnavailable, RequestFailed) as trouble:
                await self._check_lasting(trouble)
                self._reporter.tell(Event(Kind.DISCONNECTED, detail=f"{trouble}; trying again"))
                pull_due = push_due = True
                pause_s = await self._pause(pause_s)

    async def _start_watch(self) -> None:
        await self._exchange.subscribe()
        if self._exchange.read_only:
            self._reporter.tell(Event(Kind.NOTE, detail="for reading only: changes here are not pushed"))
        await in_thread(self._replica.side.rescan)
        await self._until_agreed(Mode.APPLY)
        self._reporter.tell(Event(Kind.WATCHING, detail="watching; Ctrl-C stops"))

    async def _notice(self, timeout_s: float) -> Notice | None:
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                return await self._exchange.client.next_notice()
        return None

    async def _until_agreed(self, mode: Mode, *, pull_first: bool = True) -> None:
        """Pull and push in turn until a push goes through.

        After a few conflicts in a row the state is forgotten and everything compared anew: the server then
        contradicts what we remember of it, as one restored from a backup does.

        Raises:
            NotAllFetched: all is done but for some large files.
            FolderError, SyncClientError: as `Exchange.pull` and `Exchange.push`.
        """
        for conflicts in range(1, _CONFLICTS_MAX + 1):
            missing: NotAllFetched | None = None
            if pull_first:
                try:
                    await self._exchange.pull(mode)
                except NotAllFetched as error:
                    missing = error  # no reason to keep what is here from others
                if mode is Mode.APPLY:
                    await in_thread(self._replica.side.rescan)
            if self._exchange.read_only or await self._exchange.push():
                if missing is not None:
                    raise missing
                return
            if conflicts == _CONFLICTS_TO_FORGET:
                await in_thread(self._state.forget)
            pull_first = True
        raise FolderError("the space changes faster than this command can follow", "run it again")

    # Faults that may pass.

    async def patiently(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do the work, and again after a fault that may pass, until nothing has moved for `patience_s`.

        Raises: as `push_once`.
        """
        clock = asyncio.get_running_loop().time
        pause_s, steps, give_up_s = self._times.retry_s, -1, 0.0
        while True:
            try:
                return await work()
            except (ServerUnavailable, RequestFailed) as trouble:
                await self._check_lasting(trouble)
                if self._exchange.steps != steps:
                    steps, give_up_s = self._exchange.steps, clock() + self._times.patience_s
                    pause_s = self._times.retry_s
                if clock() >= give_up_s:
                    if isinstance(trouble, ServerUnavailable):
                        raise
                    raise ServerDown(
                        f"the server had trouble for {self._times.patience_s:g} s: {trouble}",
                        "nothing is lost; run it again later",
                    ) from trouble
                self._reporter.tell(Event(Kind.DISCONNECTED, detail=f"{trouble}; trying again"))
                pause_s = await self._pause(min(pause_s, give_up_s - clock()))

    async def _pause(self, pause_s: float) -> float:
        """Wait, and return how long to wait the next time."""
        await asyncio.sleep(pause_s * random.uniform(1.0, 1.25))  # not all at once after a restart
        return min(2 * pause_s, self._times.retry_s_max)

    async def _check_lasting(self, trouble: ServerUnavailable | RequestFailed) -> None:
        """Raise what will not pass.

        Raises:
            AccessLost, KeyMismatch, FolderError: subscribing says so.
            FolderError: the server will never take this request.
        """
        if not isinstance(trouble, RequestFailed):
            return
        if trouble.code in _LASTING:
            raise FolderError(f"the server refuses it: {trouble}") from trouble
        if trouble.code == ErrorCode.FORBIDDEN:
            with suppress(ServerUnavailable, RequestFailed):
                await self._exchange.subscribe()
