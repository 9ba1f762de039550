"""What a replica and its space say to each other over one client: subscribe, pull, push, take announcements.

Nothing is tried again here, and nothing waits: `engine.py` decides that. What a lost connection leaves
unclear (was the push written?) the next pull tells.
"""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Final, Protocol
from uuid import UUID

from less_sync.client.folder.arrivals import Incoming, Mode, PullCount
from less_sync.client.folder.blocking import in_thread
from less_sync.client.folder.conversation import Conversation
from less_sync.client.folder.crypto import SealedFile
from less_sync.client.folder.downloads import Downloads, NotFetched
from less_sync.client.folder.errors import FolderError, KeyMismatch
from less_sync.client.folder.file_storage import TROUBLE_MAX, FileStorage, NoFileStorage
from less_sync.client.folder.plaintext import PART_BYTES_MAX
from less_sync.client.folder.replica import Replica
from less_sync.client.folder.report import Event, Kind, Progressed, Reporter
from less_sync.client.folder.sending import Sending
from less_sync.client.folder.shared import Grant
from less_sync.client.folder.subscribing import subscribed
from less_sync.sync.client import (
    FileClient,
    Notice,
    PullBegin,
    PullCommit,
    PullRecord,
    ResubscribeNotice,
    ResyncNeeded,
    RevokedNotice,
    ServerUnavailable,
    SubscribeSpace,
    SubscriptionLost,
    SyncClient,
    SyncNotice,
)
from less_sync.sync.protocol.ids import parse_record_id
from less_sync.sync.protocol.messages import SyncRecord

_PULLS_MAX: Final = 8
_RECORDS_PER_BATCH: Final = 256
_BATCH_BYTES: Final = 4 * 1024 * 1024
_HOME_AWAY: Final = "federation_unavailable"
"""The reason of a `revoked` when the home of a space takes our server's subscription no more."""
_HOME_AWAY_WORDS: Final = "the home of the space refuses our server, or does not know it; asking again"
KEY_HINT: Final = (
    "the devices of a user share one key file: "
    "`less-sync key export` on the other device, `less-sync key import` here"
)


class NotAllFetched(ServerUnavailable):
    """The server was not ready to give some large files. All else that a pull brings is done."""


class EpochKeys(Protocol):
    """The keys of a shared space."""

    def knows(self, epoch: int) -> bool:
        """Whether records of this epoch can be sealed and opened."""

    async def fetch(self, client: SyncClient, epoch: int) -> None:
        """Make sure of the key of an epoch, or raise KeyMismatch."""


