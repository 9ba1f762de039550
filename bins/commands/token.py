"""The command `token`, and how commands read a span of time."""

import re
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final

import typer

from less_sync.bins.errors import CommandError

TTL_S_MAX: Final = 10 * 365 * 86_400

_UNITS_S: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}
_TTL: Final = re.compile(r"([0-9]{1,9})([smhd]?)\Z", re.ASCII)


def token(
    *,
    user: Annotated[str, typer.Option(metavar="NAME", help="Whose token: any name, made up on the spot.")],
    ttl: Annotated[str, typer.Option(metavar="TIME", help="Its life: seconds, or 90m, 24h, 7d.")] = "24h",
    did: Annotated[
        str | None, typer.Option(metavar="DID", help="Instead of the did:key of the user's own key.")
    ] = None,
    data_dir: Annotated[
        Path, typer.Option(envvar="DATA_DIR", metavar="DIR", help="The server's data directory.")
    ] = Path("data"),
) -> None:
    """Mint a token for a server in dev mode and print it. Whoever can read its data directory can do this."""
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


def parse_ttl(text: str, *, option: str) -> int:
    """Seconds of `90`, `90m`, `24h`, `7d`; anything else is a usage error of `option`."""
    match = _TTL.match(text.strip())
    seconds = int(match[1]) * _UNITS_S[match[2]] if match else 0
    if not 0 < seconds <= TTL_S_MAX:
        raise typer.BadParameter("a number of seconds, or 90m, 24h, 7d; at most ten years", param_hint=option)
    return seconds
