"""How commands ask a fleet plane: which one, with which key, and what an answer that is none exits with."""

import inspect
import json as json_texts
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final
from urllib.parse import urlsplit

import typer

from less_sync.bins.commands.folder import Json
from less_sync.bins.errors import os_error_text, print_error
from less_sync.bins.installed import server_parts
from less_sync.client.folder.paths import shown

if TYPE_CHECKING:
    import httpx

FAILURE: Final = 1
USAGE: Final = 2
UNREACHABLE: Final = 3
NOT_ALLOWED: Final = 4
EXIT_CODES: Final = (
    "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 plane unreachable, 4 not allowed, 130 interrupted."
)
"""The line of a command's help about its exit codes."""
ANSWER_BYTES_MAX: Final = 16 * 1024 * 1024
ANSWER_S_MAX: Final = 60.0
SILENCE_S_MAX: Final = 35.0
"""More than the time that a plane takes for a request at most, unless it was set to more."""
CONNECT_S_MAX: Final = 10.0
PAGE_ROWS: Final = 200
PAGES_MAX: Final = 100_000

_DEFAULT_PLANE: Final = "127.0.0.1"
_PORT: Final = 5380
_KEY_BYTES_MAX: Final = 4096
_KEY: Final = re.compile(r"[!-~]+\Z", re.ASCII)
_OWN_KEY: Final = Path("fleet", "management.key")
"""Below DATA_DIR: the key that a plane in dev mode made for itself."""


Query = Mapping[str, str | Sequence[str]]
"""Parameters of a query; one that is a list comes as often as it has members."""


class FleetProblem(Exception):
    """A command cannot have what it asked for: `str()` says why, and it exits with `exit_code`.

    `status` is that of the plane's answer, if it refused.
    """

    def __init__(self, message: str, exit_code: int = FAILURE, status: int | None = None) -> None:
        super().__init__(message)
        self.exit_code: Final = exit_code
        self.status: Final = status


@dataclass(frozen=True, slots=True)
class PlaneOptions:
    """What a command line and the environment say about a plane.

    Attributes:
        url: None: the one on this machine.
        key_file: holds the key; None: `key`, or in dev mode the file of the data directory.
        key: of LESS_SYNC_FLEET_KEY.
        insecure: whether the key may travel unencrypted to another machine.
    """

    url: str | None = None
    key_file: Path | None = None
    key: str | None = field(default=None, repr=False)
    data_dir: Path = Path("data")
    insecure: bool = False


class FleetClient:
    """Asks one plane, one request at a time. Redirects are not followed: the key is for this plane alone."""

    def __init__(self, http: "httpx.Client", now: Callable[[], float] = time.monotonic) -> None:
        self._http = http
        self._now = now

    @property
    def url(self) -> str:
        """The plane's address, without a slash at its end."""
        return str(self._http.base_url).rstrip("/")

    def ask(
        self,
        method: str,
        path: str,
        *,
        body: Mapping[str, object] | None = None,
        query: Query | None = None,
    ) -> dict[str, Any]:
        """The object that the plane answers with; an empty one for an answer without a body.

        Args:
            path: from the plane's address on, `/management/v1/agents` say.

        Raises:
            FleetProblem: it was refused, or no answer came; a change may have been made all the same then.
        """
        import httpx

        try:
            with self._http.stream(method, path, json=body, params=query) as response:
                return _content(response, self._read(response))
        except httpx.ConnectError as error:
            raise FleetProblem(f"cannot reach {self._http.base_url}: {error}", UNREACHABLE) from error
        except httpx.TransportError as error:
            what = str(error) or type(error).__name__
            raise FleetProblem(f"no answer from {self._http.base_url}: {what}", UNREACHABLE) from error

    def rows(
        self, path: str, name: str, query: Query | None = None, *, at_most: int | None = None
    ) -> Iterator[dict[str, Any]]:
        """The rows of a list, page after page.

        Args:
            name: of the member that holds them.
            at_most: how many; None: all.

        Raises:
            FleetProblem: as `ask`.
        """
        left = sys.maxsize if at_most is None else at_most
        cursor: str | None = None
        for _ in range(PAGES_MAX):
            if left <= 0:
                return
            page = {"limit": str(min(left, PAGE_ROWS))} | ({} if cursor is None else {"cursor": cursor})
            answer = self.ask("GET", path, query={**(query or {}), **page})
            try:
                rows, cursor = answer[name], answer["next_cursor"]
                yield from rows[:left]
                left -= len(rows)
            except (KeyError, TypeError):
                raise _strange(f"it has no list of {name}") from None
            if cursor is None:
                return

    def _read(self, response: "httpx.Response") -> bytes:
        until_s = self._now() + ANSWER_S_MAX
        content = bytearray()
        for piece in response.iter_raw():
            content += piece
            if len(content) > ANSWER_BYTES_MAX:
                raise _strange(f"it has more than {ANSWER_BYTES_MAX:,} bytes")
            if self._now() > until_s:
                raise FleetProblem("the plane did not end its answer in time", UNREACHABLE)
        return bytes(content)


