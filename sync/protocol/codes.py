"""Names and numbers of the wire: subprotocols, error codes, close codes; with what a client should do."""

from enum import IntEnum, StrEnum
from typing import Final, NamedTuple

SUBPROTOCOLS: Final = ("betterbase-rpc-v1", "less-rpc-v1")
"""Both names of the one protocol, preferred first (docs/protocol.md 2.1)."""


class ErrorCode(StrEnum):
    """`error.code` of a response, `error` of a push result or of a subscribe entry."""

    INVALID_PARAMS = "invalid_params"  # fix the request's shape
    BAD_REQUEST = "bad_request"  # fix the request's values
    FORBIDDEN = "forbidden"  # access is gone for good: forget the space
    NOT_FOUND = "not_found"  # nothing there
    CONFLICT = "conflict"  # pull, merge, try again
    RATE_LIMITED = "rate_limited"  # wait
    PAYLOAD_TOO_LARGE = "payload_too_large"  # split or shrink
    METHOD_NOT_FOUND = "method_not_found"  # this server does not speak it
    INTERNAL = "internal"  # the server's fault: try again later
    KEY_GENERATION_STALE = "key_generation_stale"  # adopt the space's epoch, re-encrypt, push again


HOSTED_ELSEWHERE: Final = "space is hosted on another server"
"""The message of a `bad_request`, and of a 409 about files: this is done at the space's home alone."""


class CloseCode(IntEnum):
    """Close codes of a client connection. After 4000 and 4002 existing clients never reconnect."""

    GOING_AWAY = 1001
    PROTOCOL_VIOLATION = 1002
    MESSAGE_TOO_BIG = 1009
    TRY_AGAIN_LATER = 1013
    AUTH_FAILED = 4000
    TOKEN_EXPIRED = 4001
    FORBIDDEN = 4002
    TOO_MANY_CONNECTIONS = 4003
    PROOF_OF_WORK_REQUIRED = 4004
    PROTOCOL_ERROR = 4005
    SLOW_CONSUMER = 4006
    RATE_LIMITED = 4007


class Close(NamedTuple):
    """One close frame: code and reason (at most 123 bytes of UTF-8)."""

    code: CloseCode
    reason: str


AUTH_TIMEOUT = Close(CloseCode.AUTH_FAILED, "auth timeout")
EXPECTED_BINARY_AUTH = Close(CloseCode.AUTH_FAILED, "expected binary auth frame")
EMPTY_AUTH = Close(CloseCode.AUTH_FAILED, "empty auth frame")
INVALID_AUTH = Close(CloseCode.AUTH_FAILED, "invalid auth frame")
FIRST_FRAME_NOT_AUTH = Close(CloseCode.AUTH_FAILED, "first frame must be an auth notification")
EMPTY_TOKEN = Close(CloseCode.AUTH_FAILED, "empty auth token")
SYNC_SCOPE_REQUIRED = Close(CloseCode.AUTH_FAILED, "sync scope required")
AUTH_UNAVAILABLE = Close(CloseCode.TRY_AGAIN_LATER, "auth temporarily unavailable")
TOO_MANY_CONNECTIONS = Close(CloseCode.TOO_MANY_CONNECTIONS, "too many connections")
EMPTY_FRAME = Close(CloseCode.PROTOCOL_ERROR, "empty binary frame")
EXPECTED_BINARY = Close(CloseCode.PROTOCOL_ERROR, "expected binary rpc frame")
INVALID_FRAME = Close(CloseCode.PROTOCOL_ERROR, "invalid cbor frame")
REQUEST_ID_TOO_LONG = Close(CloseCode.PROTOCOL_ERROR, "request id too long")
RATE_LIMITED = Close(CloseCode.RATE_LIMITED, "rate limited")
SLOW_CONSUMER = Close(CloseCode.SLOW_CONSUMER, "slow consumer")
PROTOCOL_VIOLATION = Close(CloseCode.PROTOCOL_VIOLATION, "protocol violation")
MESSAGE_TOO_BIG = Close(CloseCode.MESSAGE_TOO_BIG, "message too big")
LIFETIME_REACHED = Close(CloseCode.GOING_AWAY, "connection lifetime reached")
ACCESS_UNCERTAIN = Close(CloseCode.GOING_AWAY, "access must be checked again")
SHUTTING_DOWN = Close(CloseCode.GOING_AWAY, "server shutting down")
TOKEN_EXPIRED = Close(CloseCode.TOKEN_EXPIRED, "token expired")
