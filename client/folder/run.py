"""A folder command from start to exit code: key, state, client, engine, and every way it can end."""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Final
from uuid import UUID

from less_sync.client.folder.access import (
    ServerOption,
    TokenOptions,
    Tokens,
    is_exposed,
    personal_space,
    server_url,
    token_claim,
    tokens_from,
)
from less_sync.client.folder.crypto import RecordCipher, SharedCipher
from less_sync.client.folder.engine import Engine, EpochKeys, WatchTimes
from less_sync.client.folder.errors import FolderError, KeyMismatch, ServerDown, TokenProblem, UsageProblem
from less_sync.client.folder.files import FileTree
from less_sync.client.folder.keyfile import load_or_create_key
from less_sync.client.folder.replica import Replica
from less_sync.client.folder.report import Event, Kind, Reporter
from less_sync.client.folder.shared import Grant, SharedFile, SharedSpace, grant_of
from less_sync.client.folder.state import FolderState, disk_errors
from less_sync.sync.client import (
    ConnectionChange,
    ConnectionLost,
    NotThisProtocol,
    ServerUnavailable,
    SyncClient,
    SyncClientError,
    TokenRefused,
    TokenUnavailable,
)
from less_sync.sync.protocol.codes import CloseCode

_REFUSALS_MAX: Final = 5
_TOKEN_POLL_S: Final = 2.0
INTERRUPTED: Final = 130


class Verb(StrEnum):
    """What to do with the folder."""

    PUSH = "push"
    PULL = "pull"
    WATCH = "watch"


@dataclass(frozen=True, slots=True)
class Job:
    """One command, as the command line says."""

    verb: Verb
    folder: Path
    server: ServerOption
    tokens: TokenOptions
    key_file: Path
    did_key_file: Path | None = None
    times: WatchTimes = field(default_factory=WatchTimes)


@dataclass(frozen=True, slots=True)
class Binding:
    """The space a folder is kept in agreement with, and what opens it."""

    space: UUID
    fingerprint: str
    cipher: RecordCipher
    grant: Grant | None = None
    keys: EpochKeys | None = None


def run_job(job: Job, reporter: Reporter) -> int:
    """Do the job and return the exit code. Everything that can go wrong was reported."""
    try:
        asyncio.run(until_signal(_do(job, reporter)))
    except FolderError as error:
        reporter.fail(error)
        return int(error.exit_code)
    except asyncio.CancelledError:
        reporter.finish()
        return 0 if job.verb is Verb.WATCH else INTERRUPTED
    reporter.finish()
    return int(reporter.summary.exit_code)


async def until_signal(work: Awaitable[None]) -> None:
    """Let SIGINT and SIGTERM cancel the work once; a second one kills, and loses nothing either."""
    loop = asyncio.get_running_loop()
    task = asyncio.ensure_future(work)

    def stop() -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL)
        task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    await task


async def _do(job: Job, reporter: Reporter) -> None:
    url = server_url(job.server)
    tokens = tokens_from(job.tokens)
    _check_folder(job)
    try:
        token = await tokens.source()
    except TokenUnavailable as error:
        raise TokenProblem(str(error)) from error
    shared = SharedFile(job.folder).load()
    if shared is not None:
        await _with_binding(job, url, tokens, _shared_binding(job, shared, token), reporter)
        return
    space = personal_space(token)
    key, is_new_key = load_or_create_key(job.key_file)
    if is_new_key:
        reporter.tell(Event(Kind.NOTE, detail=f"new key file {job.key_file}: other devices need it"))
    try:
        binding = Binding(space, key.fingerprint, RecordCipher(key, space))
        await _with_binding(job, url, tokens, binding, reporter)
    except KeyMismatch:
        if is_new_key:
            # It would be in the way of the right one. Renamed, in case another command used it meanwhile.
            job.key_file.rename(job.key_file.with_name(f"{job.key_file.name}.{key.fingerprint}.old"))
        raise


def _shared_binding(job: Job, shared: SharedSpace, token: str) -> Binding:
    """Raises UsageProblem where the server would only say `forbidden`."""
    from less_sync.client.sharing.keys import SpaceKeys
    from less_sync.client.sharing.person import Person, person_from

    def person() -> Person:
        return person_from(job.did_key_file, user=job.tokens.user, issuer=job.tokens.issuer)

    grant = grant_of(shared.ucan)
    if token_claim(token, "did") != grant.audience:
        raise UsageProblem(
            "this folder was joined by another person than the one whose token this is",
            "the token's `did` must be the one the space was shared with",
        )
    cipher = SharedCipher(shared.epoch_keys, shared.space)
    keys = SpaceKeys(SharedFile(job.folder), cipher, person)
    return Binding(shared.space, shared.fingerprint, cipher, grant, keys)


