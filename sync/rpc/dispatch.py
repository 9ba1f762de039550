"""From a decoded frame to an encoded reply: params, rule, handler, exceptions to codes."""

from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import structlog
from msgspec import Struct
from msgspec.structs import replace

from less_sync.storage import StorageError
from less_sync.sync.call import Call
from less_sync.sync.errors import RpcError
from less_sync.sync.limits import Limits
from less_sync.sync.metrics import OK, OTHER, Recorder
from less_sync.sync.protocol.codes import ErrorCode
from less_sync.sync.protocol.errors import ParamsError
from less_sync.sync.protocol.frames import (
    Notification,
    Request,
    encode_decoded,
    encode_error,
    encode_response,
    encode_value,
)
from less_sync.sync.protocol.messages import Message, Params, decode_params, has_unknown

log = structlog.get_logger(__name__)

P = TypeVar("P", bound=Params)
A = TypeVar("A")

Work = Callable[[], Coroutine[object, object, None]]
"""Something to be run, once."""

Submit = Callable[[Call, object, Callable[[bytes], None]], Work | None]
"""Takes a push on its way; the last argument is called once with the encoded response.

What it returns, if anything, must run to its end before the session looks at its next message.
"""

EntriesMax = Callable[[Limits], int | None]


def unbounded(_limits: Limits) -> None:
    """The bound of lists that a handler takes as long as they come."""


Decode = Callable[[object, Limits], Message]
"""Makes typed params of raw ones, and of typed ones the same. Raises ParamsError."""

Job = Callable[[], Awaitable[Message]]
"""A request whose params are decoded and whose rule is applied: what is left is the handler."""


class Kept(Params, frozen=True):
    """Typed params that wait, with all that came with them."""

    typed: Params
    sent: bytes
    """CBOR."""


@dataclass(frozen=True, slots=True)
class Method:
    """A row that is a task of its own, or one job of the session's background task."""

    name: str
    rule: str
    """Name of the rule that says who may call it."""
    label: str
    """How error messages name its params."""
    decode: Decode
    prepare: Callable[[Call, object], Job]
    """Decodes params. Raises ParamsError, or RpcError for what can be refused without the handler."""
    background: bool = False
    writes: bool = False
    """Changes what is stored: once begun it comes to its end, whatever becomes of the session."""
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PushMethod:
    """A row that is submitted to a lane: consecutive ones may be on their way together, replies in order."""

    name: str
    rule: str
    label: str
    decode: Decode
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
    entries_max: EntriesMax = unbounded,
    background: bool = False,
    writes: bool = False,
    aliases: tuple[str, ...] = (),
) -> Method:
    """One row of the method table: what the rule yields is what the handler is given beside the params.

    Args:
        label: how error messages name the params, when not by the method's name.
        entries_max: how many entries of a list the handler accepts; the others are not even converted.
    """

    def decode(raw: object, limits: Limits) -> P:
        return decode_params(params, raw, entries_max=entries_max(limits))

    def prepare(call: Call, raw: object) -> Job:
        typed = decode(raw, call.services.limits)
        allowed = rule(call, typed)
        return lambda: handler(call, typed, allowed)

    return Method(name, rule.__name__, label or name, decode, prepare, background, writes, aliases)


def push_rpc(
    name: str,
    params: type[P],
    rule: Callable[[Call, P], A],
    handler: Callable[[Call, P, A, Callable[[bytes], None]], Work | None],
    *,
    label: str = "",
    denied_as: Callable[[str, ErrorCode], bytes],
    forwards: bool = False,
) -> PushMethod:
    """The row of a method whose reply leaves from a completion callback, without a task of its own.

    Args:
        denied_as: encodes a refusal: pushes report theirs inside the result (docs/protocol.md 7.4).
        forwards: it may go on to another server, which may know members that `params` does not: they are kept
            when the request must wait.
    """

    def decode(raw: object, limits: Limits) -> Params:
        if type(raw) is Kept:
            return raw
        # Lists are not cut: a frame has room for hardly more changes than a push may have.
        typed = decode_params(params, raw)
        return Kept(typed, encode_decoded(raw)) if forwards and has_unknown(raw, params) else typed

    def submit(call: Call, raw: object, reply: Callable[[bytes], None]) -> Work | None:
        try:
            typed = decode_params(params, raw.typed if type(raw) is Kept else raw)
        except ParamsError as error:
            payload = _invalid_params(call.request_id, label or name, error)
            reply_refused(call, name, ErrorCode.INVALID_PARAMS, payload, reply)
            return None
        call.raw = raw
        try:
            return handler(call, typed, rule(call, typed), reply)
        except RpcError as error:
            reply_refused(call, name, error.code, denied_as(call.request_id, error.code), reply)
        except Exception:
            log.exception("request failed", method=name)
            payload = denied_as(call.request_id, ErrorCode.INTERNAL)
            reply_refused(call, name, ErrorCode.INTERNAL, payload, reply)
        finally:
            call.raw = None
        return None

    return PushMethod(name, rule.__name__, label or name, decode, submit)


def reply_refused(call: Call, method: str, code: str, payload: bytes, reply: Callable[[bytes], None]) -> None:
    """Send the answer to a push that got no further than its rule, and count it."""
    call.services.metrics.answered(method, code, 0.0, 1, len(payload))
    reply(payload)


