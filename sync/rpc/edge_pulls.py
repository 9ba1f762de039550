"""Pulls of spaces whose home is another server: relayed chunk by chunk, nothing is kept here.

The forwarder has checked that the chunks are this space's, and whole. A client that reads slowly holds the
home back, because a chunk is taken from it only once the one before has gone (docs/federation.md 9.4).
"""

from contextlib import aclosing
from typing import Final

import structlog

from less_sync.storage import Space
from less_sync.sync.access.grants import Access
from less_sync.sync.call import Call
from less_sync.sync.errors import RpcError
from less_sync.sync.forwarding import Asked, HomeFault, HomeRefused, PullInterrupted
from less_sync.sync.protocol.codes import ErrorCode
from less_sync.sync.protocol.errors import ParamsError
from less_sync.sync.protocol.frames import encode_chunk
from less_sync.sync.protocol.messages import (
    MemberEntry,
    MembershipListResult,
    PullMembership,
    decode_params,
)

INTERRUPTED: Final = "remote pull interrupted"

LOG_BYTES_MAX: Final = 16 * 1024 * 1024
"""Of a membership log that is put together from a pull."""

_ENTRY_BYTES: Final = 128
"""What an entry costs beside its payload."""

log = structlog.get_logger(__name__)


async def relay_pull(call: Call, asked: Asked) -> int:
    """Send on what the home sends; return the number of chunks. A home that sends nothing is left out.

    Raises:
        RpcError: the rest will not come: the client must not take what it has for the whole.
    """
    header = call.outbound.frame_header
    sent = 0
    try:
        async with aclosing(call.services.forwarder.pull(asked, person=call.caller.person)) as chunks:
            async for chunk in chunks:
                assert isinstance(chunk.data, dict), "or the forwarder had refused it"
                payload = encode_chunk(call.request_id, chunk.name, chunk.data)
                await call.send((header(len(payload)), payload))
                sent += 1
    except (HomeFault, HomeRefused) as fault:
        log.debug("home sent no pull", space=str(asked.space), fault=type(fault).__name__)
    except PullInterrupted as fault:
        log.warning("pull from a home broke off", space=str(asked.space), reason=str(fault), chunks=sent)
        raise RpcError(ErrorCode.INTERNAL, INTERRUPTED) from None
    return sent


async def members_elsewhere(call: Call, access: Access, row: Space, since_seq: int) -> MembershipListResult:
    """The membership log of a space, out of a pull: nothing else carries it between servers.

    Raises:
        RpcError: the home does not answer, or the log is longer than what may be put together here.
    """
    asked = Asked(row.id, access.text, 0, access.ucan, row.home_server or "")
    entries: list[MemberEntry] = []
    version = log_bytes = chunks_seen = 0
    try:
        async with aclosing(call.services.forwarder.pull(asked, person=call.caller.person)) as chunks:
            async for chunk in chunks:
                chunks_seen += 1
                if chunk.name != "pull.membership":
                    continue
                for entry in decode_params(PullMembership, chunk.data).entries:
                    version = max(version, entry.chain_seq)
                    if entry.chain_seq > since_seq:
                        log_bytes += len(entry.payload) + _ENTRY_BYTES
                        entries.append(entry)
                if log_bytes > LOG_BYTES_MAX:
                    raise RpcError(ErrorCode.INTERNAL)
    except (HomeFault, HomeRefused, PullInterrupted, ParamsError):
        raise RpcError(ErrorCode.INTERNAL) from None
    if not chunks_seen:
        raise RpcError(ErrorCode.INTERNAL)  # a home leaves out what it cannot read just now, too
    return MembershipListResult(sorted(entries, key=lambda entry: entry.chain_seq), version)
