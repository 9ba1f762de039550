"""Dev mode's own token issuer, so that a server works on a bare machine before anybody set up accounts.

Everything lies below `dev/` in the data directory, in files of mode 0600: the issuer's key, one key per user
(behind the token's `did`), the random identity hash key, and the start page's secret. The first process that
needs one makes it for good. Whoever can read this directory is everybody to this server.
"""

import hashlib
import re
import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric import ec

from less_sync.auth import PERSONAL_SPACE_ROOTS, b64url_encode, encode_did_key, personal_space_id
from less_sync.client.kept_key import KeyFileError, kept, kept_key

DEV_ISSUER: Final = "https://dev.less-sync.invalid"
"""The same whatever the port: personal space ids derive from it. `.invalid` never resolves (RFC 6761 6.4)."""

DEV_AUDIENCE: Final = "less-sync"
"""For whom the tokens of dev mode are meant, and whom its server takes itself for."""
DEV_CLIENT_ID: Final = "less-sync-dev"
DEV_SCOPE: Final = "sync files"
DEV_TOKEN_TTL_S: Final = 24 * 60 * 60

_USER_BYTES_MAX: Final = 256


class DevPeople:
    """The users of a dev server, for commands that act as one of them (`client.folder.access.LocalIssuer`).

    The files are read at each use: the server may have made or replaced them meanwhile.
    """

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir

    @classmethod
    def found_in(cls, data_dir: Path) -> "DevPeople | None":
        """Those of this data directory; None when no dev server ever used it."""
        return cls(data_dir) if (data_dir / "dev" / "issuer.pem").exists() else None

    def token(self, user: str) -> str:
        """A fresh token of a day. Raises as `DevIssuer`."""
        return DevIssuer(self._data_dir).mint(user, now=datetime.now(UTC))

    def key(self, user: str) -> ec.EllipticCurvePrivateKey:
        """The key behind the user's DID. Raises as `DevIssuer`."""
        return DevIssuer(self._data_dir).user_key(user)

    def mailbox_id(self, user: str) -> str:
        """Where invitations for the user are left."""
        return dev_mailbox_id(user)


class DevIssuer:
    """Issues tokens for any user of the server whose data directory this is.

    Raises (here and in `mint` and `user_key`):
        KeyFileError: a key file cannot be written, read or understood.
    """

    issuer: Final = DEV_ISSUER

    def __init__(self, data_dir: Path) -> None:
        self._users: Final = data_dir / "dev" / "users"
        self._key: Final = kept_key(data_dir / "dev" / "issuer.pem")
        self._kid: Final = _thumbprint(self._key)

    def jwks(self) -> dict[str, list[dict[str, str]]]:
        """The key set to verify this issuer's tokens with (RFC 7517)."""
        return {"keys": [_public_jwk(self._key) | {"use": "sig", "alg": "ES256", "kid": self._kid}]}

    def user_key(self, user: str) -> ec.EllipticCurvePrivateKey:
        """The P-256 key of `user`, made at the first call; its `did:key` is in the user's tokens.

        Raises:
            ValueError: not a user's name: empty, over 256 bytes of UTF-8, or with control characters.
        """
        return kept_key(self._users / _file_name(_checked_user(user)))

    def mint(
        self,
        user: str,
        *,
        now: datetime,
        ttl_s: int = DEV_TOKEN_TTL_S,
        did: str | None = None,
        scope: str | None = None,
    ) -> str:
        """A token for `user` (docs/tokens.md 3.1), valid for `ttl_s` seconds from `now` (timezone-aware).

        `did` replaces the one of the user's key (then none is made), `scope` the default `sync files`.

        Raises:
            ValueError: as `user_key`, or `ttl_s` is not positive.
        """
        import jwt  # a server verifies tokens without it

        _checked_user(user)
        if ttl_s <= 0:
            raise ValueError("the life of a token must be at least one second")
        issued_at = int(now.timestamp())
        claims = {
            "iss": DEV_ISSUER,
            "sub": user,
            "aud": [DEV_AUDIENCE],
            "client_id": DEV_CLIENT_ID,
            "iat": issued_at,
            "exp": issued_at + ttl_s,
            "scope": DEV_SCOPE if scope is None else scope,
            "did": encode_did_key(self.user_key(user).public_key()) if did is None else did,
            "personal_space_id": str(dev_personal_space_id(user)),
            "mailbox_id": dev_mailbox_id(user),
        }
        return jwt.encode(claims, self._key, algorithm="ES256", headers={"kid": self._kid})


