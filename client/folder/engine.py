"""Pull, push and watch: one replica kept in agreement with its space over one client.

`pull` changes files here and nothing there, `push` the reverse; `watch` does both whenever either side moves.
Each round is repeated until the server has no objection. What a lost connection leaves unclear (was the push
written?) the next pull tells. Disk work runs in a thread that is waited for even when the task is cancelled,
so that a stopped command never leaves a half-done step behind.
"""

import asyncio
from collections.abc import Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Final, ParamSpec, Protocol, TypeVar
from uuid import UUID

from less_sync.client.folder.crypto import SealedFile
from less_sync.client.folder.errors import FolderError, KeyMismatch, ServerDown, UsageProblem
from less_sync.client.folder.replica import Change, Incoming, PullCount, Replica
from less_sync.client.folder.report import Event, Kind, Progressed, Reporter
from less_sync.client.folder.shared import Grant
from less_sync.sync.client import (
    CHANGE_OVERHEAD_BYTES,
    CHANGES_PER_PUSH,
    PUSH_OVERHEAD_BYTES,
    Notice,
    PullBegin,
    PullCommit,
    PullRecord,
    PushChange,
    RequestFailed,
    ResubscribeNotice,
    ResyncNeeded,
    RevokedNotice,
    ServerUnavailable,
    SubscribeSpace,
    SubscriptionLost,
    SyncClient,
    SyncNotice,
)
from less_sync.sync.client.link import ClientLimits
from less_sync.sync.protocol.codes import ErrorCode
from less_sync.sync.protocol.ids import parse_record_id
from less_sync.sync.protocol.messages import SyncRecord

P = ParamSpec("P")
T = TypeVar("T")

_CONFLICTS_TO_FORGET: Final = 3
_CONFLICTS_MAX: Final = 8
_LOSSES_MAX: Final = 3
_PULLS_MAX: Final = 8
_NOTICES_PER_TURN: Final = 64
_REST: Final = 10.0
_BATCH_BYTES: Final = ClientLimits().frame_bytes
_TRY_LATER: Final = (ErrorCode.INTERNAL, ErrorCode.RATE_LIMITED)
KEY_HINT: Final = (
    "the devices of a user share one key file: "
    "`less-sync key export` on the other device, `less-sync key import` here"
)


@dataclass(frozen=True, slots=True)
class WatchTimes:
    """How often a watch looks: at the folder, and again after the server had trouble."""

    scan_interval_s: float = 2.0
    retry_s: float = 5.0


class EpochKeys(Protocol):
    """The keys of a shared space."""

    def knows(self, epoch: int) -> bool:
        """Whether records of this epoch can be sealed and opened."""

    async def fetch(self, client: SyncClient, epoch: int) -> None:
        """Make sure of the key of an epoch, or raise KeyMismatch."""


