"""What a run makes of the newest backup: a Postgres, databases, stores and servers of its own.

The backup is restored once, by this installation's own command; whoever needs rows gets a copy of that
database, and hard links to its contents. All of it lies in one private folder and is gone with the run, also
when that is interrupted (docs/validation.md 1.1).
"""

import asyncio
import fcntl
import os
import re
import shutil
import stat
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Final, Self

from cryptography.hazmat.primitives.asymmetric import ec

from less_sync.auth import encode_did_key
from less_sync.migrations import Loss, load, losses
from less_sync.validation.backup_folder import Backup, NoBackup, newest
from less_sync.validation.generated import Stream
from less_sync.validation.hooks import Ran, run_command, words_of
from less_sync.validation.inputs import Inputs, environment_of_commands
from less_sync.validation.matrix import ServerKind
from less_sync.validation.outcome import Blocked, CheckEnd, Faulty
from less_sync.validation.people import SCRATCH_ISSUER, Minter, Person, served_key_set
from less_sync.validation.redact import Redactor
from less_sync.validation.scratch_databases import ScratchDatabases, scratch_databases
from less_sync.validation.scratch_server import READY_S, ScratchServer, Setting, serving
from less_sync.validation.tools import Tools

COPIES_MAX: Final = 2
"""Of the restored backup, at a time."""
RESTORE_S: Final = 900.0
COMMAND_S: Final = 600.0
DATABASE_BYTES_PER_BYTE: Final = 3
"""What a compressed row may take in a database, its share of indexes included. Most of it is encrypted, which
hardly compresses."""
SPARE_BYTES: Final = 256 * 1024 * 1024
"""A cluster, its log, and what the rest of the machine needs."""
KID: Final = "scratch"
FOLDER: Final = "less-sync-validate-"
LOCK: Final = "lock"
LEFT_OVER_S: Final = 60.0
"""A folder that nobody holds and that is as old is no run's that begins."""
_ID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)

Say = Callable[[str], None]


def _free_bytes(folder: Path) -> int:
    return shutil.disk_usage(folder).free


@dataclass(frozen=True, slots=True)
class ScratchPlan:
    """What scratch is made from."""

    tools: Tools
    run_id: bytes
    candidate: Sequence[str]
    """The words that start it, `{port}` not replaced."""
    incumbent: Sequence[str] | None = None
    incumbent_kind: ServerKind = "less-sync"
    backup: Path | None = None
    """`BACKUP_DIR`."""
    database_url: str | None = field(default=None, repr=False)
    """A server's, where databases can be made; None: a private Postgres."""
    features: Mapping[str, bool] = field(default_factory=dict)
    told: Callable[[str, str], None] = lambda _name, _value: None
    """Hears of each secret that is made."""
    parent: Path | None = None
    """Where its folder lies; None: where temporary files do."""
    free_bytes: Callable[[Path], int] = _free_bytes
    versions: Sequence[int] = field(default_factory=lambda: tuple(load()))
    """The candidate's migrations."""
    losses: Mapping[int, Loss] = field(default_factory=losses)
    """What reverting each of them loses."""


def scratch_plan(
    tools: Tools, run_id: bytes, inputs: Inputs, features: Mapping[str, bool], redactor: Redactor
) -> ScratchPlan:
    """The plan of a run, by its variables.

    Raises:
        Broken: a command cannot be split into words.
    """
    candidate, incumbent = inputs.value("CANDIDATE_COMMAND"), inputs.value("INCUMBENT_COMMAND")
    backup, kind = inputs.value("BACKUP_DIR"), inputs.value("INCUMBENT_KIND")
    given_kind = "INCUMBENT_KIND" in inputs.given
    return ScratchPlan(
        tools,
        run_id,
        # `{port}` is replaced when a server is started.
        candidate=words_of(candidate) if candidate else (*tools.less_sync, "serve"),
        incumbent=words_of(incumbent) if incumbent else None,
        incumbent_kind=_kind(kind if given_kind else "less-sync"),
        backup=Path(backup) if backup else None,
        database_url=inputs.value("SCRATCH_DATABASE_URL"),
        features=features,
        told=redactor.add,
    )


def _kind(text: str | None) -> ServerKind:
    return "rust" if text == "rust" else "go" if text == "go" else "less-sync"


