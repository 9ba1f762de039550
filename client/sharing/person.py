"""Who we are in a shared space: the P-256 key behind our DID.

In dev mode it is the issuer's, one for each user; elsewhere a PEM file of mode 0600.
"""

from dataclasses import dataclass, field
from pathlib import Path

import typer
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

from less_sync.auth import encode_did_key
from less_sync.client.folder.access import LocalIssuer
from less_sync.client.folder.errors import UsageProblem
from less_sync.client.kept_key import KeyFileError, kept_key


@dataclass(frozen=True, slots=True)
class Person:
    """A private key, and the DID that it proves."""

    key: EllipticCurvePrivateKey = field(repr=False)
    did: str = field(repr=False)


def default_did_key_path() -> Path:
    """`less-sync/did.pem` in the user's configuration folder."""
    return Path(typer.get_app_dir("less-sync")) / "did.pem"


def person_from(
    file: Path | None, *, user: str | None, issuer: LocalIssuer | None, make: bool = False
) -> Person:
    """Find our key: in `file`, else the dev server's key of `user`, else in the default file.

    Args:
        make: make a file that is missing.

    Raises:
        UsageProblem: there is none, or it cannot be read.
    """
    try:
        if file is None and user is not None and issuer is not None:
            return _person(issuer.key(user))
        path = file or default_did_key_path()
        if not make and not path.exists():
            raise UsageProblem(f"there is no key {path} behind a DID", "`less-sync key did` makes one")
        return _person(kept_key(path))
    except (KeyFileError, ValueError) as error:
        raise UsageProblem(str(error)) from error


def _person(key: EllipticCurvePrivateKey) -> Person:
    return Person(key, encode_did_key(key.public_key()))