async def _with_binding(job: Job, url: str, tokens: Tokens, binding: Binding, reporter: Reporter) -> None:
    if is_exposed(url):
        reporter.tell(
            Event(Kind.NOTE, detail="the connection is not encrypted: anybody on the way can take the token")
        )
    with ExitStack() as stack:
        state = stack.enter_context(FolderState.open(job.folder))
        state.check(space=binding.space, fingerprint=binding.fingerprint)
        with disk_errors(f"cannot open {job.folder}"):
            tree = FileTree(job.folder, state.directory / "tmp")
        stack.callback(tree.close)
        replica = Replica(
            job.folder,
            state,
            tree,
            binding.cipher,
            tell=reporter.tell,
            now=lambda: datetime.now().astimezone(),
        )

        def bind() -> None:
            state.bind(space=binding.space, fingerprint=binding.fingerprint)

        await _with_client(job, url, tokens, binding, replica, reporter, bind)


def _check_folder(job: Job) -> None:
    if job.verb is not Verb.PUSH:
        with disk_errors(f"cannot make {job.folder}"):
            job.folder.mkdir(parents=True, exist_ok=True)
    if not job.folder.is_dir():
        raise UsageProblem(f"{job.folder} is no folder")


async def _with_client(
    job: Job,
    url: str,
    tokens: Tokens,
    binding: Binding,
    replica: Replica,
    reporter: Reporter,
    bind: Callable[[], None],
) -> None:
    """Run the engine; a watch whose token was refused waits for another token and goes on."""
    refused = last = ""
    refusals = 0
    was_connected = False

    async def source() -> str:
        nonlocal last
        last = await tokens.source()
        return last

    def on_connection(change: ConnectionChange) -> None:
        nonlocal was_connected, refusals
        if change.connected:
            refusals = 0
            if was_connected:
                reporter.tell(Event(Kind.CONNECTED, detail="connected again"))
            was_connected = True
        else:
            text = f"{change.reason}; connecting again in {change.retry_in_s:.0f} s"
            reporter.tell(Event(Kind.DISCONNECTED, detail=text))

    while True:
        try:
            async with SyncClient(url, source, on_connection=on_connection) as client:
                engine = Engine(
                    client, binding.space, replica, reporter, grant=binding.grant, keys=binding.keys
                )
                engine.bind_with(bind)
                await _engine_run(engine, job)
                return
        except TokenRefused as error:
            refused = last
            refusals += 1
            waits = job.verb is Verb.WATCH and was_connected and tokens.renewable
            if not waits or refusals > _REFUSALS_MAX:
                raise as_folder_error(error, url) from error
            reporter.tell(Event(Kind.DISCONNECTED, detail=f"{error}; waiting for another token"))
            await _another_token(tokens, refused)
        except SyncClientError as error:
            if not (was_connected and job.verb is Verb.WATCH and isinstance(error, ServerUnavailable)):
                raise as_folder_error(error, url) from error
            reporter.tell(Event(Kind.DISCONNECTED, detail=f"{error}; trying again"))
            await asyncio.sleep(job.times.retry_s)


async def _engine_run(engine: Engine, job: Job) -> None:
    match job.verb:
        case Verb.PUSH:
            await engine.push_once()
        case Verb.PULL:
            await engine.pull_once()
        case Verb.WATCH:
            await engine.watch(job.times)


async def _another_token(tokens: Tokens, refused: str) -> None:
    """Wait until the source gives another token than the refused one."""
    while True:
        await asyncio.sleep(_TOKEN_POLL_S)
        try:
            if await tokens.source() != refused:
                return
        except TokenUnavailable:
            continue


def as_folder_error(error: SyncClientError, url: str) -> FolderError:
    """What the user is told, with what they can do about it."""
    match error:
        case TokenRefused():
            hint = "give another token; `less-sync token --user NAME` mints one for a server in dev mode"
            if "expired" in error.reason:
                hint = "get a fresh one; --token-file and --token-command are asked at every connect"
            return TokenProblem(str(error), hint)
        case TokenUnavailable():
            return TokenProblem(str(error))
        case ConnectionLost(code=CloseCode.TOO_MANY_CONNECTIONS):
            return ServerDown(str(error), "a user has few connections at a time; stop another watch")
        case ServerUnavailable():
            return ServerDown(
                f"no connection to {url}: {error}",
                "is it running? `less-sync serve` starts one here, --server names another",
            )
        case NotThisProtocol():
            return ServerDown(f"no sync server at {url}: {error}", "--server names the server")
        case _:
            return FolderError(f"the server at {url}: {error}")
