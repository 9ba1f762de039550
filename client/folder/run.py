"""A folder command from start to exit code: key, state, client, engine, and every way it can end."""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from less_sync.client.folder.access import (
    Tokens,
    is_exposed,
    server_name,
    server_url,
    tokens_from,
)
from less_sync.client.folder.engine import Engine
from less_sync.client.folder.errors import (
    INTERRUPTED,
    FolderError,
    KeyMismatch,
    ServerDown,
    TokenProblem,
    UsageProblem,
)
from less_sync.client.folder.exchange import Exchange
from less_sync.client.folder.files import FileTree
from less_sync.client.folder.identity import did_key_of, who_is
from less_sync.client.folder.job import Binding, Job, Verb, key_of, personal_binding, shared_binding
from less_sync.client.folder.keyfile import set_aside
from less_sync.client.folder.look import (
    tell_files,
    tell_status,
    without_what_is_to_pull,
    would_pull,
    would_push,
)
from less_sync.client.folder.own_files import OwnFiles
from less_sync.client.folder.replica import Replica
from less_sync.client.folder.report import Event, Kind, Reporter
from less_sync.client.folder.shared import SharedFile
from less_sync.client.folder.state import FolderState, disk_errors
from less_sync.sync.client import (
    ConnectionChange,
    ConnectionLost,
    FileClient,
    NotThisProtocol,
    ServerUnavailable,
    SyncClient,
    SyncClientError,
    TokenRefused,
    TokenUnavailable,
    token_claim,
)
from less_sync.sync.protocol.codes import CloseCode

_REFUSALS_MAX: Final = 5
_TOKEN_POLL_S: Final = 2.0
_MINT_HINT: Final = "`less-sync token --user NAME` mints one for a server in dev mode"


def run_job(job: Job, reporter: Reporter) -> int:
    """Do the job and return the exit code. Everything that can go wrong was reported."""
    try:
        agreed = _agreed_to_leave(job)
        asyncio.run(until_signal(_do(job, reporter, agreed)))
    except FolderError as error:
        reporter.fail(error)
        return int(error.exit_code)
    except asyncio.CancelledError:
        code = 0 if job.verb is Verb.WATCH else INTERRUPTED
    else:
        code = int(reporter.summary.exit_code)
    reporter.finish(code)
    return code


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


async def _do(job: Job, reporter: Reporter, agreed: str | None) -> None:
    url = server_url(job.server)
    tokens = tokens_from(job.tokens)
    try:
        token = await tokens.source()
    except TokenUnavailable as error:
        raise TokenProblem(str(error)) from error
    with ExitStack() as stack:
        job = _with_folder(job, stack)
        shared = SharedFile(job.folder).load()
        if is_exposed(url):
            text = "the connection is not encrypted: anybody on the way can take the token"
            reporter.tell(Event(Kind.NOTE, detail=text))
        try:
            who = await who_is(url, token, did_key_of(job.did_key_file, job.tokens))
        except SyncClientError as error:
            raise as_folder_error(error, url) from error
        if shared is not None:
            binding = shared_binding(job, shared, who)
            await _with_binding(job, url, tokens, binding, reporter, agreed)
            return
        if who.space is None:
            raise TokenProblem("no personal space belongs to this token", _MINT_HINT)
        key, is_new_key = key_of(job)
        if is_new_key:
            reporter.tell(Event(Kind.NOTE, detail=f"new key file {job.key_file}: other devices need it"))
        try:
            binding = personal_binding(who.space, key, who.did or token_claim(token, "sub"))
            await _with_binding(job, url, tokens, binding, reporter, agreed)
        except KeyMismatch:
            if is_new_key:
                # It would be in the way of the right one. Kept, in case another command used it meanwhile.
                set_aside(job.key_file, key)
            raise


def _with_folder(job: Job, stack: ExitStack) -> Job:
    """The job with a folder that exists: made for a pull, an empty one in its place for who only looks."""
    if job.folder.is_dir():
        return job
    if job.verb in (Verb.PUSH, Verb.STATUS) or job.folder.exists():
        raise UsageProblem(f"{job.folder} is no folder")
    if job.looks:
        return replace(job, folder=Path(stack.enter_context(TemporaryDirectory())))
    with disk_errors(f"cannot make {job.folder}"):
        job.folder.mkdir(parents=True, exist_ok=True)
    return job


