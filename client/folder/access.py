"""Where the server is, and where tokens for it come from."""

import asyncio
import shlex
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple, Protocol
from urllib.parse import urlsplit, urlunsplit

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

from less_sync.client.folder.errors import UsageProblem
from less_sync.client.kept_key import KeyFileError
from less_sync.sync.client import TokenUnavailable, is_this_machine

_DEFAULT_SERVER: Final = "127.0.0.1"
_ROUTE: Final = "/api/v1/ws"
_SCHEMES: Final = {"ws": "ws", "wss": "wss", "http": "ws", "https": "wss"}
_TOKEN_BYTES_MAX: Final = 64 * 1024
_COMMAND_TIMEOUT_S: Final = 30.0
_DRAIN_TIMEOUT_S: Final = 1.0
_DEV_PORT: Final = 5379


class LocalIssuer(Protocol):
    """The issuer of a dev server whose files are at hand: it makes tokens and keeps the keys of users.

    Each method raises KeyFileError when a file cannot be used, and ValueError for what is no user's name.
    """

    def token(self, user: str) -> str:
        """A fresh token."""

    def key(self, user: str) -> EllipticCurvePrivateKey:
        """The P-256 key behind the user's DID."""

    def mailbox_id(self, user: str) -> str:
        """Where invitations for the user are left."""


@dataclass(frozen=True, slots=True)
class TokenOptions:
    """What the command line and the environment say about tokens; at most one of the first three is set.

    `issuer` is that of the dev server in `data_dir`, None when there is none.
    """

    token: str | None = field(default=None, repr=False)
    file: Path | None = None
    command: str | None = None
    user: str | None = None
    data_dir: Path = Path("data")
    issuer: LocalIssuer | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Tokens:
    """A source of tokens; `renewable` when asking again may give another one."""

    source: Callable[[], Awaitable[str]]
    renewable: bool


class ServerOption(NamedTuple):
    """The server as the command line names it, None for the one on this machine.

    `insecure`: whether a token may go there unencrypted.
    """

    text: str | None = None
    insecure: bool = False


def server_url(option: ServerOption) -> str:
    """The WebSocket address of a server named by host and port, base URL or full URL, of ws(s) or http(s).

    Without a scheme it is `ws` and port 5379 on this machine, and `wss` and port 443 on all others.

    Raises:
        UsageProblem: no such address, or one to which the token would travel unencrypted.
    """
    text = option.text or _DEFAULT_SERVER
    named = "://" in text
    parts = urlsplit(text if named else f"wss://{text}")
    scheme, netloc = _SCHEMES.get(parts.scheme), parts.netloc
    try:
        valid = scheme is not None and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        valid = False
    if not valid or scheme is None or "@" in netloc:
        raise UsageProblem(f"not a server's address: {text}", "for example https://sync.example.org")
    if not named and is_this_machine(parts.hostname):
        scheme = "ws"
        if parts.port is None:
            netloc = f"{netloc.removesuffix(':')}:{_DEV_PORT}"
    path = parts.path.rstrip("/")
    if not path.endswith("/ws"):
        path += "/ws" if path.endswith("/api/v1") else _ROUTE
    url = urlunsplit((scheme, netloc, path, "", ""))
    if is_exposed(url) and not option.insecure:
        raise UsageProblem(
            f"{text} is not encrypted: anybody on the way could take the token",
            "say https://, or --insecure if the way there is safe",
        )
    return url


def server_name(url: str) -> str:
    """Host and port of a server's address, by which a folder remembers it. This machine has one name."""
    parts = urlsplit(url)
    host = _DEFAULT_SERVER if is_this_machine(parts.hostname) else parts.hostname
    return f"{host}:{parts.port or (443 if parts.scheme == 'wss' else 80)}"


def is_exposed(url: str) -> bool:
    """Whether a token sent there travels unencrypted through a network."""
    parts = urlsplit(url)
    return parts.scheme == "ws" and not is_this_machine(parts.hostname)


def tokens_from(options: TokenOptions) -> Tokens:
    """Choose the source of tokens.

    Raises:
        UsageProblem: more than one is named, or none and there is no dev server's data directory.
    """
    given = [option for option in (options.token, options.file, options.command) if option is not None]
    if len(given) > 1:
        raise UsageProblem("more than one of --token, --token-file and --token-command is given")
    if options.token is not None:
        return Tokens(_always(options.token.strip()), renewable=False)
    if options.file is not None:
        return Tokens(_from_file(options.file), renewable=True)
    if options.command is not None:
        return Tokens(_from_command(options.command), renewable=True)
    if options.issuer is None:
        raise UsageProblem(
            f"no token, and {options.data_dir} is no data directory of a server in dev mode",
            "give --token, --token-file or --token-command; or, for a dev server, --data-dir and --user",
        )
    if options.user is None:
        raise UsageProblem("no user", "--user NAME says whose space of the dev server it is")
    return Tokens(_from_issuer(options.issuer, options.user), renewable=True)


def _always(token: str) -> Callable[[], Awaitable[str]]:
    async def source() -> str:
        return token

    return source


def _from_file(path: Path) -> Callable[[], Awaitable[str]]:
    async def source() -> str:
        try:
            with path.open("rb") as file:
                content = file.read(_TOKEN_BYTES_MAX + 1)
        except OSError as error:
            raise TokenUnavailable(f"cannot read the token file {path}: {error.strerror}") from error
        if len(content) > _TOKEN_BYTES_MAX:
            raise TokenUnavailable(f"the token file {path} has more than {_TOKEN_BYTES_MAX} bytes")
        token = content.decode("ascii", errors="replace").strip()
        if not token:
            raise TokenUnavailable(f"the token file {path} is empty")
        return token

    return source


def _from_command(command: str) -> Callable[[], Awaitable[str]]:
    """Run without a shell; its standard output is the token, and its standard error goes to the user."""
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise UsageProblem(f"--token-command: {error}") from error
    if not words:
        raise UsageProblem("--token-command is empty")

    async def source() -> str:
        try:
            process = await asyncio.create_subprocess_exec(
                *words, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE
            )
        except OSError as error:
            raise TokenUnavailable(f"cannot run the token command {words[0]}: {error.strerror}") from error
        stdout = process.stdout
        assert stdout is not None
        try:
            async with asyncio.timeout(_COMMAND_TIMEOUT_S):
                output = bytearray()
                while piece := await stdout.read(_TOKEN_BYTES_MAX):
                    output += piece
                    if len(output) > _TOKEN_BYTES_MAX:
                        raise TokenUnavailable(
                            f"the token command printed more than {_TOKEN_BYTES_MAX} bytes"
                        )
                status = await process.wait()
        except TimeoutError:
            raise TokenUnavailable(f"the token command took over {_COMMAND_TIMEOUT_S:g} s") from None
        finally:
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
            with suppress(TimeoutError):  # a pipe that is not read to its end is never closed
                async with asyncio.timeout(_DRAIN_TIMEOUT_S):
                    while await stdout.read(_TOKEN_BYTES_MAX):
                        pass
        token = output.decode("ascii", errors="replace").strip()
        if status != 0 or not token:
            raise TokenUnavailable(
                f"the token command ended with status {status} and {len(token)} characters"
            )
        return token

    return source


def _from_issuer(issuer: LocalIssuer, user: str) -> Callable[[], Awaitable[str]]:
    async def source() -> str:
        try:
            return issuer.token(user)
        except (KeyFileError, ValueError) as error:
            raise TokenUnavailable(str(error)) from error

    return source