async def in_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run blocking work in a thread and, when cancelled, wait for it to end before giving way."""
    task = asyncio.create_task(asyncio.to_thread(work, *args, **kwargs))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # seen; being stopped matters more
        raise


class Engine:
    """See the module. Methods run one at a time.

    Args:
        grant: what lets us into a shared space; None for the personal one.
        keys: of a shared space's epochs, to fetch one not yet known before any record of a pull.
    """

    def __init__(
        self,
        client: SyncClient,
        space: UUID,
        replica: Replica,
        reporter: Reporter,
        *,
        grant: Grant | None = None,
        keys: EpochKeys | None = None,
    ) -> None:
        self._client = client
        self._grant = grant
        self._ucan = "" if grant is None else grant.ucan
        self._keys = keys
        self._space = str(space)
        self._replica = replica
        self._state = replica.state
        self._reporter = reporter
        self._epoch = 1
        self._bind: Callable[[], None] | None = None

    def bind_with(self, bind: Callable[[], None]) -> None:
        """What to call once, when the key has proved to be the space's, or is about to become it."""
        self._bind = bind

    async def push_once(self) -> None:
        """Push what changed here. Files are not touched; what changed on both sides is named.

        Raises:
            KeyMismatch: the space was written with another key; nothing was pushed.
            AccessLost: a shared space does not let us in any more.
            UsageProblem: we may only read there.
            FolderError: the server does not take it.
            SyncClientError: see `sync.client_errors`.
        """
        if self._grant is not None and self._grant.read_only:
            raise UsageProblem(
                "your access to this shared space is for reading only", "`pull` and `watch` work"
            )
        await self._fetch_keys()
        await in_thread(self._replica.rescan)
        await self._until_agreed(apply=False)

    async def pull_once(self) -> None:
        """Apply what changed on the server. Nothing is pushed; what changed on both sides is kept twice.

        Raises: as `push_once`.
        """
        await self._fetch_keys()
        await in_thread(self._replica.rescan, tell=False)
        await self._pull(apply=True)

    async def watch(self, times: WatchTimes) -> None:
        """Keep both sides in agreement until cancelled. Survives whatever the client reconnects from.

        Raises: as `push_once`, but for ServerUnavailable.
        """
        await self._subscribe()
        if self._grant is not None and self._grant.read_only:
            self._reporter.tell(Event(Kind.NOTE, detail="for reading only: changes here are not pushed"))
        await in_thread(self._replica.rescan)
        await self._until_agreed(apply=True)
        self._reporter.tell(Event(Kind.WATCHING, detail="watching; Ctrl-C stops"))
        clock = asyncio.get_running_loop().time
        pull_due = push_due = False
        next_scan = clock() + times.scan_interval_s
        while True:
            notice = None if pull_due or push_due else await self._notice(max(0.0, next_scan - clock()))
            try:
                for _ in range(_NOTICES_PER_TURN):
                    pull_due = await self._take(notice) or pull_due
                    notice = await self._notice(0.0)
                    if notice is None:
                        break
                if (began := clock()) >= next_scan:
                    scanned = self._replica.scan.files
                    await in_thread(self._replica.rescan)
                    push_due = self._replica.differs_from(scanned) or push_due
                    # A large folder on a slow disk is looked at less often.
                    next_scan = clock() + max(times.scan_interval_s, _REST * (clock() - began))
                if pull_due or push_due:
                    await self._until_agreed(apply=True, pull_first=pull_due)
                pull_due = push_due = False
            except (ServerUnavailable, ServerDown, RequestFailed) as trouble:
                self._reporter.tell(Event(Kind.DISCONNECTED, detail=f"{trouble}; trying again"))
                pull_due = push_due = True
                await asyncio.sleep(times.retry_s)

    async def _subscribe(self) -> None:
        result = await self._client.subscribe(
            [SubscribeSpace(id=self._space, since=max(0, self._state.cursor), ucan=self._ucan)]
        )
        for refused in result.errors:
            self._check_access(refused.error)
            raise RequestFailed(refused.error, "the server does not show the space")
        if self._keys is not None:
            for space in result.spaces:
                await self._keys.fetch(self._client, space.key_generation)

    async def _fetch_keys(self) -> None:
        """Have the keys of a shared space before any of its records comes."""
        if self._keys is not None:
            await self._subscribe()

    async def _notice(self, timeout_s: float) -> Notice | None:
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                return await self._client.next_notice()
        return None

    async def _take(self, notice: Notice | None) -> bool:
        """Apply one announcement if it continues what is known; otherwise say that a pull is due."""
        match notice:
            case SyncNotice(space=self._space):
                return await self._apply_notice(notice)
            case ResyncNeeded():
                return True
            case RevokedNotice(space=self._space) | SubscriptionLost(space=self._space):
                # Somebody's token was revoked: subscribing again tells whether it was ours.
                await self._subscribe()
                return True
            case ResubscribeNotice() if self._space in notice.spaces:
                await self._subscribe()
                return True
        return False

    async def _apply_notice(self, notice: SyncNotice) -> bool:
        if notice.cursor <= self._state.cursor:
            return False
        if notice.prev != self._state.cursor or not notice.records:
            return True
        if self._keys is not None and not all(self._keys.knows(_epoch(one)) for one in notice.records):
            return True
        count = PullCount()
        for record in notice.records:
            await self._receive(record, apply=True, count=count)
        await in_thread(self._replica.name_undecryptable, count)
        await in_thread(self._replica.flush)
        if count.in_the_way:
            return True
        await in_thread(self._state.advance, notice.cursor)
        return False

    async def _until_agreed(self, *, apply: bool, pull_first: bool = True) -> None:
        """Pull and push in turn until a push goes through.

        After a few conflicts in a row the state is forgotten and everything compared anew: the server then
        contradicts what we remember of it, as one restored from a backup does.
        """
        conflicts = losses = 0
        while conflicts < _CONFLICTS_MAX:
            try:
                if pull_first:
                    await self._pull(apply=apply)
                    if apply:
                        await in_thread(self._replica.rescan)
                if (self._grant is not None and self._grant.read_only) or await self._push():
                    return
                conflicts += 1
            except ServerUnavailable:
                losses += 1
                if losses > _LOSSES_MAX:
                    raise
            if conflicts == _CONFLICTS_TO_FORGET:
                await in_thread(self._state.forget)
            pull_first = True
        raise FolderError("the space changes faster than this command can follow", "run it again")

    def _check_access(self, code: str) -> None:
        """A shared space that is `forbidden` is so for good, never a passing fault (docs/protocol.md 5.4)."""
        if self._grant is not None and code == ErrorCode.FORBIDDEN:
            raise self._grant.lost()

    # From the server.

    async def _pull(self, *, apply: bool) -> None:
        """Take in everything after the state's cursor, and again what could not be applied before."""
        former = None
        for _ in range(_PULLS_MAX):
            # `push` has seen what is pending; only applying it would change anything.
            pending = self._state.first_pending() if apply else None
            since = self._state.cursor if pending is None else min(self._state.cursor, pending - 1)
            count = PullCount()
            # A since of 0 would hide tombstones.
            try:
                if not await self._pull_since(since if since > 0 else -1, count, apply=apply):
                    continue
            except RequestFailed as error:
                self._check_access(error.code)
                raise
            # What stood in the way may have moved by a later record of the same pull.
            if not count.in_the_way or count.in_the_way == former:
                return
            former = count.in_the_way

    async def _pull_since(self, since: int, count: PullCount, *, apply: bool) -> bool:
        """One pull. False when the server turned out to be another one than before: start again."""
        begin: PullBegin | None = None
        async with aclosing(self._client.pull(self._space, since, ucan=self._ucan)) as events:
            async for event in events:
                match event:
                    case PullBegin():
                        begin = event
                        self._epoch = max(1, event.key_generation)
                        if self._keys is not None and not self._keys.knows(self._epoch):
                            break  # a new key came in between: it is fetched when nothing streams
                        if event.cursor < self._state.cursor:
                            await in_thread(self._replica.discard)
                            await in_thread(self._state.forget)
                            return False
                    case PullRecord():
                        await self._receive(event, apply=apply, count=count)
                        if begin is not None:
                            reached = event.cursor - max(since, 0)
                            whole = max(1, begin.cursor - max(since, 0))
                            self._reporter.progress(Progressed("pulling", count.opened, 0, reached / whole))
                    case PullCommit():
                        await self._commit(event, count)
                        return True
        if self._keys is not None:
            await self._keys.fetch(self._client, self._epoch)
        return False

    async def _commit(self, commit: PullCommit, count: PullCount) -> None:
        if count.undecryptable and not count.opened and self._state.is_new():
            await in_thread(self._replica.discard)
            number = len(count.undecryptable)
            raise KeyMismatch(f"the key file decrypts none of {number} records in the space", KEY_HINT)
        await in_thread(self._replica.name_undecryptable, count)
        if count.opened:
            await self._bind_once()
        await in_thread(self._replica.flush)
        await in_thread(self._state.advance, commit.cursor)

    async def _receive(self, record: PullRecord | SyncRecord, *, apply: bool, count: PullCount) -> None:
        if parse_record_id(record.id) is None:
            raise FolderError("the server sent a record without a valid id")
        deleted = record.deleted or record.blob is None
        sealed = None if deleted else SealedFile(record.blob or b"", record.dek or b"")
        incoming = Incoming(UUID(record.id), record.cursor, sealed)
        await in_thread(self._replica.receive, incoming, apply=apply, count=count)

    # To the server.

    async def _push(self) -> bool:
        """Push every change of the last scan, a frame at a time. False when a pull must come first."""
        total = await in_thread(self._replica.count_changed)
        changes = self._replica.changes()
        batch: list[Change] = []
        sealed: list[PushChange] = []
        size_bytes, done = PUSH_OVERHEAD_BYTES, 0
        while True:
            change = await in_thread(next, changes, None)
            one = await in_thread(self._seal, change) if change is not None else None
            more_bytes = CHANGE_OVERHEAD_BYTES + _size_bytes(one) if one is not None else 0
            full = size_bytes + more_bytes > _BATCH_BYTES or len(batch) >= CHANGES_PER_PUSH
            if batch and (one is None or full):
                if not await self._push_batch(batch, sealed):
                    return False
                done += len(batch)
                self._reporter.progress(Progressed("pushing", done, 0, done / max(total, done)))
                batch, sealed, size_bytes = [], [], PUSH_OVERHEAD_BYTES
            if change is None or one is None:
                await in_thread(self._replica.flush)
                return True
            batch.append(change)
            sealed.append(one)
            size_bytes += more_bytes

    def _seal(self, change: Change) -> PushChange:
        sealed = self._replica.seal(change, epoch=self._epoch)
        return PushChange(
            id=str(change.row.record),
            blob=None if sealed is None else sealed.blob,
            expected_cursor=change.expected_cursor,
            dek=None if sealed is None else sealed.dek,
        )

    async def _push_batch(self, batch: list[Change], sealed: list[PushChange]) -> bool:
        await self._bind_once()
        await in_thread(self._replica.mark_sent, batch)
        result = await self._client.push(self._space, sealed, ucan=self._ucan)
        if result.ok:
            await in_thread(self._replica.acknowledge, batch, result.cursor)
            if result.cursor == self._state.cursor + 1:  # nobody else wrote in between
                await in_thread(self._state.advance, result.cursor)
            return True
        if result.error in (ErrorCode.CONFLICT, ErrorCode.KEY_GENERATION_STALE):
            return False
        self._check_access(result.error)
        if result.error in _TRY_LATER:
            raise ServerDown(f"the server could not store it ({result.error})", "try again later")
        raise FolderError(f"the server refuses to store it ({result.error})")

    async def _bind_once(self) -> None:
        if self._bind is not None:
            bind, self._bind = self._bind, None
            await in_thread(bind)


def _epoch(record: SyncRecord) -> int:
    """The epoch a record's key is wrapped for; 1, which every member knows, for a tombstone."""
    return int.from_bytes(record.dek[:4], "big") if record.dek else 1


def _size_bytes(change: PushChange) -> int:
    return len(change.blob or b"") + len(change.dek or b"")