async def _with_binding(
    job: Job, url: str, tokens: Tokens, binding: Binding, reporter: Reporter, agreed: str | None
) -> None:
    with ExitStack() as stack:
        open_state = FolderState.look if job.looks else FolderState.open
        state = stack.enter_context(open_state(job.folder))
        state.check(space=binding.space, fingerprint=binding.fingerprint)
        _check_server(job, state, server_name(url), agreed, reporter)
        with disk_errors(f"cannot open {job.folder}"):
            tree = FileTree(job.folder, None if job.looks else state.directory)
        stack.callback(tree.close)
        if not job.looks:
            tree.trash.prune()
        tell: Callable[[Event], None] = reporter.tell
        if job.verb is Verb.STATUS:
            tell = without_what_is_to_pull(tell)
        replica = Replica(
            job.folder,
            state,
            tree,
            binding.cipher,
            tell=tell,
            now=lambda: datetime.now().astimezone(),
            own=OwnFiles.in_use(
                job.key_file, job.did_key_file, job.tokens.file, data_dir=job.tokens.data_dir
            ),
            accept_deletions=job.accept_deletions,
            may_push=binding.grant is None or not binding.grant.read_only,
            above_bytes=job.storage_above_bytes,
        )
        await _with_client(job, url, tokens, binding, replica, reporter)


def _agreed_to_leave(job: Job) -> str | None:
    """Ask before a folder goes to another server than before, since its files would be uploaded there.

    Returns the server that it may leave. It is asked before anything runs, so that Ctrl-C is an answer too.

    Raises:
        UsageProblem: the answer is no, or there is nobody to ask.
    """
    server = server_name(server_url(job.server))
    former = FolderState.server_of(job.folder)
    if job.looks or former in (None, server):
        return None
    text = _another_server(former, server)
    if job.confirm is None or not job.confirm(f"{text}: sync it with this one from now on?"):
        raise UsageProblem(text, "--yes goes on with this one; nothing was sent to it")
    return former


def _another_server(former: str | None, server: str) -> str:
    return f"this folder was synced with the server {former} so far, and this one is {server}"


def _check_server(job: Job, state: FolderState, server: str, agreed: str | None, reporter: Reporter) -> None:
    """Leave the former server of a folder, if that was agreed.

    Raises:
        UsageProblem: it was not: another command has bound the folder since it was asked.
    """
    former = state.server
    if former in (None, server):
        return
    if job.looks:
        reporter.tell(Event(Kind.NOTE, detail=_another_server(former, server)))
    elif former != agreed:
        raise UsageProblem(_another_server(former, server), "run it again")
    state.forget()  # cursors of one server mean nothing at another


async def _with_client(
    job: Job, url: str, tokens: Tokens, binding: Binding, replica: Replica, reporter: Reporter
) -> None:
    """Run the command; a watch whose token was refused waits for another token and goes on."""
    refused = last = ""
    refusals = 0
    was_connected = False
    pause_s = job.times.retry_s

    async def source() -> str:
        nonlocal last
        last = await tokens.source()
        return last

    def on_connection(change: ConnectionChange) -> None:
        nonlocal was_connected, refusals, pause_s
        if change.connected:
            refusals, pause_s = 0, job.times.retry_s
            if was_connected:
                reporter.tell(Event(Kind.CONNECTED, detail="connected again"))
            was_connected = True
        else:
            text = f"{change.reason}; connecting again in {change.retry_in_s:.0f} s"
            reporter.tell(Event(Kind.DISCONNECTED, detail=text))

    def bind() -> None:
        replica.state.bind(space=binding.space, fingerprint=binding.fingerprint)
        replica.state.bind_server(server_name(url))

    did_key = did_key_of(job.did_key_file, job.tokens)
    while True:
        try:
            async with (
                SyncClient(url, source, did_key=did_key, on_connection=on_connection) as client,
                FileClient(url, source, did_key=did_key) as files,
            ):
                exchange = Exchange(
                    client,
                    binding.space,
                    replica,
                    reporter,
                    grant=binding.grant,
                    keys=binding.keys,
                    files=files,
                    part_bytes=job.part_bytes,
                )
                exchange.bind_with(bind)
                await _work(job, url, binding, exchange, reporter)
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
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, job.times.retry_s_max)


async def _work(job: Job, url: str, binding: Binding, exchange: Exchange, reporter: Reporter) -> None:
    engine = Engine(exchange, reporter, job.times)
    match job.verb:
        case Verb.PUSH if job.dry_run:
            await engine.patiently(lambda: would_push(exchange, reporter.tell))
        case Verb.PULL if job.dry_run:
            await engine.patiently(lambda: would_pull(exchange))
        case Verb.PUSH:
            await engine.push_once()
        case Verb.PULL:
            await engine.pull_once()
        case Verb.WATCH:
            await engine.watch()
        case Verb.STATUS:
            await engine.patiently(lambda: tell_status(server_name(url), binding, exchange, reporter))
        case Verb.LIST:
            await engine.patiently(lambda: tell_files(binding, exchange, reporter))


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
            hint = f"give another token; {_MINT_HINT}"
            if "expired" in error.reason:
                hint = "get a fresh one; --token-file and --token-command are asked at every connect"
            if error.clock_difference is not None:
                hint = "set the clock that is wrong: tokens are judged by the server's"
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