def dev_personal_space_id(user: str) -> UUID:
    """The personal space of a dev mode user (docs/tokens.md 2.3, namespace root betterbase)."""
    root = PERSONAL_SPACE_ROOTS["betterbase"]
    return personal_space_id(root, issuer=DEV_ISSUER, user_id=user, client_id=DEV_CLIENT_ID)


def dev_mailbox_id(user: str) -> str:
    """The mailbox of a dev mode user: 64 hexadecimal digits that depend on the name alone.

    Real clients derive theirs from an encryption key (docs/tokens.md 2.4), which users of dev mode lack.
    """
    return hashlib.sha256(f"less-sync dev mailbox\0{DEV_ISSUER}\0{user}".encode()).hexdigest()


def dev_identity_hash_key(data_dir: Path) -> bytes:
    """32 random bytes kept in the data directory: dev mode's `IDENTITY_HASH_KEY`.

    Raises:
        KeyFileError: the file cannot be written, read or understood.
    """
    path = data_dir / "dev" / "identity-hash-key"
    text = kept(path, _new_hash_key).strip()
    if not re.fullmatch(rb"[0-9a-fA-F]{64}", text):
        raise KeyFileError(f"{path} does not hold 64 hexadecimal digits; remove it to get a new key")
    return bytes.fromhex(text.decode())


def dev_start_secret(data_dir: Path) -> str:
    """What the start page has to show before it may sign somebody in: 43 characters of base64url.

    Kept in the data directory, so that a page that is open goes on working when the server was restarted.

    Raises:
        KeyFileError: the file cannot be written, read or understood.
    """
    path = data_dir / "dev" / "start-secret"
    text = kept(path, lambda: secrets.token_urlsafe(32).encode() + b"\n").strip()
    if not re.fullmatch(rb"[0-9A-Za-z_-]{43}", text):
        raise KeyFileError(f"{path} does not hold 43 characters of base64url; remove it to get a new secret")
    return text.decode()


def _checked_user(user: str) -> str:
    try:
        size = len(user.encode())
    except UnicodeEncodeError:
        raise ValueError("a user's name must be valid Unicode") from None
    if not 0 < size <= _USER_BYTES_MAX:
        raise ValueError(f"a user's name has 1 to {_USER_BYTES_MAX} bytes")
    # NUL would make the derivations ambiguous; no control character does a terminal any good.
    if any(ord(character) < 0x20 or ord(character) == 0x7F for character in user):
        raise ValueError("a user's name must not contain control characters")
    return user


def _file_name(user: str) -> str:
    """A name any file system takes; differs for different users, also where case is ignored; readable."""
    readable = re.sub(r"[^a-z0-9]+", "-", user.lower())[:32].strip("-")
    return f"{readable}.{hashlib.sha256(user.encode()).hexdigest()[:32]}.pem"


def _new_hash_key() -> bytes:
    return secrets.token_hex(32).encode() + b"\n"


def _public_jwk(key: ec.EllipticCurvePrivateKey) -> dict[str, str]:
    numbers = key.public_key().public_numbers()
    x, y = (b64url_encode(number.to_bytes(32, "big")) for number in (numbers.x, numbers.y))
    return {"kty": "EC", "crv": "P-256", "x": x, "y": y}


def _thumbprint(key: ec.EllipticCurvePrivateKey) -> str:
    """RFC 7638: the members in order of their names, no white space."""
    jwk = _public_jwk(key)
    text = f'{{"crv":"{jwk["crv"]}","kty":"{jwk["kty"]}","x":"{jwk["x"]}","y":"{jwk["y"]}"}}'
    return b64url_encode(hashlib.sha256(text.encode()).digest())
