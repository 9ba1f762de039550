"""Enrolment tokens: with one, a server that nobody knows registers (docs/fleet.md 4.2)."""

from datetime import datetime
from typing import TYPE_CHECKING, Final
from uuid import UUID, uuid4

from less_sync.fleet.api.call import Answer, Call, refuse_body
from less_sync.fleet.api.paging import page, read_page
from less_sync.fleet.api.routing import Route
from less_sync.fleet.database import Row, row
from less_sync.fleet.errors import not_found
from less_sync.fleet.identifiers import ENROLMENT_TOKEN, new_token, token_hash
from less_sync.fleet.store import audit

if TYPE_CHECKING:
    from less_sync.fleet.plane import Plane

TTL_S_MIN: Final = 60
TTL_S_MAX: Final = 2_592_000
TTL_S: Final = 3600
USES_MAX: Final = 10_000
_COLUMNS: Final = (
    "id",
    "label",
    "max_uses",
    "uses",
    "expires_at",
    "labels",
    "created_by",
    "created_at",
    "revoked_at",
)


async def create(plane: "Plane", call: Call) -> Answer:
    """201 with the token, which is told this once."""
    fields = call.fields()
    label = fields.text("label", at_most=128)
    max_uses = fields.integer("max_uses", 1, USES_MAX, default=1)
    ttl_s = fields.integer("ttl_seconds", TTL_S_MIN, TTL_S_MAX, default=TTL_S)
    labels = fields.labels("labels")
    license_id = fields.optional_uuid("license_id")
    if license_id is not None and not await plane.database.value("license_exists", license_id):
        fields.problem("license_id", "there is no such licence")
    fields.finish()
    token, token_id = new_token(ENROLMENT_TOKEN), uuid4()
    async with plane.database.transaction() as connection:
        made = await row(
            connection,
            "add_enrolment_token",
            token_id,
            token_hash(token),
            label,
            max_uses,
            labels,
            ttl_s,
            call.actor.name,
        )
        detail = {"label": label, "max_uses": max_uses, "ttl_seconds": ttl_s}
        await audit.record(connection, call, "enrolment_token.create", "enrolment_token", token_id, detail)
    assert made is not None  # an insert has a row
    return Answer(201, {"enrolment_token": _shown(made), "token": token})


async def list_tokens(plane: "Plane", call: Call) -> Answer:
    """All of them, spent and revoked ones too; never what is secret of one."""
    query = call.query()
    limit, after = read_page(query, tuple[datetime, UUID])
    query.finish()
    found = await plane.database.fetch("enrolment_tokens_page", *(after or (None, None)), limit + 1)
    content = page("enrolment_tokens", found, limit, _shown, lambda row: (row["created_at"], row["id"]))
    return Answer(200, content)


async def revoke(plane: "Plane", call: Call) -> Answer:
    """It makes no agent any more; those that it made stay."""
    refuse_body(call)
    token_id = call.uuid("token_id", "enrolment token")
    async with plane.database.transaction() as connection:
        revoked = await row(connection, "revoke_enrolment_token", token_id)
        if revoked is None:
            raise not_found("enrolment token")
        detail = {"label": revoked["label"]}
        await audit.record(connection, call, "enrolment_token.revoke", "enrolment_token", token_id, detail)
    return Answer(200, {"message": "enrolment token revoked"})


def _shown(token: Row) -> dict[str, object]:
    return {name: token[name] for name in _COLUMNS}


ROUTES: Final = (
    Route("POST", "/management/v1/enrolment-tokens", create),
    Route("GET", "/management/v1/enrolment-tokens", list_tokens),
    Route("DELETE", "/management/v1/enrolment-tokens/{token_id}", revoke),
)