@contextmanager
def fleet_client(options: PlaneOptions) -> Iterator[FleetClient]:
    """A client of the plane that the options name.

    Raises:
        FleetProblem: they name no plane, or there is no key for it.
    """
    with server_parts("less-sync fleet"):
        # Its command line would bring another one's libraries and a highlighter; httpx does without.
        sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]  # "there is none"
        import httpx

    url = plane_url(options.url, insecure=options.insecure)
    headers = {
        "Authorization": f"Bearer {_key(options, url)}",
        "User-Agent": "less-sync",
        "Accept-Encoding": "identity",
    }
    try:
        http = httpx.Client(
            base_url=url,
            headers=headers,
            timeout=httpx.Timeout(SILENCE_S_MAX, connect=CONNECT_S_MAX),
            # A proxy is only asked for what it cannot read. The list of authorities, which takes longer to
            # read than all else here, is only needed where one of them vouches.
            trust_env=url.startswith("https:"),
            verify=url.startswith("https:"),
        )
    except httpx.InvalidURL:
        raise _no_address() from None
    with http:
        yield FleetClient(http)


def asks_plane(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options by which a plane is found, and `--json`.

    It is called with `plane` (a `FleetClient`), `json`, and parameters of its own. A `FleetProblem` becomes
    its message on standard error and its exit code. One that takes the `context` is a group's own, and is not
    called for the commands below it.
    """
    own = [p for p in inspect.signature(command).parameters.values() if p.name not in ("plane", "json")]

    @wraps(command)
    def called(
        *,
        url: str | None,
        key_file: Path | None,
        data_dir: Path,
        insecure: bool,
        json: bool,
        **given: Any,
    ) -> None:
        from less_sync.bins.settings.config import environment

        if _is_of_a_command_below(given.get("context")):
            return
        key = environment().get("LESS_SYNC_FLEET_KEY") or None
        try:
            with fleet_client(PlaneOptions(url, key_file, key, data_dir, insecure)) as plane:
                command(plane=plane, json=json, **given)
        except FleetProblem as problem:
            print_error(shown(str(problem)))
            raise typer.Exit(problem.exit_code) from None

    parameters = [*own, *_PARAMETERS]
    vars(called)["__signature__"] = inspect.Signature(parameters)
    called.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return called


def _is_of_a_command_below(context: typer.Context | None) -> bool:
    if context is None or context.invoked_subcommand is None:
        return False
    sources = (context.get_parameter_source(name) for name in context.params)
    if any(source is not None and source.name == "COMMANDLINE" for source in sources):
        raise typer.BadParameter(f"give the options behind `{context.invoked_subcommand}`")
    return True


def plane_url(text: str | None, *, insecure: bool = False) -> str:
    """The address of a plane named by URL, or by host and port; None: this machine, port 5380.

    Without a scheme it is http and port 5380 on this machine, and https and port 443 on all others.

    Raises:
        FleetProblem: no such address, or one to which the key would travel unencrypted.
    """
    text = text or _DEFAULT_PLANE
    named = "://" in text
    try:
        parts = urlsplit(text if named else f"https://{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        raise _no_address() from None
    strange = parts.scheme not in ("http", "https") or "@" in parts.netloc or parts.query or parts.fragment
    if strange or not host or port == 0:
        raise _no_address()
    here = _is_here(host)
    if not named and here:
        netloc = parts.netloc if port is not None else f"{parts.netloc.removesuffix(':')}:{_PORT}"
        parts = parts._replace(scheme="http", netloc=netloc)
    if parts.scheme == "http" and not here and not insecure:
        raise FleetProblem(
            f"{text} is not encrypted: anybody on the way could take the key; "
            "say https://, or --insecure if the way there is safe",
            USAGE,
        )
    return parts.geturl().rstrip("/")


def _is_here(host: str | None) -> bool:
    # What the client library stands on is not for every command of `less-sync` to load.
    from less_sync.sync.client import is_this_machine

    return is_this_machine(host)


def tell(as_json: bool, row: Mapping[str, object], text: str) -> None:
    """Print a row: as one line of JSON, or as text fit for a terminal whatever it holds."""
    print(json_texts.dumps(row) if as_json else shown(text))


def _key(options: PlaneOptions, url: str) -> str:
    """The key: of the file named, of the environment, or of the data directory of a plane on this machine.

    The last goes nowhere else: a mistyped address would be told the key of every server here.
    """
    if options.key_file is not None:
        return _key_in(options.key_file)
    if options.key is not None:
        return _checked(options.key.strip(), "LESS_SYNC_FLEET_KEY")
    own = options.data_dir / _OWN_KEY
    if _is_here(urlsplit(url).hostname) and own.exists():
        return _key_in(own)
    raise FleetProblem("no key: give --key-file, or LESS_SYNC_FLEET_KEY in the environment", USAGE)


def _key_in(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(_KEY_BYTES_MAX + 1)
    except (OSError, ValueError) as error:
        reason = os_error_text(error) if isinstance(error, OSError) else str(error)
        raise FleetProblem(f"cannot read the key file {path}: {reason}", USAGE) from None
    return _checked(content.decode("latin-1").strip(), str(path))


def _checked(key: str, where: str) -> str:
    if len(key) > _KEY_BYTES_MAX or not _KEY.match(key):
        raise FleetProblem(f"{where} holds no key: expected printable ASCII without blanks", USAGE)
    return key


def _content(response: "httpx.Response", content: bytes) -> dict[str, Any]:
    """The object of a good answer.

    Raises:
        FleetProblem: with the plane's own words if they can be read.
    """
    try:
        answer = json_texts.loads(content) if content else {}
    except (ValueError, RecursionError):
        answer = None
    status = response.status_code
    if response.is_success:
        if not isinstance(answer, dict):
            raise _strange("it is no JSON object")
        return answer
    told = answer.get("error") if isinstance(answer, dict) else None
    if status in (401, 403):
        raise FleetProblem(f"not allowed: {told or status}", NOT_ALLOWED, status)
    raise FleetProblem(str(told) if told else f"the plane answered {status}", status=status)


def _no_address() -> FleetProblem:
    return FleetProblem("not a plane's address; for example https://fleet.example.org", USAGE)


def _strange(why: str) -> FleetProblem:
    return FleetProblem(f"the answer is not that of a plane: {why}")


def _parameter(name: str, default: object, annotation: object) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


_PARAMETERS: Final = (
    _parameter(
        "url",
        None,
        Annotated[
            str | None,
            typer.Option(
                "--url",
                envvar="LESS_SYNC_FLEET_URL",
                metavar="URL",
                help="The plane; default 127.0.0.1:5380. A host alone is https, port 443.",
                show_default=False,
            ),
        ],
    ),
    _parameter(
        "key_file",
        None,
        Annotated[
            Path | None,
            typer.Option(
                "--key-file",
                metavar="FILE",
                help="Holds the management key; else LESS_SYNC_FLEET_KEY is the key, out of sight of `ps`.",
            ),
        ],
    ),
    _parameter(
        "data_dir",
        Path("data"),
        Annotated[
            Path,
            typer.Option(
                "--data-dir",
                envvar="DATA_DIR",
                metavar="DIR",
                help="Of a plane in dev mode on this machine, whose key is there.",
            ),
        ],
    ),
    _parameter(
        "insecure",
        False,
        Annotated[
            bool, typer.Option("--insecure", help="Send the key unencrypted to a plane on another machine.")
        ],
    ),
    _parameter("json", False, Json),
)
