"""The `federation-keygen` command: make, list, promote and take out of use the keys of docs/federation.md 3.

The line is read by hand: scripts written for the existing command depend on its messages, its exit status 1,
and on what counts when an option comes twice.
"""

import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Final

from nacl.signing import SigningKey

from less_sync.auth import MalformedText, b64url_encode, parse_peer_domain
from less_sync.bins.commands.output import watched_output
from less_sync.bins.errors import CommandError, print_error
from less_sync.bins.installed import server_parts
from less_sync.bins.settings.config import environment
from less_sync.bins.settings.reader import quoted
from less_sync.client.folder.errors import INTERRUPTED

USAGE: Final = (
    "Usage: federation-keygen --domain <domain> [--kid <key-fragment>] [--database-url <url>] "
    "[--print-private] [--no-promote]\n"
    """\
  --domain <domain>       public name of this server, host or host:port; default FEDERATION_DOMAIN
  --kid <key-fragment>    name of the key in its key id; default one made of the time
  --database-url <url>    where the key is kept; default DATABASE_URL; without either it is only printed
  --data-dir <dir>        instead of a URL: the server's own Postgres there, running or not, or a new one
  --print-private         show the private seed
  --no-promote            publish the key, and let the one before go on signing
  --if-missing            do nothing if a key of this domain signs already
  --list                  one line per key: kid, active, primary, created_at, deactivated_at, public key
  --promote-kid <key>     let this key sign; a key id, or what stands behind its #
  --deactivate-kid <key>  take this key out of use
  --force                 with --deactivate-kid: also the one that signs
  -h, --help              print this
"""
)

_VALUES: Final = ("--domain", "--kid", "--database-url", "--data-dir", "--promote-kid", "--deactivate-kid")
_SWITCHES: Final = ("--print-private", "--no-promote", "--if-missing", "--list", "--force")
_VERBS: Final = ("--list", "--promote-kid", "--deactivate-kid")
_EXCLUSIVE: Final = (
    *combinations(_VERBS, 2),
    ("--database-url", "--data-dir"),
    # A key that does not come to sign would be missing again at the next start.
    ("--if-missing", "--no-promote"),
)
_FRAGMENT: Final = re.compile(r"""[^\x00-\x20"#;=\\\x7f-\U0010ffff]{1,200}""")
"""What can stand in a header and in a line of FEDERATION_TRUSTED_KEYS."""


@dataclass(frozen=True, slots=True)
class Line:
    """What a command line says: of an option that comes twice the last."""

    values: Mapping[str, str]
    switches: frozenset[str]

    def has(self, option: str) -> bool:
        """Whether the option is there."""
        return option in self.switches or option in self.values


class _ShowHelp(Exception):
    """Help was asked for: nothing behind it is looked at."""


def parse_line(arguments: Sequence[str]) -> Line:
    """Read a command line from left to right, up to the first fault.

    Raises:
        CommandError: worded as the existing command does.
    """
    values: dict[str, str] = {}
    switches: set[str] = set()
    rest = iter(arguments)
    for argument in rest:
        name, equals, value = argument.partition("=")
        if argument in ("--help", "-h"):
            raise _ShowHelp
        if name in _VALUES:
            values[name] = value if equals else _value_of(name, rest)
        elif argument in _SWITCHES:
            switches.add(argument)
        else:
            raise CommandError(f"unknown argument {quoted(argument)}")
    line = Line(values, frozenset(switches))
    for one, other in _EXCLUSIVE:
        if line.has(one) and line.has(other):
            raise CommandError(f"{one} and {other} exclude each other")
    return line


def _value_of(name: str, rest: Iterator[str]) -> str:
    value = next(rest, None)
    # No value begins so, and one that is forgotten must not swallow the next option.
    if value is None or value.startswith("--"):
        raise CommandError(f"{name} requires a value")
    return value


