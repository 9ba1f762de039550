"""All that the simulation takes from the server and the tests around it: the one place to follow moves."""

from typing import TYPE_CHECKING

from less_sync.auth import (
    PERSONAL_SPACE_ROOTS,
    Identity,
    IssuerKey,
    Permission,
    TokenPolicy,
    delegate,
    encode_did_key,
    make_did_proof,
    parse_ucan,
    personal_space_id,
    server_mailbox_id,
)
from less_sync.auth import Issuer as IssuerRules
from less_sync.bins.services import build_services
from less_sync.storage import (
    BlobError,
    BlobKey,
    Caller,
    FileLock,
    FileLook,
    FileStore,
    MemberEntry,
    Opened,
    PostgresPool,
    Push,
    PushLanes,
    PushOutcome,
    PushStatus,
    RecordFileStatus,
    Space,
    Staged,
    StorageError,
    Stored,
    Unavailable,
)
from less_sync.storage.errors import LOCK_NOT_AVAILABLE, translate
from less_sync.storage.objects.memory import MemoryBlobs
from less_sync.storage.postgres.lane import Lane
from less_sync.storage.postgres.outage import Outage
from less_sync.storage.postgres.push_batch import batch_statement, single_statement
from less_sync.storage.postgres.push_entry import Entry
from less_sync.storage.queries import QUERIES, sql
from less_sync.sync.access.hourly_limits import RateLimits, actor_hash
from less_sync.sync.access.key_fetch import KeyFetcher
from less_sync.sync.access.sign_in import Authenticator
from less_sync.sync.announce import Announcer, Change
from less_sync.sync.background import run_background
from less_sync.sync.files.removals import Removals
from less_sync.sync.files.uploads import Upload, Uploads
from less_sync.sync.http.app import create_app
from less_sync.sync.http.socket import CLIENT_PATH, ClientSocket, SessionFactory, websocket_protocol
from less_sync.sync.http.upgrade import UpgradeRequest
from less_sync.sync.limits import Limits
from less_sync.sync.protocol.codes import Close
from less_sync.sync.protocol.frames import (
    KEEPALIVE,
    Chunk,
    Notification,
    Response,
    decode_server_frame,
    encode_request,
)
from less_sync.sync.rpc.dispatch import Prepared
from less_sync.sync.services import Services
from less_sync.sync.session.clients import client_conduct, client_sessions
from less_sync.sync.session.long_answers import LongAnswers
from less_sync.sync.session.open_sessions import Doors, Sessions
from less_sync.sync.session.session import Session
from tests.live import CLIENT_ID, ISSUER, claims
from tests.wire.issuer import AUDIENCE, KID, Issuer

if TYPE_CHECKING:
    from less_sync.storage.postgres.pool import Connection

__all__ = [
    "AUDIENCE",
    "CLIENT_ID",
    "CLIENT_PATH",
    "ISSUER",
    "KEEPALIVE",
    "KID",
    "LOCK_NOT_AVAILABLE",
    "PERSONAL_SPACE_ROOTS",
    "QUERIES",
    "Announcer",
    "Authenticator",
    "BlobError",
    "BlobKey",
    "Caller",
    "Change",
    "Chunk",
    "ClientSocket",
    "Close",
    "Connection",
    "Doors",
    "Entry",
    "FileLock",
    "FileLook",
    "FileStore",
    "Identity",
    "Issuer",
    "IssuerKey",
    "IssuerRules",
    "KeyFetcher",
    "Lane",
    "Limits",
    "LongAnswers",
    "MemberEntry",
    "MemoryBlobs",
    "Notification",
    "Opened",
    "Outage",
    "Permission",
    "PostgresPool",
    "Prepared",
    "Push",
    "PushLanes",
    "PushOutcome",
    "PushStatus",
    "RateLimits",
    "RecordFileStatus",
    "Removals",
    "Response",
    "Services",
    "Session",
    "SessionFactory",
    "Sessions",
    "Space",
    "Staged",
    "StorageError",
    "Stored",
    "TokenPolicy",
    "Unavailable",
    "UpgradeRequest",
    "Upload",
    "Uploads",
    "actor_hash",
    "batch_statement",
    "build_services",
    "claims",
    "client_conduct",
    "client_sessions",
    "create_app",
    "decode_server_frame",
    "delegate",
    "encode_did_key",
    "encode_request",
    "make_did_proof",
    "parse_ucan",
    "personal_space_id",
    "run_background",
    "server_mailbox_id",
    "single_statement",
    "sql",
    "translate",
    "websocket_protocol",
]
