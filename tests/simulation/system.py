"""All that the simulation takes from the server and the tests around it: the one place to follow moves."""

from less_sync.auth import Permission, delegate, encode_did_key, parse_ucan, personal_space_id
from less_sync.bins.services import build_services
from less_sync.storage import (
    Caller,
    MemberEntry,
    PostgresPool,
    PostgresPullStore,
    PushLanes,
    Space,
)
from less_sync.storage.queries import QUERIES, sql
from less_sync.sync.access.key_fetch import KeyFetcher
from less_sync.sync.access.sign_in import Authenticator
from less_sync.sync.background import run_background
from less_sync.sync.http.socket import CLIENT_PATH, ClientSocket, websocket_protocol
from less_sync.sync.http.upgrade import UpgradeRequest
from less_sync.sync.limits import Limits
from less_sync.sync.protocol.frames import (
    KEEPALIVE,
    Chunk,
    Notification,
    Response,
    decode_server_frame,
    encode_request,
)
from less_sync.sync.services import Services
from tests.live import CLIENT_ID, ISSUER, claims
from tests.wire.issuer import AUDIENCE, KID, Issuer

__all__ = [
    "AUDIENCE",
    "CLIENT_ID",
    "CLIENT_PATH",
    "ISSUER",
    "KEEPALIVE",
    "KID",
    "QUERIES",
    "Authenticator",
    "Caller",
    "Chunk",
    "ClientSocket",
    "Issuer",
    "KeyFetcher",
    "Limits",
    "MemberEntry",
    "Notification",
    "Permission",
    "PostgresPool",
    "PostgresPullStore",
    "PushLanes",
    "Response",
    "Services",
    "Space",
    "UpgradeRequest",
    "build_services",
    "claims",
    "decode_server_frame",
    "delegate",
    "encode_did_key",
    "encode_request",
    "parse_ucan",
    "personal_space_id",
    "run_background",
    "sql",
    "websocket_protocol",
]