def run(arguments: Sequence[str], env: Mapping[str, str]) -> None:
    """Do what the line says and print what came of it.

    Raises:
        CommandError: nothing was printed then, and nothing has changed.
    """
    try:
        line = parse_line(arguments)
    except _ShowHelp:
        print(USAGE, end="")
        return
    verb = next((verb for verb in _VERBS if line.has(verb)), None)
    database = _database_of(line, env)
    if database is None:
        if verb is not None or line.has("--if-missing"):
            raise CommandError(
                f"{verb or '--if-missing'} needs a database: set --database-url, DATABASE_URL or --data-dir"
            )
        print("\n".join(_unstored(_new_key(line, env), show_seed=line.has("--print-private"))))
        return
    with server_parts("federation-keygen with a database"):
        from less_sync.bins.commands import federation_keygen_work as work
        from less_sync.bins.postgres.operator import Database
    place = Database(*database)
    if verb == "--list":
        lines = work.listed(place)
    elif verb == "--promote-kid":
        lines = work.promoted(place, line.values[verb])
    elif verb == "--deactivate-kid":
        lines = work.deactivated(place, line.values[verb], even_primary=line.has("--force"))
    else:
        choice = work.Storing(
            not line.has("--no-promote"), line.has("--if-missing"), line.has("--print-private")
        )
        lines = work.stored(place, _new_key(line, env), choice)
    for text in lines:
        print(text)


def _database_of(line: Line, env: Mapping[str, str]) -> tuple[str | None, Path | None] | None:
    """A URL or a data directory, as the line says, or else the environment; None: nothing is to be stored."""
    if line.has("--data-dir"):
        return None, Path(line.values["--data-dir"])
    # A variable that is set but empty is a mistake to be told, not a wish to store nothing.
    url = line.values.get("--database-url", env.get("DATABASE_URL"))
    return None if url is None else (url, None)


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key pair just made, and what it is called."""

    domain: str
    key_id: str
    pair: SigningKey

    @property
    def public_key(self) -> bytes:
        """32 bytes."""
        return bytes(self.pair.verify_key)

    @property
    def seed(self) -> bytes:
        """32 bytes, private."""
        return bytes(self.pair)


def _new_key(line: Line, env: Mapping[str, str]) -> NewKey:
    text = line.values.get("--domain", (env.get("FEDERATION_DOMAIN") or "").strip() or None)
    if text is None:
        raise CommandError("--domain is required")
    try:
        domain = parse_peer_domain(text)
    except MalformedText:
        raise CommandError(f"invalid domain {quoted(text)}") from None
    if not domain:
        raise CommandError("domain must not be empty")
    seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
    fragment = line.values.get("--kid", f"fed-{seconds}-{nanoseconds}")
    if not _FRAGMENT.fullmatch(fragment):
        raise CommandError(f"invalid key fragment {quoted(fragment)}")
    return NewKey(domain, f"https://{domain}/.well-known/jwks.json#{fragment}", SigningKey.generate())


def key_lines(key_id: str, public_key: bytes) -> list[str]:
    """What peers need of a key."""
    text = b64url_encode(public_key)
    return [f"key_id={key_id}", f"public_key_base64url={text}", f"trusted_keys_entry={key_id}={text}"]


def new_key_lines(key: NewKey, *, show_seed: bool) -> list[str]:
    """What is said of a key that was made, with its private half only if that was asked for."""
    seed = b64url_encode(key.seed) if show_seed else "<hidden> (pass --print-private to show)"
    return [
        "Generated federation signing key",
        *key_lines(key.key_id, key.public_key),
        f"private_seed_base64url={seed}",
    ]


def _unstored(key: NewKey, *, show_seed: bool) -> list[str]:
    return [
        *new_key_lines(key, show_seed=show_seed),
        "stored_in_database=false",
        "hint=set --database-url or DATABASE_URL to persist this key",
    ]


def main() -> None:
    """Run the console command. Exit status: 0 done, 1 anything else, wrong usage included."""
    with watched_output():
        try:
            run(sys.argv[1:], environment())
        except CommandError as error:
            print_error(str(error), error.causes)
            sys.exit(1)
        except KeyboardInterrupt:
            sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