class Exchange:
    """See the module. Methods run one at a time.

    Args:
        grant: what lets us into a shared space; None for the personal one.
        keys: of a shared space's epochs, to fetch one not yet known before any record of a pull.
        files: for large files; None: there is no file storage to use.
        part_bytes: plaintext of each part of a large file that is pushed.
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
        files: FileClient | None = None,
        part_bytes: int = PART_BYTES_MAX,
    ) -> None:
        self.client = client
        self.replica = replica
        self.grant = grant
        self._keys = keys
        self._space = str(space)
        self._ucan = "" if grant is None else grant.ucan
        self._state = replica.state
        self._is_deaf = False
        """Whether the server may have ended the subscription, and has not taken it anew."""
        self._talk = Conversation(client, self._space, replica, reporter, ucan=self._ucan)
        storage = FileStorage(files, self._space, self._ucan)
        self._sending = Sending(self._talk, storage, learn=self.fetch_keys, part_bytes=part_bytes)
        self._downloads = Downloads(self._talk, storage, learn=self.fetch_keys)

    def bind_with(self, bind: Callable[[], None]) -> None:
        """What to call once, when the key has proved to be the space's, or is about to become it."""
        self._talk.bind = bind

    @property
    def epoch(self) -> int:
        """The key generation of the space that the server named last."""
        return self._talk.epoch

    @property
    def steps(self) -> int:
        """Grows with every record taken in, every push that was written and every piece of a large file."""
        return self._talk.steps

    @property
    def read_only(self) -> bool:
        """Whether nothing may be pushed."""
        return self.grant is not None and self.grant.read_only

    async def subscribe(self) -> None:
        """Subscribe the space and have its newest key.

        Raises: as `subscribed`, and
            KeyMismatch: there is a new key, and not for us.
        """
        wanted = SubscribeSpace(id=self._space, since=max(0, self._state.cursor), ucan=self._ucan)
        space = await subscribed(self.client, wanted, self.grant)
        self._is_deaf = False
        self._talk.epoch = max(1, space.key_generation)
        if self._keys is not None:
            await self._keys.fetch(self.client, space.key_generation)

    async def fetch_keys(self) -> None:
        """Have the keys of a shared space before any of its records comes.

        Raises: as `subscribe`.
        """
        if self._keys is not None:
            await self.subscribe()

    async def take(self, notice: Notice | None) -> bool:
        """Apply one announcement if it continues what is known; otherwise say that a pull is due.

        Raises: as `pull` and `subscribe`.
        """
        match notice:
            case SyncNotice(space=self._space):
                return await self._apply_notice(notice)
            case ResyncNeeded():
                return True
            case RevokedNotice(space=self._space) | SubscriptionLost(space=self._space):
                if isinstance(notice, RevokedNotice) and notice.reason == _HOME_AWAY:
                    self._talk.reporter.tell(Event(Kind.DISCONNECTED, detail=_HOME_AWAY_WORDS))
                # Somebody's token was revoked: subscribing again tells whether it was ours.
                self._is_deaf = True
                await self.subscribe()
                return True
            case ResubscribeNotice() if self._space in notice.spaces:
                self._is_deaf = True
                await self.subscribe()
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
        self.replica.intake.start()
        await self._receive([_incoming(record) for record in notice.records], Mode.APPLY, count)
        await in_thread(self.replica.intake.finish, Mode.APPLY, count)
        await self._fetch_wanted(count)
        if count.in_the_way or count.rolled_back:
            return True  # what was rolled back is pushed again after the pull
        await in_thread(self._state.advance, notice.cursor)
        return False

    # From the server.

    async def pull(self, mode: Mode) -> None:
        """Take in everything after the state's cursor, and again what could not be applied before.

        Raises:
            KeyMismatch: the space was written with another key; nothing was changed.
            TooManyDeletions: most of the folder would be deleted; no file was.
            FolderError: the disk, or a server that breaks the protocol.
            SyncClientError: see `SyncClient.pull`; and as `subscribe`, where that was due.
        """
        if self._is_deaf:
            await self.subscribe()
        former = None
        for _ in range(_PULLS_MAX):
            # `push` has seen what is pending; only applying it would change anything.
            pending = None if mode is Mode.NOTE else self._state.first_pending()
            since = self._state.cursor if pending is None else min(self._state.cursor, pending - 1)
            count = PullCount()
            # A since of 0 would hide tombstones.
            if not await self._pull_since(since if since > 0 else -1, count, mode):
                continue
            if mode is Mode.APPLY:
                await self._fetch_wanted(count)
                await in_thread(self._downloads.clean_up)
            # What stood in the way may have moved by a later record of the same pull.
            if not count.in_the_way or count.in_the_way == former:
                return
            former = count.in_the_way

    async def _pull_since(self, since: int, count: PullCount, mode: Mode) -> bool:
        """One pull. False when the server turned out to be another one than before: start again."""
        self.replica.intake.start()
        batch: list[Incoming] = []
        size_bytes, whole = 0, 1
        async with aclosing(self.client.pull(self._space, since, ucan=self._ucan)) as events:
            async for event in events:
                match event:
                    case PullBegin():
                        whole = max(1, event.cursor - max(since, 0))
                        self._talk.epoch = max(1, event.key_generation)
                        if self._keys is not None and not self._keys.knows(self.epoch):
                            break  # a new key came in between: it is fetched when nothing streams
                        if event.cursor < self._state.cursor:
                            await in_thread(self.replica.side.discard)
                            await in_thread(self._state.forget)
                            return False
                    case PullRecord():
                        batch.append(_incoming(event))
                        size_bytes += len(event.blob or b"")
                        if len(batch) >= _RECORDS_PER_BATCH or size_bytes >= _BATCH_BYTES:
                            await self._receive(batch, mode, count)
                            batch, size_bytes = [], 0
                            part = min(1.0, (event.cursor - max(since, 0)) / whole)
                            self._tell(count, part)
                    case PullCommit():
                        await self._receive(batch, mode, count)
                        self._talk.reporter.progress(
                            Progressed("pulling", count.files, count.size_bytes, 1.0)
                        )
                        await self._commit(event, count, mode)
                        return True
        if self._keys is not None:
            await self._keys.fetch(self.client, self.epoch)
        return False

    async def _receive(self, batch: list[Incoming], mode: Mode, count: PullCount) -> None:
        await in_thread(self.replica.intake.receive, batch, mode, count)
        for one in batch:
            self._talk.reach("records", one.cursor)

    def _tell(self, count: PullCount, part: float) -> None:
        self._talk.reporter.progress(Progressed("pulling", count.files, count.size_bytes, part))

    async def _commit(self, commit: PullCommit, count: PullCount, mode: Mode) -> None:
        if count.undecryptable and not count.opened and self._state.is_new():
            await in_thread(self.replica.side.discard)
            number = len(count.undecryptable)
            raise KeyMismatch(f"the key file decrypts none of {number} records in the space", KEY_HINT)
        if count.opened:
            await self._talk.bind_once()
        await in_thread(self.replica.intake.finish, mode, count)
        await in_thread(self._state.advance, commit.cursor)

    async def records(self) -> AsyncGenerator[Incoming, None]:
        """Everything that is in the space, as it is, by cursor. Nothing of it is remembered.

        Raises: as `pull`.
        """
        async with aclosing(self.client.pull(self._space, 0, ucan=self._ucan)) as events:
            async for event in events:
                if isinstance(event, PullRecord):
                    yield _incoming(event)

    # To the server.

    async def push(self) -> bool:
        """Push every change of the last scan. False when a pull must come first.

        Raises: as `Sending.push`.
        """
        return await self._sending.push()

    async def learn_of_storage(self) -> None:
        """Find out whether large files could be pushed: as `Sending.learn_of_storage`."""
        await self._sending.learn_of_storage()

    # Large files.

    async def _fetch_wanted(self, count: PullCount) -> None:
        """Download the large files that the records taken in have brought, and put each in its place.

        What cannot be had is named, and the next pull asks for it again.

        Raises:
            NotAllFetched: some of them; what could be had is in its place.
            DiskFull, FolderError, SyncClientError: as `Downloads.fetch`.
        """
        intake, no_storage = self.replica.intake, ""
        wanted = intake.take_wanted()
        trouble: list[str] = []
        self._downloads.expect(wanted)
        for one in wanted:
            try:
                if no_storage:
                    raise NotFetched(no_storage)
                fetched = await self._downloads.fetch(one)
            except ServerUnavailable as error:
                # It may be this file alone, so that the others must not wait behind it for ever.
                trouble.append(f"{one.path}: {error}")
                if len(trouble) > TROUBLE_MAX:
                    break
            except NoFileStorage as reason:
                no_storage = str(reason)
                await in_thread(intake.postpone, one, no_storage)
            except NotFetched as reason:
                count.in_the_way += reason.is_missing
                await in_thread(intake.postpone, one, str(reason))
            else:
                await in_thread(intake.place_fetched, one, fetched, count)
        self._downloads.finish()
        if trouble:
            raise NotAllFetched(trouble[0])


def _incoming(record: PullRecord | SyncRecord) -> Incoming:
    if parse_record_id(record.id) is None:
        raise FolderError("the server sent a record without a valid id")
    deleted = record.deleted or record.blob is None
    sealed = None if deleted else SealedFile(record.blob or b"", record.dek or b"")
    return Incoming(UUID(record.id), record.cursor, sealed)


def _epoch(record: SyncRecord) -> int:
    """The epoch a record's key is wrapped for; 1, which every member knows, for a bare tombstone."""
    return int.from_bytes(record.dek[:4], "big") if record.dek else 1
