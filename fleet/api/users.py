"""`/platform/v1/users`: the operators, kept by admins (docs/fleet.md 3.4)."""

import re
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Final
from uuid import UUID

from less_sync.fleet.api.body import wrong
from less_sync.fleet.api.call import Answer, Call, refuse_body
from less_sync.fleet.api.paging import page, read_page
from less_sync.fleet.api.routing import Route
from less_sync.fleet.database import Row, row, rows
from less_sync.fleet.errors import FieldProblem, Refused, invalid, not_found
from less_sync.fleet.passwords import CHARACTERS_MAX, CHARACTERS_MIN
from less_sync.fleet.store import audit

if TYPE_CHECKING:
    from less_sync.fleet.database import Connection
    from less_sync.fleet.plane import Plane

ROLES: Final = ("viewer", "operator", "admin")
_USERNAME: Final = re.compile(r"[a-z0-9._@-]{3,64}", re.ASCII)
_USERNAME_FORM: Final = "must have 3 to 64 characters of a-z, 0-9, . _ @ -"
_COLUMNS: Final = ("id", "username", "role", "disabled", "last_login_at")


async def users(plane: "Plane", call: Call) -> Answer:
    """A page of the operators, oldest first."""
    query = call.query()
    limit, after = read_page(query, tuple[datetime, UUID])
    query.finish()
    found = await plane.database.fetch("operators", *(after or (None, None)), limit + 1)
    return Answer(200, page("users", found, limit, _shown, lambda one: (one["created_at"], one["id"])))


async def create(plane: "Plane", call: Call) -> Answer:
    """A new operator: 201."""
    fields = call.fields()
    username = fields.matching("username", _USERNAME, _USERNAME_FORM, required=True) or ""
    password = fields.custom("password", _password_for(username), required=True) or ""
    role = fields.choice("role", ROLES)
    fields.finish()
    kept = await plane.passwords.hashed(password)
    # The unique index decides between two who take one name.
    async with plane.database.transaction() as connection:
        made = await row(connection, "create_operator", username, kept, role)
        if made is None:
            raise Refused(409, "username taken")
        detail = {"username": username, "role": role}
        await audit.record(connection, call, "operator.create", "operator", made["id"], detail)
    return Answer(201, {"user": _shown(made)})


async def change(plane: "Plane", call: Call) -> Answer:
    """Another role or password, or disabled or enabled again; each ends all sessions of the operator."""
    operator_id = call.uuid("user_id", "user")
    fields = call.fields()
    role = fields.optional_choice("role", ROLES)
    disabled = fields.optional_flag("disabled")
    password = fields.custom("password", _password_for(""))
    fields.finish()
    kept = None if password is None else await _hashed_for(plane, operator_id, password)
    async with plane.database.transaction() as connection:
        before = await _locked(connection, operator_id, stays=role in (None, "admin") and not disabled)
        changed = await row(connection, "change_operator", operator_id, role, disabled, kept)
        assert changed is not None  # the row is locked
        detail = _differences(before, changed, password_changed=kept is not None)
        if detail:
            await rows(connection, "end_sessions", operator_id)
            await audit.record(connection, call, "operator.change", "operator", operator_id, detail)
    return Answer(200, {"user": _shown(changed)})


async def delete(plane: "Plane", call: Call) -> Answer:
    """Remove an operator with all sessions; what they did stays in the audit trail."""
    operator_id = call.uuid("user_id", "user")
    refuse_body(call)
    async with plane.database.transaction() as connection:
        before = await _locked(connection, operator_id, stays=False)
        await rows(connection, "delete_operator", operator_id)
        detail = {"username": before["username"], "role": before["role"]}
        await audit.record(connection, call, "operator.delete", "operator", operator_id, detail)
    return Answer(200, {"message": "user deleted"})


async def _locked(connection: "Connection", operator_id: UUID, *, stays: bool) -> Row:
    """An operator, locked until the commit, by a lock that all changes of operators share.

    So no two take the last two admins; and only a sign-in, which takes this one row, waits or is waited for.

    Args:
        stays: whether an enabled admin is one afterwards.

    Raises:
        Refused: 404, or 409 for the last enabled admin who would be none.
    """
    await rows(connection, "lock_operators")
    admins = await rows(connection, "admins")
    found = await row(connection, "operator", operator_id)
    if found is None:
        raise not_found("user")
    if not stays and [one["id"] for one in admins] == [operator_id]:
        raise Refused(409, "last admin")
    return found


async def _hashed_for(plane: "Plane", operator_id: UUID, password: str) -> str:
    """What is kept of a new password; a name never changes, so it can be looked up before the transaction."""
    username = await plane.database.value("username", operator_id)
    if username is None:
        raise not_found("user")
    if username in password.lower():
        raise invalid([FieldProblem("password", "must not contain the username")])
    return await plane.passwords.hashed(password)


def _differences(before: Row, changed: Row, *, password_changed: bool) -> dict[str, object]:
    """What the audit trail tells of a change; empty when nothing is another."""
    new = {name: changed[name] for name in ("role", "disabled") if changed[name] != before[name]}
    return {**new, "password": "changed"} if password_changed else new


def _password_for(username: str) -> Callable[[object], str]:
    def check(value: object) -> str:
        if not isinstance(value, str):
            raise wrong("expected a text")
        if not CHARACTERS_MIN <= len(value) <= CHARACTERS_MAX:
            raise wrong(f"must have {CHARACTERS_MIN} to {CHARACTERS_MAX} characters")
        if username and username in value.lower():
            raise wrong("must not contain the username")
        return value

    return check


def _shown(operator: Row) -> dict[str, object]:
    return {name: operator[name] for name in _COLUMNS}


ROUTES: Final = (
    Route("GET", "/platform/v1/users", users),
    Route("POST", "/platform/v1/users", create),
    Route("PATCH", "/platform/v1/users/{user_id}", change),
    Route("DELETE", "/platform/v1/users/{user_id}", delete),
)
