"""Outgoing gRPC channels to masters and peers: one for each address, shared by all unary calls.

A channel is dropped after a failure that may have been its own, so that the next call connects anew at once
instead of waiting out the back-off of a dead connection. Streams take a channel of their own (`open`).
"""

import asyncio
from collections.abc import Iterator
from typing import Any, Final, Protocol

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from less_sync.volume.request_id import CURRENT, HEADER

MESSAGE_BYTES_MAX: Final = 1 << 30
CHANNELS_MAX: Final = 256
RETIRING_S_MAX: Final = 60.0
OPTIONS: Final = (
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.keepalive_permit_without_calls", 0),
    # Channels of one process would share connections otherwise, and a fresh channel would not be fresh.
    ("grpc.use_local_subchannel_pool", 1),
)
_DROPPED_AFTER: Final = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
    }
)
_INTERNAL: Final = grpc.StatusCode.INTERNAL
_NO_METADATA: Final = grpc.aio.Metadata()
_GO_NAMES: Final = {
    code: "OK" if code is grpc.StatusCode.OK else "".join(word.capitalize() for word in code.name.split("_"))
    for code in grpc.StatusCode
} | {grpc.StatusCode.CANCELLED: "Canceled"}


class Message(Protocol):
    """What a generated message offers."""

    def SerializeToString(self) -> bytes:
        """The bytes for the wire."""


class Channels:
    """Channels by gRPC address (`host:port`), at most `channels_max`: the one unused for longest goes."""

    def __init__(
        self, credentials: grpc.ChannelCredentials | None = None, *, channels_max: int = CHANNELS_MAX
    ) -> None:
        self._channels_max: Final = channels_max
        self._credentials: Final = credentials
        self._channels: Final[dict[str, grpc.aio.Channel]] = {}
        self._retiring: Final[set[asyncio.Task[None]]] = set()

    def __len__(self) -> int:
        return len(self._channels)

    def __iter__(self) -> Iterator[str]:
        return iter(self._channels)

    def open(self, address: str) -> grpc.aio.Channel:
        """A fresh channel, which its caller closes: for streams and transfers."""
        if self._credentials is None:
            return grpc.aio.insecure_channel(address, options=OPTIONS)
        return grpc.aio.secure_channel(address, self._credentials, options=OPTIONS)

    async def call(
        self,
        address: str,
        method: str,
        request: Message,
        answer: type[Any],
        *,
        timeout_s: float | None = None,
    ) -> Any:
        """Make one unary call over the shared channel; `method` is `/package.Service/Name`.

        Raises:
            grpc.aio.AioRpcError: it failed; an unreachable server fails it at once.
        """
        channel = self._shared(address)
        call: grpc.aio.UnaryUnaryMultiCallable[Any, bytes] = channel.unary_unary(
            method, request_serializer=type(request).SerializeToString
        )
        try:
            return decoded(answer, await call(request, timeout=timeout_s, metadata=_metadata()))
        except grpc.aio.AioRpcError as error:
            own = timeout_s is not None and error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            if error.code() in _DROPPED_AFTER and not own and self._channels.get(address) is channel:
                self._retire(self._channels.pop(address))
            raise

    async def close(self) -> None:
        """Close all of them; calls under way fail."""
        for task in self._retiring:
            task.cancel()
        await asyncio.gather(*self._retiring, return_exceptions=True)
        while self._channels:
            _, channel = self._channels.popitem()
            await channel.close()

    def _shared(self, address: str) -> grpc.aio.Channel:
        channel = self._channels.pop(address, None) or self.open(address)
        self._channels[address] = channel
        if len(self._channels) > self._channels_max:
            self._retire(self._channels.pop(next(iter(self._channels))))
        return channel

    def _retire(self, channel: grpc.aio.Channel) -> None:
        """Close a channel once the calls of others that use it have had their time."""
        task = asyncio.create_task(channel.close(RETIRING_S_MAX))
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)


def decoded(answer: type[Any], raw: bytes) -> Any:
    """The message in `raw`. Decoding is ours, because grpcio gives None for what it cannot decode.

    Raises:
        grpc.aio.AioRpcError: that is no such message.
    """
    try:
        return answer.FromString(raw)
    except DecodeError:
        text = "grpc: failed to unmarshal the received message"
        raise grpc.aio.AioRpcError(_INTERNAL, _NO_METADATA, _NO_METADATA, details=text) from None


def _metadata() -> tuple[tuple[str, str], ...]:
    """The id of the request that the call serves, if it serves one."""
    current = CURRENT.get()
    return ((HEADER, current),) if current else ()


def go_error_text(error: grpc.aio.AioRpcError) -> str:
    """The error as existing servers print it: `rpc error: code = Unavailable desc = ...`."""
    return f"rpc error: code = {_GO_NAMES[error.code()]} desc = {error.details() or ''}"
