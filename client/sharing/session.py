"""What the commands about sharing have in common: options, output, a connection, and how they end."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

from less_sync.auth import Permission
from less_sync.client.folder.access import ServerOption, TokenOptions, server_url, tokens_from
from less_sync.client.folder.errors import INTERRUPTED, FolderError, ServerDown, TokenProblem, UsageProblem
from less_sync.client.folder.identity import told_by
from less_sync.client.folder.run import as_folder_error, until_signal
from less_sync.client.folder.shared import Grant, SharedFile, SharedSpace, grant_of
from less_sync.client.sharing.log_access import standing
from less_sync.client.sharing.person import Person, person_from
from less_sync.sync.client import RequestFailed, SyncClient, SyncClientError, TokenUnavailable
from less_sync.sync.client.errors import clock_words
from less_sync.sync.protocol.codes import ErrorCode

CLOCK_AHEAD_MAX: Final = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Options:
    """Where the server is and who we are, as the command line says."""

    server: ServerOption
    tokens: TokenOptions
    did_key_file: Path | None

    def person(self) -> Person:
        """Our DID and its key.

        Raises:
            UsageProblem: there is none.
        """
        return person_from(self.did_key_file, user=self.tokens.user, issuer=self.tokens.issuer)


class Output:
    """Lines for people, or one JSON object per line for programs, on standard output."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json

    def tell(self, event: str, text: str, /, **fields: object) -> None:
        """Say that something happened. `fields` are for programs and say all that `text` does."""
        print(json.dumps({"event": event, **fields}) if self.as_json else text, flush=True)

    def hint(self, text: str) -> None:
        """Say what could come next; programs know."""
        if not self.as_json:
            print(text, file=sys.stderr, flush=True)

    def fail(self, error: FolderError) -> None:
        """Say what stopped the command."""
        if self.as_json:
            fields = {"detail": str(error), "hint": error.hint, "exit_code": int(error.exit_code)}
            print(json.dumps({"event": "error", **fields}), flush=True)
            return
        print(f"Error: {error}", file=sys.stderr)
        if error.hint:
            print(f"  {error.hint}", file=sys.stderr)


def run_command(
    work: Callable[[Output], Awaitable[int | None]], *, as_json: bool, until_stopped: bool = False
) -> int:
    """Run a command to its exit code; whatever can go wrong has been said then.

    Args:
        until_stopped: Ctrl-C is how it ends when all is well.
    """
    output = Output(as_json=as_json)
    status = 0

    async def whole() -> None:
        nonlocal status
        status = await work(output) or 0

    try:
        asyncio.run(until_signal(whole()))
    except FolderError as error:
        output.fail(error)
        return int(error.exit_code)
    except asyncio.CancelledError:
        return 0 if until_stopped else INTERRUPTED
    return status


@asynccontextmanager
async def connected(options: Options, person: Person, *, grant: Grant | None) -> AsyncIterator[SyncClient]:
    """A client of the server, whose token is `person`'s; errors of the client become those of commands.

    Args:
        grant: what lets the person into the space that is asked for: a refusal then says what that means.

    Raises:
        AccessLost: the space lets this person in no more. Only `subscribe` is believed about that: any
            other refusal can be for want of a permission, or a passing fault.
        ServerDown: it is not there, or has trouble.
        FolderError: no token, or the server refuses.
    """
    url = server_url(options.server)
    tokens = tokens_from(options.tokens)
    try:
        token = await tokens.source()
    except TokenUnavailable as error:
        raise TokenProblem(str(error)) from error
    try:
        async with SyncClient(url, tokens.source, did_key=person.key) as client:
            check_clock(client.clock_difference)
            if (await told_by(client, token)).did != person.did:
                raise UsageProblem(
                    "the token is not of the person whose DID key this is",
                    "its `did` must be the one of the key",
                )
            try:
                yield client
            except RequestFailed as error:
                if error.code == ErrorCode.FORBIDDEN and grant is not None:
                    await standing(client, grant.ucan)
                    raise refusal(grant) from error
                raise
    except SyncClientError as error:
        raise _explained(error, url) from error


def check_clock(difference: timedelta | None) -> None:
    """Refuse to go on with a clock that is far ahead of the server's.

    Entries of a membership log carry our time, and tokens that end before it are worth nothing in that log.

    Raises:
        FolderError: it is.
    """
    if difference is not None and difference > CLOCK_AHEAD_MAX:
        raise FolderError(clock_words(difference), "set the clock that is wrong")


def refusal(grant: Grant) -> FolderError:
    """What it means that the server refuses something to somebody whom it lets into the space."""
    if grant.permission is Permission.ADMIN:
        return FolderError("the server refused this for now, though it lets you into the space", "try again")
    return FolderError(
        f"your token does not allow this: it is for {grant.permission.name.lower()}",
        "letting others in takes write; taking tokens back and a new key take admin",
    )


def _explained(error: SyncClientError, url: str) -> FolderError:
    if not isinstance(error, RequestFailed):
        return as_folder_error(error, url)
    match error.code:
        case _ if error.hosted_elsewhere:
            return FolderError(
                "this is done at the home of the space, which is another server than yours",
                "ask a member who uses that server; `push`, `pull` and `watch` work here",
            )
        case ErrorCode.INTERNAL:
            return ServerDown(f"the server has trouble: {error.message}", "try again later")
        case ErrorCode.RATE_LIMITED:
            return FolderError(f"the server asks to wait: {error.message}", "try again later")
        case ErrorCode.METHOD_NOT_FOUND:
            return FolderError("the server does not offer this yet", "it is older than this command")
        case _:
            return FolderError(f"the server answered {error}")


def bound(folder: Path) -> tuple[SharedFile, SharedSpace, Grant]:
    """The shared space of a folder.

    Raises:
        UsageProblem: it is bound to none.
    """
    file = SharedFile(folder)
    shared = file.load()
    if shared is None:
        raise UsageProblem(
            f"{folder} is not the folder of a shared space",
            "`less-sync space create` makes one, `less-sync space join` enters one",
        )
    return file, shared, grant_of(shared.ucan)


def own(grant: Grant, person: Person) -> None:
    """Check that the folder's UCAN was given to this person.

    Raises:
        UsageProblem: it was not.
    """
    if grant.audience != person.did:
        raise UsageProblem("this folder was joined by another person than the one whose key this is")