@dataclass(frozen=True, slots=True)
class Restored:
    """The backup, in a database that nobody connects to for long, and a store."""

    backup: Backup
    database: str
    url: str = field(repr=False)
    files: Path
    restore_ms: int


@dataclass(frozen=True, slots=True)
class Copy:
    """A database of one's own with its store of files."""

    database: str
    url: str = field(repr=False)
    files: Path


class Scratch:
    """One per run. Nothing is started before it is asked for.

    Everything that needs what was not given raises Blocked: `input:BACKUP_DIR`, `input:INCUMBENT_COMMAND`,
    `scratch` in a run that has none.
    """

    def __init__(self, plan: ScratchPlan | None = None) -> None:
        self._plan = plan
        self._stack = AsyncExitStack()
        self._lock = asyncio.Lock()
        self._restoring = asyncio.Lock()
        self._copies = asyncio.Semaphore(COPIES_MAX)
        self._folder: Path | None = None
        self._databases: ScratchDatabases | None = None
        self._key_set_url: str | None = None
        self._restored: Restored | CheckEnd | None = None
        self._staging: ScratchServer | None = None
        self._folders = 0
        self._minter: Minter | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        # A first interruption does not leave databases behind; a second one is not held up.
        closing = asyncio.ensure_future(self._stack.aclose())
        try:
            await asyncio.shield(closing)
        except asyncio.CancelledError:
            await asyncio.shield(closing)
            raise

    @property
    def plan(self) -> ScratchPlan:
        """What it is made from."""
        if self._plan is None:
            raise Blocked("scratch")
        return self._plan

    @property
    def minter(self) -> Minter:
        """The issuer that all its servers trust."""
        if self._minter is None:
            key = ec.generate_private_key(ec.SECP256R1())
            self._minter = Minter(SCRATCH_ISSUER, KID, key, told=self.plan.told)
        return self._minter

    def person(self, user: str, **claims: str) -> Person:
        """Somebody whom all scratch servers know; other claims than the usual ones as given."""
        minter, key = self.minter, ec.generate_private_key(ec.SECP256R1())
        body = minter.claims(user, did=encode_did_key(key.public_key())) | claims
        for name in ("did", "mailbox_id", "personal_space_id"):
            minter.told(name, str(body[name]))

        async def token() -> str:
            return minter.token(body)

        return Person(user, token, key, minter.told, user, minter)

    # Room.

    async def folder(self) -> Path:
        """Its folder, which only this user can read."""
        if self._folder is None:
            _remove_left_over(self.plan.parent or Path(tempfile.gettempdir()))
            folder = Path(tempfile.mkdtemp(prefix=FOLDER, dir=self.plan.parent))
            self._stack.push_async_callback(asyncio.to_thread, _remove, folder)
            # Held as long as this process lives, however that ends.
            lock = os.open(folder / LOCK, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._stack.callback(os.close, lock)
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._folder = folder
        return self._folder

    async def own_folder(self, name: str) -> Path:
        """A new folder in it."""
        self._folders += 1
        folder = await self.folder() / f"{name}-{self._folders}"
        folder.mkdir(mode=0o700)
        return folder

    async def missing_bytes(self) -> int:
        """How much room is missing for the backup and its copies, none of which is there yet; 0: none."""
        manifest = (await self.backup()).manifest
        rows = manifest.table_bytes * DATABASE_BYTES_PER_BYTE
        # The log of what is written comes to as much again; contents of copies are links.
        needed = manifest.contents.bytes + 2 * rows * (1 + COPIES_MAX) + SPARE_BYTES
        parent = self.plan.parent or Path(tempfile.gettempdir())
        return max(0, needed - self.plan.free_bytes(parent))

    # Databases.

    async def databases(self) -> ScratchDatabases:
        """The server's that was given, or of a private Postgres, which is started now."""
        async with self._lock:
            if self._databases is None:
                url = self.plan.database_url
                if url is None:
                    url = await self._own_postgres()
                opened = scratch_databases(url, self.plan.run_id)
                self._databases = await self._stack.enter_async_context(opened)
            return self._databases

    async def _own_postgres(self) -> str:
        folder = await self.folder() / "postgres"
        try:
            return await self._stack.enter_async_context(self.plan.tools.postgres(folder))
        except CheckEnd as end:
            end.lines = tuple(self.shown(line) for line in end.lines)
            raise

    @property
    def left(self) -> tuple[str, ...]:
        """Databases that could not be dropped, on a server that was given; known when the run has ended."""
        if self._databases is None or self.plan.database_url is None:
            return ()
        return tuple(self._databases.made)

    @asynccontextmanager
    async def empty(self) -> AsyncIterator[Copy]:
        """A database without any table, and an empty store; removed behind the block."""
        databases = await self.databases()
        files = await self.own_folder("files")
        name = await databases.create()
        try:
            yield Copy(name, databases.url_of(name), files)
        finally:
            await asyncio.shield(_gone(databases, name, files))

    @asynccontextmanager
    async def copy(self, restored: Restored) -> AsyncIterator[Copy]:
        """A copy of the restored backup; removed behind the block.

        Raises:
            Blocked: `disk`.
        """
        async with self._copies:
            databases = await self.databases()
            size_bytes = await databases.size_bytes(restored.database)
            if self.plan.database_url is None:
                self._room_for(size_bytes, await self.folder())
            files = await self.own_folder("files")
            name = await databases.create(restored.database)
            try:
                await asyncio.to_thread(_linked, restored.files, files)
                yield Copy(name, databases.url_of(name), files)
            finally:
                await asyncio.shield(_gone(databases, name, files))

    def _room_for(self, size_bytes: int, folder: Path) -> None:
        if self.plan.free_bytes(folder) < size_bytes + SPARE_BYTES // 4:
            raise Blocked("disk")

    # The backup.

    async def backup(self) -> Backup:
        """The newest one that is finished.

        Raises:
            Blocked: `input:BACKUP_DIR`.
            Faulty: `no-backup`, `incomplete`, `damaged`, `unreadable`, `format`.
        """
        if self.plan.backup is None:
            raise Blocked("input", "BACKUP_DIR")
        try:
            return await asyncio.to_thread(newest, self.plan.backup)
        except NoBackup as error:
            raise Faulty(error.reason).saying(error.words) from None

    async def restored(self, say: Say) -> Restored:
        """The newest backup, restored: once in a run, and what failed then fails again.

        Raises:
            Blocked: `disk`; or as `backup`.
            Faulty: `restore-failed:STATUS`, the command said why.
        """
        async with self._restoring:
            if self._restored is None:
                try:
                    self._restored = await self._restore(say)
                except CheckEnd as end:
                    self._restored = end
            if isinstance(self._restored, CheckEnd):
                raise self._restored
            return self._restored

    async def _restore(self, say: Say) -> Restored:
        backup, missing_bytes = await self.backup(), await self.missing_bytes()
        if missing_bytes:
            say(f"{missing_bytes} bytes are missing on the disk for the backup and its copies")
            raise Blocked("disk")
        databases = await self.databases()
        files = await self.own_folder("restored")
        name = await databases.create()
        url = databases.url_of(name)
        say(f"restoring the backup of {backup.manifest.created_at}")
        began_s = time.monotonic()
        variables = self.store_variables(files)
        ran = await self.less_sync(
            ("restore", str(backup.folder), "--keep-schema"), url, variables, say, timeout_s=RESTORE_S
        )
        if ran.status != 0:
            raise Faulty("restore-failed", ran.status % 256)
        restore_ms = int((time.monotonic() - began_s) * 1000)
        say(f"restored in {restore_ms} ms")
        return Restored(backup, name, url, files, restore_ms)

    def store_variables(self, files: Path) -> dict[str, str]:
        """By which a command finds a store of files in scratch."""
        return {"FILE_STORAGE_BACKEND": "local", "FILE_STORAGE_PATH": str(files)}

    async def less_sync(
        self,
        arguments: Sequence[str],
        database_url: str,
        variables: Mapping[str, str] = MappingProxyType({}),
        say: Say | None = None,
        *,
        timeout_s: float = COMMAND_S,
    ) -> Ran:
        """Run this installation's `less-sync` on a scratch database, with nothing of the operator's settings.

        Raises:
            Broken: see `run_command`.
        """
        environment = environment_of_commands(self.plan.tools.environment) | dict(variables)
        environment |= {"DATABASE_URL": database_url, "DATA_DIR": str(await self.folder() / "commands")}
        words = (*self.plan.tools.less_sync, *arguments)
        # A restore must not go on into a database that nobody will drop.
        ran = await run_command(words, environment, timeout_s=timeout_s, guarded=True)
        if say is not None:
            say(f"less-sync {arguments[0]} ended with status {ran.status}")
            for line in ran.errors:
                say(f"  {self.shown(line)}")
        return ran

    def shown(self, text: str) -> str:
        """A line that a program said, without paths of this machine and without ids of anybody's rows."""
        for path, word in ((self.plan.backup, "BACKUP"), (self._folder, "SCRATCH")):
            if path is not None:
                text = text.replace(str(path), word)
        return _ID.sub("[row]", text)

    # Servers.

    @asynccontextmanager
    async def candidate(
        self, copy: Copy, say: Say, *, ready_s: float = READY_S, name: str = ""
    ) -> AsyncIterator[ScratchServer]:
        """The server that shall take over, on a database and a store; see `serving`."""
        setting = await self._setting("candidate", self.plan.candidate, copy, name=name)
        async with serving(setting, lambda line: say(self.shown(line)), ready_s=ready_s) as server:
            yield server

    @asynccontextmanager
    async def incumbent(
        self, copy: Copy, say: Say, *, ready_s: float = READY_S, name: str = ""
    ) -> AsyncIterator[ScratchServer]:
        """The server now in service. Raises Blocked when nobody told how to start it."""
        words = self.plan.incumbent
        if words is None:
            raise Blocked("input", "INCUMBENT_COMMAND")
        setting = await self._setting("incumbent", words, copy, self.plan.incumbent_kind, name=name)
        async with serving(setting, lambda line: say(self.shown(line)), ready_s=ready_s) as server:
            yield server

    async def staging(self, say: Say) -> ScratchServer:
        """The candidate that plays staging, on a copy of the restored backup, until the run ends.

        Raises:
            Blocked, Faulty: as `restored` and `serving`.
        """
        if self._staging is None:
            restored = await self.restored(say)
            copy = await self._stack.enter_async_context(self.copy(restored))
            self._staging = await self._stack.enter_async_context(self.candidate(copy, say, name="staging"))
        return self._staging

    async def _setting(
        self, role: str, words: Sequence[str], copy: Copy, kind: ServerKind = "less-sync", *, name: str = ""
    ) -> Setting:
        plan = self.plan
        key = Stream(plan.run_id, "scratch-identity-hash-key").block().hex()
        plan.told("identity-hash-key", key)
        return Setting(
            role=role,
            words=words,
            kept=environment_of_commands(plan.tools.environment),
            database_url=copy.url,
            files=copy.files if plan.features.get("files", True) else None,
            folder=await self.own_folder(role),
            key_set_url=await self._key_set(),
            identity_hash_key=key if plan.features.get("rate_limits", True) else None,
            kind=kind,
            name=name,
        )

    async def _key_set(self) -> str:
        async with self._lock:
            if self._key_set_url is None:
                served = served_key_set(self.minter)
                self._key_set_url = await self._stack.enter_async_context(served)
            return self._key_set_url


async def _gone(databases: ScratchDatabases, name: str, files: Path) -> None:
    await databases.drop(name)
    await asyncio.to_thread(_remove, files)


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


def _remove_left_over(parent: Path) -> None:
    """Remove the folders of runs that were killed: they hold people's rows. Nobody holds their lock."""
    for folder in parent.glob(f"{FOLDER}*"):
        with suppress(OSError):  # in use, another user's, or just being made
            status = os.lstat(folder)
            young = time.time() - status.st_mtime < LEFT_OVER_S
            if young or status.st_uid != os.geteuid() or not stat.S_ISDIR(status.st_mode):
                continue
            lock = os.open(folder / LOCK, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _remove(folder)
            finally:
                os.close(lock)


def _linked(source: Path, target: Path) -> None:
    """The same contents in another folder: servers replace the file of a content and never write into it."""
    shutil.copytree(source, target, copy_function=os.link, dirs_exist_ok=True, symlinks=True)
