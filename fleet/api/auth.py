"""Credentials of a request to the actor it comes from (docs/fleet.md 3.1).

The first kind that is there is judged alone: `Authorization`, then `X-Management-Key`, then the cookie of a
session. What was sent is hashed before it is looked up or compared, so neither the answer nor its time
depends on how much of a credential was right.
"""

import hashlib
import hmac
import re
from collections.abc import Mapping
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit
from uuid import UUID

from less_sync.auth import b64url_encode
from less_sync.fleet.api.call import ANONYMOUS, Actor, Role
from less_sync.fleet.api.rights import Who
from less_sync.fleet.errors import Refused
from less_sync.fleet.failures import Failures
from less_sync.fleet.identifiers import AGENT_TOKEN, ENROLMENT_TOKEN, SESSION_TOKEN, is_token, token_hash

if TYPE_CHECKING:
    from less_sync.fleet.plane import Plane

SECURE_COOKIE: Final = "__Host-less_sync_fleet"
PLAIN_COOKIE: Final = "less_sync_fleet"
"""On a plain-HTTP address of this machine, where browsers refuse the other one."""

_BEARER: Final = re.compile(r"Bearer ([!-~]+)\Z", re.ASCII)
_ROLES: Final = {"viewer": Role.VIEWER, "operator": Role.OPERATOR, "admin": Role.ADMIN}
_NEEDED: Final = {Who.VIEWER: Role.VIEWER, Who.OPERATOR: Role.OPERATOR, Who.ADMIN: Role.ADMIN}
_SAFE_METHODS: Final = frozenset({"GET", "HEAD"})


def role_named(name: str) -> Role:
    """The role that the database names."""
    return _ROLES[name]


def cookie_name(public_url: str) -> str:
    """What the cookie of a session is called at this address.

    On another machine's plain HTTP it is the secure one, which browsers do not keep there: a session that
    travels unencrypted is anybody's.
    """
    parts = urlsplit(public_url)
    try:
        here = parts.hostname == "localhost" or ip_address(parts.hostname or "").is_loopback
    except ValueError:
        here = False
    return PLAIN_COOKIE if here and parts.scheme == "http" else SECURE_COOKIE


def csrf_token(session: str) -> str:
    """What a page sends in `X-CSRF-Token`: the same in every tab, and nothing that has to be kept."""
    return b64url_encode(hmac.digest(session.encode("ascii"), b"csrf", "sha256"))


