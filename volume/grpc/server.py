"""The gRPC listener: HTTP/2 in plain text or with mutual TLS, on the loop that serves HTTP as well."""

from typing import Any, Final

import grpc.aio

from less_sync.volume.grpc import limits
from less_sync.volume.grpc.dispatch import Dispatch
from less_sync.volume.grpc.table import CALLS
from less_sync.volume.grpc.tls import allowed_names, server_credentials
from less_sync.volume.logs import Logger
from less_sync.volume.services import Services

_log = Logger(__name__)
OPTIONS: Final[tuple[tuple[str, Any], ...]] = (
    ("grpc.max_receive_message_length", limits.MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", limits.MESSAGE_BYTES_MAX),
    ("grpc.max_concurrent_streams", limits.STREAMS_MAX),
    ("grpc.max_metadata_size", limits.HEADERS_BYTES_MAX),
    ("grpc.absolute_max_metadata_size", limits.HEADERS_BYTES_MAX),
    ("grpc.http2.lookahead_bytes", limits.WINDOW_BYTES),
    ("grpc.keepalive_time_ms", limits.PING_AFTER_MS),
    ("grpc.keepalive_timeout_ms", limits.PING_ANSWER_MS),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", limits.PINGS_APART_MS),
    ("grpc.keepalive_permit_without_calls", 1),
    # Two servers would share a port otherwise, and nobody would notice.
    ("grpc.so_reuseport", 0),
)


class GrpcServer:
    """One listener, from `start` to `stop`."""

    def __init__(self, services: Services) -> None:
        self._services: Final = services
        self._dispatch: Final = Dispatch(services, CALLS, allowed_names(services.security.settings))
        self._server: Final = grpc.aio.server(
            handlers=(self._dispatch,), options=OPTIONS, maximum_concurrent_rpcs=limits.CALLS_MAX
        )

    async def start(self) -> int:
        """Listen, and return the port.

        Raises:
            OSError: the address cannot be had.
        """
        options = self._services.options
        host = f"[{options.bind}]" if ":" in options.bind else options.bind
        address = f"{host}:{options.grpc_port}"
        credentials = server_credentials(self._services.security.settings)
        try:
            if credentials is None:
                port = self._server.add_insecure_port(address)
            else:
                port = self._server.add_secure_port(address, credentials)
        except RuntimeError as error:
            raise OSError(f"cannot listen on {address} for gRPC") from error
        await self._server.start()
        return port

    async def stop(self) -> None:
        """Take no more calls and let those under way end; what is not over after `STOP_S` is cancelled."""
        await self._server.stop(limits.STOP_S)
        await self._dispatch.stop()
