"""The commands `token` and `token explain`, and how commands read a span of time."""

import re
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final

import typer

from less_sync.bins.commands.exit_codes import exit_codes
from less_sync.bins.commands.folder import Json
from less_sync.bins.commands.setting_options import settings_or_exit, takes_settings
from less_sync.bins.errors import CommandError
from less_sync.bins.installed import server_parts
from less_sync.client.folder.errors import INTERRUPTED, ExitCode

TTL_S_MAX: Final = 10 * 365 * 86_400
TEXT_BYTES_MAX: Final = 64 * 1024
"""Of a file that `explain` reads: four times as much as any token has."""

_UNITS_S: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}
_TTL: Final = re.compile(r"([0-9]{1,9})([smhd]?)\Z", re.ASCII)


def add_token(app: typer.Typer) -> None:
    """Add the command and the one below it to the umbrella command."""
    group = typer.Typer(
        name="token",
        epilog=exit_codes(0, 1, 2, INTERRUPTED),
        invoke_without_command=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )
    group.callback()(token)
    group.command("explain", epilog=exit_codes(0, 1, 2, ExitCode.TOKEN_REFUSED, INTERRUPTED))(explain)
    app.add_typer(group)


def token(
    context: typer.Context,
    *,
    user: Annotated[
        str | None, typer.Option(metavar="NAME", help="Whose token: any name, made up on the spot.")
    ] = None,
    ttl: Annotated[str, typer.Option(metavar="TIME", help="Its life: seconds, or 90m, 24h, 7d.")] = "24h",
    did: Annotated[
        str | None, typer.Option(metavar="DID", help="Instead of the did:key of the user's own key.")
    ] = None,
    data_dir: Annotated[
        Path, typer.Option(envvar="DATA_DIR", metavar="DIR", help="The server's data directory.")
    ] = Path("data"),
) -> None:
    """Mint a token for a server in dev mode and print it. Whoever can read its data directory can do this."""
    if context.invoked_subcommand is not None:
        return
    if user is None:
        context.fail("Missing option '--user'.")
    from less_sync.bins.dev import DevIssuer
    from less_sync.client.kept_key import KeyFileError

    life_s = parse_ttl(ttl, option="--ttl")
    is_new = not (data_dir / "dev").exists()
    try:
        minted = DevIssuer(data_dir).mint(user, now=datetime.now(UTC), ttl_s=life_s, did=did)
    except KeyFileError as error:
        raise CommandError(str(error)) from error
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--user") from error
    if is_new:
        note = f"note: {data_dir} had no issuer yet; only a server with this data directory takes the token"
        print(note, file=sys.stderr)
    print(minted)


@takes_settings
def explain(
    file: Annotated[str, typer.Argument(metavar="FILE", help="Holds the token; - reads standard input.")],
    *,
    options: Mapping[str, str],
    dev: bool,
    did_proof: Annotated[
        str | None, typer.Option(metavar="FILE", help="Holds the proof of a DID that goes with the token.")
    ] = None,
    fetch: Annotated[
        bool,
        typer.Option("--fetch/--no-fetch", help="Ask the issuer, if it is trusted, for its keys."),
    ] = True,
    json: Json = False,
) -> None:
    """Say why a server takes a token, or does not.

    Makes the checks of the server that is started with the same options and in the same environment, in their
    order, and says what the first that fails found (docs/tokens.md 3.2). The token is not shown.
    """
    if file == did_proof == "-":
        raise typer.BadParameter("FILE reads standard input already", param_hint="--did-proof")
    text, proof = _text_in(file, "FILE"), "" if did_proof is None else _text_in(did_proof, "--did-proof")
    with server_parts("less-sync token explain"):
        from less_sync.bins.commands import token_explain
    settings = settings_or_exit(options, dev=dev)
    raise typer.Exit(token_explain.run(text, proof, settings, fetch=fetch, now_s=time.time(), as_json=json))


def _text_in(file: str, option: str) -> str:
    """The text of a file. The name is not repeated in errors: it may be a token, given by mistake."""
    try:
        if file == "-":
            content = sys.stdin.buffer.read(TEXT_BYTES_MAX + 1)
        else:
            with open(file, "rb") as opened:
                content = opened.read(TEXT_BYTES_MAX + 1)
    except (OSError, ValueError) as error:
        reason = (getattr(error, "strerror", None) or "no such name").lower()
        problem = f"cannot be read: {reason}; a token itself is no argument, which others could see"
        raise typer.BadParameter(problem, param_hint=option) from None
    if len(content) > TEXT_BYTES_MAX:
        raise typer.BadParameter(f"has more than {TEXT_BYTES_MAX:,} bytes", param_hint=option)
    return content.decode(errors="replace").strip()


def parse_ttl(text: str, *, option: str) -> int:
    """Seconds of `90`, `90m`, `24h`, `7d`; anything else is a usage error of `option`."""
    match = _TTL.match(text.strip())
    seconds = int(match[1]) * _UNITS_S[match[2]] if match else 0
    if not 0 < seconds <= TTL_S_MAX:
        raise typer.BadParameter("a number of seconds, or 90m, 24h, 7d; at most ten years", param_hint=option)
    return seconds
