"""`/platform/v1/auth`: operators sign in, with a password, and out (docs/fleet.md 3.3)."""

from datetime import datetime
from typing import TYPE_CHECKING, Final
from uuid import UUID

import structlog

from less_sync.fleet.api.auth import SECURE_COOKIE, cookie_name, csrf_token
from less_sync.fleet.api.body import wrong
from less_sync.fleet.api.call import Actor, Answer, Call, refuse_body
from less_sync.fleet.api.routing import Route
from less_sync.fleet.database import Row, row, rows
from less_sync.fleet.errors import Refused
from less_sync.fleet.identifiers import SESSION_TOKEN, new_token, token_hash
from less_sync.fleet.passwords import CHARACTERS_MAX
from less_sync.fleet.store import audit

if TYPE_CHECKING:
    from less_sync.fleet.plane import Plane

LOGIN_BYTES_MAX: Final = 8192
NAME_CHARACTERS_MAX: Final = 256
USER_AGENT_CHARACTERS_MAX: Final = 256
_log = structlog.get_logger(__name__)


async def login(plane: "Plane", call: Call) -> Answer:
    """Begin a session: 200 with its CSRF token and its cookie, or 401, one text whatever is wrong."""
    fields = call.fields()
    username = fields.text("username", at_most=NAME_CHARACTERS_MAX)
    password = fields.custom("password", _password, required=True) or ""
    fields.finish()
    # Counted before the work, or a hundred at once would all be tried before the first has failed. A right
    # password is refused too then: the limit would not slow down who guesses otherwise.
    if wait_s := plane.sign_ins.count(call.address):
        raise Refused(429, "too many failed attempts", retry_after_s=wait_s)
    failed = False
    try:
        return await _signed_in(plane, call, username.lower(), password)
    except Refused as refused:
        failed = refused.status == 401
        raise
    finally:
        if not failed:
            plane.sign_ins.forgive(call.address)


async def _signed_in(plane: "Plane", call: Call, username: str, password: str) -> Answer:
    known = await plane.database.row("sign_in_state", username)
    right = await plane.passwords.match(None if known is None else known["password_hash"], password)
    if known is None or not right:
        # The same statement for nobody, so that both take as long.
        counted = await plane.database.row("sign_in_failed", None if known is None else known["id"])
        if counted is not None and counted["locked_until"] is not None:
            until = counted["locked_until"].isoformat()
            _log.warning("operator locked", username=counted["username"], until=until)
        raise _not_let_in()
    token = new_token(SESSION_TOKEN)
    hours = plane.settings.session_max_hours
    # The update locks the operator's row until the commit: a change of role or password, which ends all
    # sessions, comes before it and is seen, or waits and then finds this session.
    async with plane.database.transaction() as connection:
        operator = await row(connection, "sign_in", known["id"], known["password_hash"])
        if operator is None:
            raise _not_let_in()
        call.actor = Actor(f"operator:{operator['username']}", operator_id=operator["id"])
        agent = (call.header(b"user-agent") or "")[:USER_AGENT_CHARACTERS_MAX]
        kept = token_hash(token)
        began = await row(connection, "begin_session", kept, operator["id"], hours, call.address, agent)
        assert began is not None  # an insert returns its row
        await audit.record(connection, call, "session.begin", "operator", operator["id"])
    content = _shown(operator, csrf_token(token), began["expires_at"])
    return Answer(200, content, [("Set-Cookie", _cookie(plane, token, hours * 3600))])


async def logout(plane: "Plane", call: Call) -> Answer:
    """End the session, and have the browser forget its cookie."""
    refuse_body(call)
    async with plane.database.transaction() as connection:
        if await rows(connection, "end_session", call.actor.token_hash):
            await audit.record(connection, call, "session.end", "operator", call.actor.operator_id)
    return Answer(204, headers=[("Set-Cookie", _cookie(plane, "", 0))])


async def session(plane: "Plane", call: Call) -> Answer:
    """What the login answered."""
    found = await plane.database.row("session", call.actor.token_hash)
    if found is None:  # it ended since it was looked up
        raise Refused(401, "invalid credentials")
    return Answer(200, _shown(found, call.actor.csrf_token, found["expires_at"]))


def _password(value: object) -> str:
    if not isinstance(value, str):
        raise wrong("expected a text")
    if not 1 <= len(value) <= CHARACTERS_MAX:
        raise wrong(f"must have 1 to {CHARACTERS_MAX} characters")
    return value


def _not_let_in() -> Refused:
    return Refused(401, "invalid username or password")


def _shown(operator: Row, csrf: str, expires_at: datetime) -> dict[str, object]:
    operator_id: UUID = operator["id"]
    user = {"id": operator_id, "username": operator["username"], "role": operator["role"]}
    return {"user": user, "csrf_token": csrf, "expires_at": expires_at}


def _cookie(plane: "Plane", value: str, max_age_s: int) -> str:
    name = cookie_name(plane.settings.public_url)
    secure = "; Secure" if name == SECURE_COOKIE else ""
    return f"{name}={value}; Path=/{secure}; HttpOnly; SameSite=Strict; Max-Age={max_age_s}"


ROUTES: Final = (
    Route("POST", "/platform/v1/auth/login", login, body_bytes_max=LOGIN_BYTES_MAX),
    Route("POST", "/platform/v1/auth/logout", logout),
    Route("GET", "/platform/v1/auth/session", session),
)
