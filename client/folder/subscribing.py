"""Whether a space lets us in: the one answer that is believed about it."""

from less_sync.client.folder.errors import FolderError
from less_sync.client.folder.shared import Grant
from less_sync.sync.client import RequestFailed, SubscribeSpace, SyncClient
from less_sync.sync.protocol.codes import ErrorCode
from less_sync.sync.protocol.messages import SubscribedSpace


async def subscribed(client: SyncClient, space: SubscribeSpace, grant: Grant | None) -> SubscribedSpace:
    """Subscribe one space. A refusal here is for good; any other `forbidden` may be a server in trouble.

    Args:
        grant: what lets us into a shared space; None for the personal one.

    Raises:
        AccessLost: a shared space does not let us in any more.
        FolderError: the token is not for its personal space, or the answer is about something else.
        SyncClientError: see `SyncClient.subscribe`; RequestFailed for any other refusal.
    """
    result = await client.subscribe([space])
    for refused in result.errors:
        if refused.error == ErrorCode.NOT_FOUND:
            # Only a server that asks another one says so. That one may have been set back, and may recover.
            raise RequestFailed(refused.error, "the home of the space does not know it")
        if refused.error != ErrorCode.FORBIDDEN:
            raise RequestFailed(refused.error, "the server does not show the space")
        if grant is not None:
            raise grant.lost()
        raise FolderError("the server does not let this token use its personal space")
    if len(result.spaces) != 1:
        raise FolderError("the server's answer is not about the one space that it was asked for")
    return result.spaces[0]