@dataclass(frozen=True, slots=True)
class Notice:
    """One notification clients may send. Never answered: what may not be is dropped in silence."""

    name: str
    rule: str
    decode: Decode
    run: Callable[[Call, object], Work | None]
    """What it returns, if anything, must run to its end before the session looks at its next message."""


def notice(
    name: str, params: type[P], rule: Callable[[Call, P], A | None], handler: Callable[[Call, P, A], None]
) -> Notice:
    """One row of the notification table; a rule that yields None refuses (docs/protocol.md 8)."""

    def decode(raw: object, limits: Limits) -> P:
        return decode_params(params, raw)

    def run(call: Call, raw: object) -> None:
        try:
            typed = decode(raw, call.services.limits)
        except ParamsError:
            return
        allowed = rule(call, typed)
        if allowed is not None:
            handler(call, typed, allowed)

    return Notice(name, rule.__name__, decode, run)


def as_sent(raw: object, typed: Params) -> bytes:
    """Params to be sent on, in CBOR: with those members that are unknown here."""
    if type(raw) is Kept:
        return raw.sent
    return encode_decoded(raw) if has_unknown(raw, type(typed)) else encode_value(typed)


def table(*rows: Row) -> dict[str, Row]:
    """Index rows by wire name and alias."""
    return {name: row for row in rows for name in (row.name, *row.aliases)}


@dataclass(frozen=True, slots=True)
class MethodTable:
    """What a connection of one kind may say."""

    methods: Mapping[str, Row]
    """By wire name and alias."""
    notices: Mapping[str, Notice]

    def typed(self, message: Request | Notification, limits: Limits) -> Request | Notification:
        """The same message with its params decoded, for one that must wait.

        Raw params may have whatever fits a frame, in hundreds of thousands of objects; typed ones have what
        the method knows. Those that cannot be decoded are refused when their turn has come.
        """
        rows: Mapping[str, Row | Notice] = self.methods if isinstance(message, Request) else self.notices
        row = rows.get(message.method)
        params: object = None
        if row is not None:
            try:
                params = row.decode(message.params, limits)
            except ParamsError as error:
                params = ParamsError(error.detail)  # a new one: a traceback would keep the raw params
        return replace(message, params=params)


class Refusal(NamedTuple):
    """An answer that is known before the handler runs."""

    payload: bytes
    code: str


@dataclass(slots=True)  # not frozen: one is made for each request, at a third of the cost
class Prepared:
    """A request that waits for its turn: typed, so that what is kept is bounded by what its params allow."""

    call: Call
    row: Method
    job: Job | Refusal
    spaces: int
    arrived_s: float

    async def answer(self) -> bytes:
        """Run the request to its encoded response; every exception but cancellation becomes an error."""
        payload, code = self.job if isinstance(self.job, Refusal) else await self._run(self.job)
        seconds = self.call.services.clock() - self.arrived_s
        self.call.services.metrics.answered(self.row.name, code, seconds, self.spaces, len(payload))
        return payload

    async def _run(self, job: Job) -> tuple[bytes, str]:
        request_id = self.call.request_id
        try:
            return encode_response(request_id, await job()), OK
        except RpcError as error:
            return encode_error(request_id, error.code, error.message), error.code
        except StorageError as error:
            log_storage_fault(self.row.name, error)
        except Exception:
            log.exception("request failed", method=self.row.name)
        return encode_error(request_id, ErrorCode.INTERNAL, ErrorCode.INTERNAL), ErrorCode.INTERNAL


def prepare(call: Call, raw: object, row: Method) -> Prepared:
    """Decode the params and apply the rule; `raw` is not needed any more after it."""
    arrived_s = call.services.clock()
    job: Job | Refusal
    try:
        job = row.prepare(call, raw)
    except ParamsError as error:
        job = Refusal(_invalid_params(call.request_id, row.label, error), ErrorCode.INVALID_PARAMS)
    except RpcError as error:
        job = Refusal(encode_error(call.request_id, error.code, error.message), error.code)
    except Exception:
        log.exception("request failed", method=row.name)
        internal = encode_error(call.request_id, ErrorCode.INTERNAL, ErrorCode.INTERNAL)
        job = Refusal(internal, ErrorCode.INTERNAL)
    return Prepared(call, row, job, spaces_named(raw), arrived_s)


def spaces_named(params: object) -> int:
    """How many spaces params name, raw or typed: for the record alone."""
    if isinstance(params, Struct):
        spaces, one = getattr(params, "spaces", None), hasattr(params, "space")
    elif isinstance(params, Mapping):
        spaces, one = params.get("spaces"), "space" in params
    else:
        return 0
    return len(spaces) if isinstance(spaces, list) else int(one)


def log_storage_fault(method: str, error: StorageError) -> None:
    """Say that a request failed for a fault of the database, by its kind alone."""
    log.error("storage failed", method=method, error=str(error), cause=type(error.__cause__).__name__)


def unknown_method(metrics: Recorder, request: Request, limits: Limits) -> bytes:
    """The answer to a method that is not in the table; at most `method_echo_chars` of its name are echoed."""
    echoed = request.method[: limits.method_echo_chars]
    payload = encode_error(request.id, ErrorCode.METHOD_NOT_FOUND, f"unknown method: {echoed}")
    metrics.answered(OTHER, ErrorCode.METHOD_NOT_FOUND, 0.0, 0, len(payload))
    return payload


def _invalid_params(request_id: str, label: str, error: ParamsError) -> bytes:
    return encode_error(request_id, ErrorCode.INVALID_PARAMS, f"invalid {label} params: {error.detail}")
