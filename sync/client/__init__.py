"""The Python client of the sync protocol: typed calls, and a connection that comes back by itself.

    async with SyncClient("ws://127.0.0.1:5379/api/v1/ws", token_source) as client:
        await client.subscribe([SubscribeSpace(id=space, since=0)])
        result = await client.push(space, changes)      # PushResult: a conflict is a value
        async for event in client.pull(space, since):   # PullBegin, PullRecord ..., PullCommit
            ...
        async for notice in client.notices():           # SyncNotice, ResyncNeeded ...
            ...

It reconnects after every loss but 4000 and 4002, waiting 1 s doubled up to 30 s and up to 30 % more, and asks
its token source anew each time. The wait grows until an authenticated answer came, not just an open socket:
else a server that accepts and then refuses would be asked every second (docs/protocol.md 13.4). What was
subscribed is subscribed again, and one `ResyncNeeded` then says that a pull is due. A call under way when
the connection breaks raises `ConnectionLost`: a push may or may not have been written, and a pull by cursor
tells.

`__all__` is what applications may use; `less_sync` offers all of it under the same names (docs/python.md).
"""

from less_sync.auth import (
    Permission,
    delegate,
    encode_did_key,
    ucan_cid,
)
from less_sync.sync.client.client import (
    CHANGE_OVERHEAD_BYTES,
    CHANGES_PER_PUSH,
    PUSH_OVERHEAD_BYTES,
    ConnectionChange,
    PullEvent,
    PullOther,
    SyncClient,
    split_changes,
)
from less_sync.sync.client.errors import (
    ClientClosed,
    ConnectFailed,
    ConnectionLost,
    FileRefused,
    FilesNotServed,
    FilesScopeMissing,
    FileTooLarge,
    FrameTooLarge,
    NotThisProtocol,
    RequestFailed,
    RequestTimeout,
    ServerUnavailable,
    StreamOverrun,
    SyncClientError,
    TokenRefused,
    TokenUnavailable,
)
from less_sync.sync.client.files import (
    FileClient,
    FileDownload,
    FileInfo,
    FileLimits,
)
from less_sync.sync.client.link import (
    ClientLimits,
    is_this_machine,
)
from less_sync.sync.client.notices import (
    InvitationNotice,
    Notice,
    OtherNotice,
    ResyncNeeded,
    SubscriptionLost,
)
from less_sync.sync.client.tokens import (
    TokenSource,
    personal_space,
    token_claim,
)
from less_sync.sync.protocol.codes import (
    CloseCode,
    ErrorCode,
)
from less_sync.sync.protocol.messages import (
    EpochBegun,
    EpochConflict,
    EventNotice,
    FileChange,
    FileDek,
    FileNotice,
    Invitation,
    MemberEntry,
    MembershipAppendResult,
    MembershipListResult,
    MembershipNotice,
    PresenceEntry,
    PresenceLeaveNotice,
    PresenceNotice,
    PullBegin,
    PullCommit,
    PullRecord,
    PushChange,
    PushResult,
    RecordDek,
    ResubscribeNotice,
    RevokedNotice,
    RewrappedDek,
    SessionInfo,
    SpaceCreateResult,
    SubscribedSpace,
    SubscribeError,
    SubscribeResult,
    SubscribeSpace,
    SyncNotice,
    SyncRecord,
    TokenRefreshResult,
)

__all__ = [
    "CHANGES_PER_PUSH",
    "CHANGE_OVERHEAD_BYTES",
    "PUSH_OVERHEAD_BYTES",
    "ClientClosed",
    "ClientLimits",
    "CloseCode",
    "ConnectFailed",
    "ConnectionChange",
    "ConnectionLost",
    "EpochBegun",
    "EpochConflict",
    "ErrorCode",
    "EventNotice",
    "FileChange",
    "FileClient",
    "FileDek",
    "FileDownload",
    "FileInfo",
    "FileLimits",
    "FileNotice",
    "FileRefused",
    "FileTooLarge",
    "FilesNotServed",
    "FilesScopeMissing",
    "FrameTooLarge",
    "Invitation",
    "InvitationNotice",
    "MemberEntry",
    "MembershipAppendResult",
    "MembershipListResult",
    "MembershipNotice",
    "NotThisProtocol",
    "Notice",
    "OtherNotice",
    "Permission",
    "PresenceEntry",
    "PresenceLeaveNotice",
    "PresenceNotice",
    "PullBegin",
    "PullCommit",
    "PullEvent",
    "PullOther",
    "PullRecord",
    "PushChange",
    "PushResult",
    "RecordDek",
    "RequestFailed",
    "RequestTimeout",
    "ResubscribeNotice",
    "ResyncNeeded",
    "RevokedNotice",
    "RewrappedDek",
    "ServerUnavailable",
    "SessionInfo",
    "SpaceCreateResult",
    "StreamOverrun",
    "SubscribeError",
    "SubscribeResult",
    "SubscribeSpace",
    "SubscribedSpace",
    "SubscriptionLost",
    "SyncClient",
    "SyncClientError",
    "SyncNotice",
    "SyncRecord",
    "TokenRefreshResult",
    "TokenRefused",
    "TokenSource",
    "TokenUnavailable",
    "delegate",
    "encode_did_key",
    "is_this_machine",
    "personal_space",
    "split_changes",
    "token_claim",
    "ucan_cid",
]
