"""From a decoded frame to an encoded reply: params, rule, handler, exceptions to codes."""

from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import TypeVar

import structlog

from less_sync.storage import StorageError
from less_sync.sync.call import Call
from less_sync.sync.errors import RpcError
from less_sync.sync.limits import Limits
from less_sync.sync.protocol.codes import ErrorCode
from less_sync.sync.protocol.errors import ParamsError
from less_sync.sync.protocol.frames import Request, encode_error, encode_response
from less_sync.sync.protocol.messages import Message, Params, decode_params

log = structlog.get_logger(__name__)

P = TypeVar("P", bound=Params)
A = TypeVar("A")

Work = Coroutine[object, object, None]

Submit = Callable[[Call, object, Callable[[bytes], None]], Work | None]
"""Takes a push on its way; the last argument is called once with the encoded response.

What it returns, if anything, must run to its end before the session looks at its next message.
"""


@dataclass(frozen=True, slots=True)
class Method:
    """A row that is a task of its own, or one job of the session's background task."""

    name: str
    rule: str
    """Name of the rule that says who may call it."""
    label: str
    """How error messages name its params."""
    run: Callable[[Call, object], Awaitable[Message]]
    background: bool = False
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PushMethod:
    """A row that is submitted to a lane: consecutive ones may be on their way together, replies in order."""

    name: str
    rule: str
    label: str
    submit: Submit
    aliases: tuple[str, ...] = ()


Row = Method | PushMethod


def rpc(
    name: str,
    params: type[P],
    rule: Callable[[Call, P], A],
    handler: Callable[[Call, P, A], Awaitable[Message]],
    *,
    label: str = "",
    background: bool = False,
    aliases: tuple[str, ...] = (),
) -> Method:
    """One row of the method table: what the rule yields is what the handler is given beside the params.

    Args:
        label: how error messages name the params, when not by the method's name.
    """

    async def run(call: Call, raw: object) -> Message:
        typed = decode_params(params, raw)
        return await handler(call, typed, rule(call, typed))

    return Method(name, rule.__name__, label or name, run, background, aliases)


def push_rpc(
    name: str,
    params: type[P],
    rule: Callable[[Call, P], A],
    handler: Callable[[Call, P, A, Callable[[bytes], None]], Work | None],
    *,
    label: str = "",
    denied_as: Callable[[str, ErrorCode], bytes],
) -> PushMethod:
    """The row of a method whose reply leaves from a completion callback, without a task of its own.

    Args:
        denied_as: encodes a refusal: pushes report theirs inside the result (protocol 9.2).
    """

    def submit(call: Call, raw: object, reply: Callable[[bytes], None]) -> Work | None:
        try:
            typed = decode_params(params, raw)
        except ParamsError:
            reply(_invalid_params(call.request_id, label or name))
            return None
        try:
            return handler(call, typed, rule(call, typed), reply)
        except RpcError as error:
            reply(denied_as(call.request_id, error.code))
        except Exception:
            log.exception("request failed", method=name)
            reply(denied_as(call.request_id, ErrorCode.INTERNAL))
        return None

    return PushMethod(name, rule.__name__, label or name, submit)


@dataclass(frozen=True, slots=True)
class Notice:
    """One notification clients may send. Never answered: what may not be is dropped in silence."""

    name: str
    rule: str
    run: Callable[[Call, object], None]


def notice(
    name: str, params: type[P], rule: Callable[[Call, P], A | None], handler: Callable[[Call, P, A], None]
) -> Notice:
    """One row of the notification table; a rule that yields None refuses (protocol 10)."""

    def run(call: Call, raw: object) -> None:
        try:
            typed = decode_params(params, raw)
        except ParamsError:
            return
        allowed = rule(call, typed)
        if allowed is not None:
            handler(call, typed, allowed)

    return Notice(name, rule.__name__, run)


def table(*rows: Row) -> dict[str, Row]:
    """Index rows by wire name and alias."""
    return {name: row for row in rows for name in (row.name, *row.aliases)}


async def answer(call: Call, raw: object, row: Method) -> bytes:
    """Run one request to its encoded response; every exception but cancellation becomes an error response."""
    try:
        return encode_response(call.request_id, await row.run(call, raw))
    except ParamsError:
        return _invalid_params(call.request_id, row.label)
    except RpcError as error:
        return encode_error(call.request_id, error.code, error.message)
    except StorageError as error:
        log.error("storage failed", method=row.name, error=str(error), cause=type(error.__cause__).__name__)
    except Exception:
        log.exception("request failed", method=row.name)
    return encode_error(call.request_id, ErrorCode.INTERNAL, ErrorCode.INTERNAL)


def unknown_method(request: Request, limits: Limits) -> bytes:
    """The answer to a method that is not in the table; at most `method_echo_chars` of its name are echoed."""
    echoed = request.method[: limits.method_echo_chars]
    return encode_error(request.id, ErrorCode.METHOD_NOT_FOUND, f"unknown method: {echoed}")


def _invalid_params(request_id: str, label: str) -> bytes:
    return encode_error(request_id, ErrorCode.INVALID_PARAMS, f"invalid {label} params")
