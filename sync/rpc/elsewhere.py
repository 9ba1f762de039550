"""Requests for spaces whose home is another server: what is refused, and what is confirmed there first.

See docs/federation.md 9.
"""

from dataclasses import replace

from less_sync.storage import Caller, Space
from less_sync.sync.access.grants import Access, Grant, Readable
from less_sync.sync.call import Call
from less_sync.sync.errors import RpcError
from less_sync.sync.forwarding import NO_FEDERATION, Asked, NotTrusted
from less_sync.sync.protocol.codes import HOSTED_ELSEWHERE, ErrorCode


async def named_ourselves(call: Call, grant: Grant) -> Caller:
    """As whom to write to a space whose row names a home, when that is this server.

    Raises:
        RpcError: it is another one, and nothing carries this write there.
        StorageError: the row could not be read.
    """
    services = call.services
    row = (await services.spaces.get_spaces([grant.space])).get(grant.space)
    if row is not None:
        services.authority.learn(row)
        if services.forwarder.is_foreign(row.home_server):
            raise RpcError(ErrorCode.BAD_REQUEST, HOSTED_ELSEWHERE)
    return replace(grant.caller, local_only=False)


def asked_elsewhere(call: Call, readable: Readable, *, text: str, since: int, ucan: str) -> Asked | None:
    """What to ask the home of a space that the caller may read; None when that is this server."""
    row = readable.row
    if row is None or row.home_server is None:
        return None
    if not call.services.forwarder.is_foreign(row.home_server):
        return None
    return Asked(row.id, text, since, ucan, row.home_server)


async def confirmed(call: Call, access: Access, row: Space) -> bool:
    """Whether the space's home is elsewhere; then it has confirmed that the caller may read.

    Revocations are known to the home alone: without this, whoever was removed would go on reading here.

    Raises:
        RpcError: it does not say so.
    """
    home, forwarder = row.home_server, call.services.forwarder
    if home is None or not forwarder.is_foreign(home):
        return False
    asked = Asked(row.id, access.text, 0, access.ucan, home)
    refused = await forwarder.confirm(asked, person=call.caller.person)
    if refused is not None:
        raise RpcError(error_code(refused))
    return True


def server_named(call: Call, named: str, otherwise: str) -> str | None:
    """Our own text for a server that a client names, never the client's; None for none, and for this one.

    Args:
        otherwise: what the client is told of a server that nobody trusts.

    Raises:
        RpcError: nobody said that it may be dialled.
    """
    if not named:
        return None
    forwarder = call.services.forwarder
    try:
        return forwarder.trusted_name(named)
    except NotTrusted:
        message = otherwise if forwarder.enabled else NO_FEDERATION
        raise RpcError(ErrorCode.BAD_REQUEST, message) from None


def error_code(text: str) -> ErrorCode:
    """A home's code as one of ours; what this version does not know is `internal`."""
    try:
        return ErrorCode(text)
    except ValueError:
        return ErrorCode.INTERNAL
