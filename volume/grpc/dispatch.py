"""From a method's name and bytes to its row: decoding, white list, maintenance, handler, status."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from typing import Any, Final, NoReturn, TypeAlias

import grpc
import grpc.aio
from google.protobuf.message import DecodeError, Message

from less_sync.volume.grpc.errors import CallError, status_of
from less_sync.volume.grpc.limits import CALLS_MAX
from less_sync.volume.grpc.maintenance import refuse_in_maintenance
from less_sync.volume.grpc.peers import peer_ip
from less_sync.volume.grpc.row import Kind, Maintenance, Row
from less_sync.volume.grpc.tls import AllowedNames
from less_sync.volume.logs import Logger
from less_sync.volume.request_id import CURRENT, HEADER
from less_sync.volume.services import Services

_log = Logger(__name__)
SERVICE: Final = "volume_server_pb.VolumeServer"
REQUEST_ID_CHARS_MAX: Final = 256
"""A longer one is replaced."""
_Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
_Method: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
_Behaviour: TypeAlias = Callable[[Any, _Context], Any]


class Dispatch(grpc.GenericRpcHandler):
    """Answers every method there is, and every one there is not."""

    def __init__(
        self, services: Services, rows: Sequence[Row], allowed_names: AllowedNames | None = None
    ) -> None:
        self._services: Final = services
        self._allowed_names: Final = allowed_names
        self._running: Final[set[asyncio.Task[Any]]] = set()
        self._handlers: Final[Mapping[str, _Method]] = {
            f"/{SERVICE}/{row.name}": self._method(row) for row in rows
        }

    def service(self, details: grpc.HandlerCallDetails) -> _Method:
        """The handler of a method, or one that says that there is none."""
        method = details.method
        return self._handlers.get(method) or grpc.stream_stream_rpc_method_handler(_refuser(method))

    async def stop(self) -> None:
        """Cancel what still runs and wait for its end. To be called when no more calls come."""
        running = list(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    def _method(self, row: Row) -> _Method:
        # Decoding is ours, because grpcio words a failure of its own otherwise.
        kinds: dict[Kind, tuple[Callable[..., _Method], Callable[[Row], _Behaviour]]] = {
            Kind.UNARY: (grpc.unary_unary_rpc_method_handler, self._unary),
            Kind.SERVER_STREAM: (grpc.unary_stream_rpc_method_handler, self._server_stream),
            Kind.CLIENT_STREAM: (grpc.stream_unary_rpc_method_handler, self._client_stream),
        }
        maker, behaviour = kinds[row.kind]
        return maker(behaviour(row), response_serializer=_serialized)

    def _unary(self, row: Row) -> _Behaviour:
        async def answer(raw: bytes, context: _Context) -> Message:
            CURRENT.set(_request_id(context))
            context.set_trailing_metadata(((HEADER, CURRENT.get()),))
            request: Message | None = None
            try:
                request = _decoded(row, raw)
                handler = self._admitted(row, context)
                answered: Message = await self._to_the_end(row, handler(self._services, request))
                return answered
            except Exception as error:
                status = status_of(error, row.name)
            # grpcio keeps the exception that aborts a call for a while, and that keeps this frame.
            del raw, request
            return await _abort(context, *status)

        return answer

    def _server_stream(self, row: Row) -> _Behaviour:
        async def answer(raw: bytes, context: _Context) -> None:
            has_gone = False

            async def send(message: Message) -> None:
                if has_gone:
                    raise CallError("interrupted")
                try:
                    await context.write(message)
                except grpc.aio.InternalError:  # the client has gone, and grpcio has not told us yet
                    raise CallError("interrupted") from None

            request: Message | None = None
            work: Coroutine[Any, Any, Any] | None = None
            try:
                request = _decoded(row, raw)
                work = self._admitted(row, context)(self._services, request, send)
                await (self._to_the_end(row, work) if row.is_lasting else work)
            except asyncio.CancelledError:
                has_gone = True
                raise
            except Exception as error:
                status = status_of(error, row.name)
            else:
                return
            del raw, request, work  # as above
            await _abort(context, *status)

        return answer

    def _client_stream(self, row: Row) -> _Behaviour:
        async def answer(_messages: AsyncIterator[bytes], context: _Context) -> None:
            try:
                self._admitted(row, context)
            except CallError as error:
                status = status_of(error, row.name)
            await _abort(context, *status)

        return answer

    def _admitted(self, row: Row, context: _Context) -> Callable[..., Coroutine[Any, Any, Any]]:
        """The handler, once white list and maintenance are passed.

        Raises:
            CallError: they are not, or there is no handler.
        """
        if self._allowed_names is not None:
            _refuse_other_names(self._allowed_names, context)
        if row.is_guarded:
            ip = peer_ip(context.peer())
            if ip is None:
                raise CallError("no peer info", grpc.StatusCode.PERMISSION_DENIED)
            if not self._services.security.listed(ip):
                raise CallError(f"not authorized: {ip}", grpc.StatusCode.PERMISSION_DENIED)
        if row.maintenance is Maintenance.REFUSED:
            refuse_in_maintenance(self._services)
        if row.handler is None:
            raise CallError(f"method {row.name} not implemented", grpc.StatusCode.UNIMPLEMENTED)
        return row.handler

    async def _to_the_end(self, row: Row, work: Coroutine[Any, Any, Any]) -> Any:
        """Do the work whether or not its client waits for it."""
        if len(self._running) >= CALLS_MAX:
            work.close()
            raise CallError("too many calls", grpc.StatusCode.RESOURCE_EXHAUSTED)

        def ended(task: asyncio.Task[Any]) -> None:
            self._running.discard(task)
            if not task.cancelled() and (error := task.exception()) is not None:
                _log.debug("call ended with an error", method=row.name, kind=type(error).__name__)

        task = asyncio.ensure_future(work)
        self._running.add(task)
        task.add_done_callback(ended)
        try:
            return await asyncio.shield(task)
        finally:
            # An exception holds this frame and the task the exception: with the request, which may be huge,
            # they would stay until the collector comes, and that is seldom.
            del task


def _serialized(message: Message) -> bytes:
    return message.SerializeToString()


def _decoded(row: Row, raw: bytes) -> Message:
    try:
        return row.request.FromString(raw)
    except DecodeError as error:
        text = f"grpc: error unmarshalling request: {error}"
        raise CallError(text, grpc.StatusCode.INTERNAL) from None


def _refuse_other_names(allowed: AllowedNames, context: _Context) -> None:
    """Let only those through whose certificate has one of the names. Over plain text nobody has one."""
    found = list(context.auth_context().get("x509_common_name", ()))
    name = found[0].decode(errors="replace") if found else ""
    if not allowed.allow(name):
        text = f"invalid subject client common name: {name}"
        raise CallError(text, grpc.StatusCode.UNAUTHENTICATED)


def _request_id(context: _Context) -> str:
    """The first that the client names, or a new one."""
    for key, value in context.invocation_metadata() or ():
        if key == HEADER and value:
            return str(value) if len(value) <= REQUEST_ID_CHARS_MAX else str(uuid.uuid4())
    return str(uuid.uuid4())


def _refuser(method: str) -> _Behaviour:
    service, _, name = method.removeprefix("/").rpartition("/")
    if not service:
        text = f'malformed method name: "{method}"'
    elif service == SERVICE:
        text = f"unknown method {name} for service {service}"
    else:
        text = f"unknown service {service}"

    async def refuse(_messages: AsyncIterator[bytes], context: _Context) -> None:
        await _abort(context, *status_of(CallError(text, grpc.StatusCode.UNIMPLEMENTED), method))

    return refuse


async def _abort(context: _Context, code: grpc.StatusCode, text: str) -> NoReturn:
    await context.abort(code, text)