class Authenticator:
    """Says who calls, and refuses who may not."""

    def __init__(self, plane: "Plane", failures: Failures | None = None) -> None:
        self._plane = plane
        self._keys = [hashlib.sha256(key.encode()).digest() for key in plane.settings.management_keys]
        self._cookie = cookie_name(plane.settings.public_url)
        self._origins = {plane.settings.public_url, *_loopback_names(plane.settings.public_url)}
        self._failures = Failures() if failures is None else failures

    async def actor(
        self, who: Who | None, params: Mapping[str, str], *, method: str, headers: Mapping[bytes, bytes]
    ) -> Actor:
        """The actor of a request that may do what it asks for.

        Args:
            who: of the route; None for a path that there is not, which anybody with credentials may learn.
            params: of the path.
            headers: by lower-case name; those that came more than once joined.

        Raises:
            Refused: 401 or 403.
            StorageError: a credential could not be looked up.
        """
        if who is Who.EVERYBODY:
            return ANONYMOUS
        actor = await self._recognised(who, headers)
        if who is not None and not _may(actor, who, params):
            raise Refused(403, "forbidden")
        if actor.csrf_token and method not in _SAFE_METHODS:
            self._check_origin(actor.csrf_token, headers)
        return actor

    def counted(self, refused: Refused, address: str | None) -> Refused:
        """What a client is told: 429 in place of a 401 if its address failed too often; all else as it is."""
        if refused.status == 401 and (wait_s := self._failures.count(address)):
            return Refused(429, "too many failed attempts", retry_after_s=wait_s)
        return refused

    async def _recognised(self, who: Who | None, headers: Mapping[bytes, bytes]) -> Actor:
        authorization = headers.get(b"authorization")
        if authorization is not None:
            match = _BEARER.match(authorization.decode("latin-1"))
            if match is None:
                raise Refused(401, "invalid authorization header format")
            return await self._bearer(who, match[1])
        key = headers.get(b"x-management-key")
        if key is not None:
            return self._management_key(key.decode("latin-1"))
        sessions = _cookies(headers.get(b"cookie", b""), self._cookie)
        if not sessions:
            raise Refused(401, "missing authorization")
        # Of two with one name, the second may have been planted by a neighbour of this address.
        return await self._operator(sessions[0] if len(sessions) == 1 else "")

    async def _bearer(self, who: Who | None, credential: str) -> Actor:
        if is_token(credential, AGENT_TOKEN):
            hashed = token_hash(credential)
            if who is Who.OWN_AGENT:
                # The route's own statement looks it up: a heartbeat is one round trip.
                return Actor("agent", token_hash=hashed)
            row = await self._plane.database.row("agent_of_token", hashed)
            if row is None:
                raise _invalid()
            agent_id: UUID = row["agent_id"]
            return Actor(f"agent:{agent_id}", agent_id=agent_id, token_hash=hashed)
        if is_token(credential, ENROLMENT_TOKEN):
            hashed = token_hash(credential)
            row = await self._plane.database.row("usable_enrolment_token", hashed)
            if row is None:
                raise _invalid()
            return Actor(f"enrolment:{row['id']}", enrolment_id=row["id"], token_hash=hashed)
        return self._management_key(credential)

    def _management_key(self, sent: str) -> Actor:
        hashed = hashlib.sha256(sent.encode("latin-1")).digest()
        # Every key is compared, whatever the first comparison said.
        if not any([hmac.compare_digest(hashed, key) for key in self._keys]):  # noqa: C419
            raise _invalid()
        return Actor("management-key", Role.ADMIN)

    async def _operator(self, session: str) -> Actor:
        if not is_token(session, SESSION_TOKEN):
            raise _invalid()
        hashed = token_hash(session)
        settings = self._plane.settings
        row = await self._plane.database.row("operator_of_session", hashed, settings.session_idle_minutes)
        if row is None:
            raise _invalid()
        return Actor(
            f"operator:{row['username']}",
            role_named(row["role"]),
            operator_id=row["id"],
            token_hash=hashed,
            csrf_token=csrf_token(session),
        )

    def _check_origin(self, expected: str, headers: Mapping[bytes, bytes]) -> None:
        sent = headers.get(b"x-csrf-token", b"")
        origin = headers.get(b"origin")
        own = origin is None or origin.decode("latin-1") in self._origins
        if not hmac.compare_digest(sent, expected.encode()) or not own:
            raise Refused(403, "csrf check failed")


def _cookies(header: bytes, name: str) -> list[str]:
    """All values of a cookie; what other applications set beside it does not matter."""
    pairs = (pair.partition("=") for pair in header.decode("latin-1").split(";"))
    return [value.strip() for found, _, value in pairs if found.strip() == name]


def _may(actor: Actor, who: Who, params: Mapping[str, str]) -> bool:
    if who is Who.OWN_AGENT:
        return actor.name == "agent"
    if who is Who.REGISTRATION:
        return actor.agent_id is not None or actor.enrolment_id is not None or actor.role is Role.ADMIN
    if who is Who.OWN_OR_VIEWER and actor.agent_id is not None:
        return params.get("agent_id") == str(actor.agent_id)
    if who is Who.SESSION:
        return actor.operator_id is not None
    return actor.role >= _NEEDED.get(who, Role.VIEWER)


def _invalid() -> Refused:
    return Refused(401, "invalid credentials")


def _loopback_names(public_url: str) -> list[str]:
    """The other names of an address of this machine: a browser may have been told any of them."""
    names = ("127.0.0.1", "localhost", "[::1]")
    for name in names:
        prefix = f"http://{name}:"
        if public_url.startswith(prefix):
            return [f"http://{other}:{public_url.removeprefix(prefix)}" for other in names]
    return []
