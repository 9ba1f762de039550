"""Wrapped DEKs of records and of files: listed for a rotation, and re-wrapped.

See docs/protocol.md 7.15 to 7.18.
"""

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Final
from uuid import UUID

from less_sync.auth import parse_uuid
from less_sync.storage import DekKind, RewrapStatus
from less_sync.sync.access.grants import Access, Seen, has_scope
from less_sync.sync.call import Call
from less_sync.sync.errors import RpcError
from less_sync.sync.protocol.codes import ErrorCode
from less_sync.sync.protocol.deks import DekListing
from less_sync.sync.protocol.frames import EncodedResult
from less_sync.sync.protocol.messages import DeksGetParams, DeksRewrapParams, DeksRewrapResult, RewrappedDek
from less_sync.sync.rpc.elsewhere import confirmed, named_ourselves

_SCOPES: Final = {DekKind.RECORDS: "sync", DekKind.FILES: "files"}
_NOT_FOUND: Final = {
    DekKind.RECORDS: "one or more DEK records were not found",
    DekKind.FILES: "one or more file DEK records were not found",
}
_INVALID: Final = "invalid record: "


async def _get(kind: DekKind, call: Call, params: DeksGetParams, access: Access) -> EncodedResult:
    """One chunk per DEK above `since`, then all of them once more unless that were too long (docs/protocol.md
    7.15).

    Runs in the session's background; a page of DEKs is in memory at a time, beside the entries of a result
    of at most one frame. Other requests are answered between two pages.
    """
    space = access.check_id()
    _require_scope(kind, call)
    pairs = access.pairs
    found = await call.services.deks.get(kind, space, params.since, cids=access.cids)
    encoder = DekListing(
        call.request_id,
        files=kind is DekKind.FILES,
        frame_bytes_max=call.services.limits.outbound_frame_bytes,
        header=call.outbound.frame_header,
    )
    if found is None:
        grant = await access.grant(Seen(None, (), pairs))
        # Personal: it comes into being when its owner first reads it (docs/protocol.md 5.1).
        await call.services.spaces.get_or_create_space(space, grant.client_id or "")
        return encoder.result()
    await access.grant(Seen(found.space, found.revoked, pairs))
    await confirmed(call, access, found.space)
    async for page in found.batches():
        await call.send(encoder.chunks(page))
        await asyncio.sleep(0)
    # What the caller has read up to: a later rewrap must not touch what was written since (docs/protocol.md
    # 7.16).
    call.caller.note_read(kind, space, found.space.cursor)
    return encoder.result()


async def _rewrap(kind: DekKind, call: Call, params: DeksRewrapParams, access: Access) -> DeksRewrapResult:
    """Replace DEKs, all or none. Authorisation comes before validation, as in a push."""
    space = access.check_id()
    _require_scope(kind, call)
    grant = await access.grant()
    invalid, ids = _validated(kind, params.deks, call.services.limits.dek_bytes)
    # `lsync_rewrap_v1` checks epoch and rows and writes under the lock of the space's row.
    replace = partial(
        call.services.deks.rewrap,
        kind,
        grant.space,
        [] if invalid else ids,
        [] if invalid else [entry.dek for entry in params.deks],
        read_cursor=call.caller.read_up_to(kind, space),
    )
    status = await replace(caller=grant.caller)
    if status is RewrapStatus.REMOTE_HOME:
        status = await replace(caller=await named_ourselves(call, grant))
    if status is RewrapStatus.REWRAPPED and invalid:
        raise RpcError(ErrorCode.BAD_REQUEST, invalid)
    if status is not RewrapStatus.REWRAPPED:
        raise _refusal(kind, status)
    return DeksRewrapResult(ok=True, count=len(params.deks))


def _require_scope(kind: DekKind, call: Call) -> None:
    scope = _SCOPES[kind]
    if not has_scope(call.identity, scope):
        raise RpcError(ErrorCode.FORBIDDEN, f"{scope} scope required")


def _validated(
    kind: DekKind, entries: Sequence[RewrappedDek], dek_bytes: int
) -> tuple[str, list[UUID | str | None]]:
    """The first fault, or "", and the ids: None for a record's that is no UUID; storage tells it in turn."""
    ids: list[UUID | str | None] = []
    for entry in entries:
        row = parse_uuid(entry.id)
        if kind is DekKind.RECORDS and not entry.id:
            return f"{_INVALID}id must be non-empty string", []
        if kind is DekKind.FILES and row is None:
            return f"{_INVALID}id must be a valid UUID", []
        if len(entry.dek) != dek_bytes:
            return f"{_INVALID}wrapped DEK must be exactly {dek_bytes} bytes", []
        ids.append(row)
    return "", ids


def _refusal(kind: DekKind, status: RewrapStatus) -> RpcError:
    match status:
        case RewrapStatus.EPOCH_MISMATCH:
            return RpcError(ErrorCode.CONFLICT, "DEK epoch does not match current key generation")
        case RewrapStatus.CHANGED:
            return RpcError(ErrorCode.CONFLICT, "DEK record changed since it was read")
        case RewrapStatus.NOT_FOUND:
            return RpcError(ErrorCode.BAD_REQUEST, _NOT_FOUND[kind])
        case RewrapStatus.NO_SPACE:
            return RpcError(ErrorCode.NOT_FOUND, "space not found")
        case RewrapStatus.REVOKED | RewrapStatus.NOT_PERSONAL:
            return RpcError(ErrorCode.FORBIDDEN)
        case _:
            return RpcError(ErrorCode.INTERNAL)


get = partial(_get, DekKind.RECORDS)
rewrap = partial(_rewrap, DekKind.RECORDS)
get_files = partial(_get, DekKind.FILES)
rewrap_files = partial(_rewrap, DekKind.FILES)
