"""The HTTP side of a volume server: both listeners and the handlers behind them."""

import asyncio
import ssl
from typing import TYPE_CHECKING, Final

from less_sync.volume.http.bodies import BodyPool
from less_sync.volume.http.chunk_deletion import ChunkDeletion
from less_sync.volume.http.delete import DeleteHandler
from less_sync.volume.http.dispatch import Dispatch, server_line
from less_sync.volume.http.handlers import Handler
from less_sync.volume.http.limits import InFlight, Limits
from less_sync.volume.http.listener import Listener
from less_sync.volume.http.mime import Types
from less_sync.volume.http.read import ReadHandler
from less_sync.volume.http.replicate import Replication
from less_sync.volume.http.status import HealthHandler, StatusHandler
from less_sync.volume.http.ui import PageHandler
from less_sync.volume.http.usual import Usual
from less_sync.volume.http.usual_reads import UsualReads
from less_sync.volume.http.usual_writes import UsualWrites
from less_sync.volume.http.write import WriteHandler
from less_sync.volume.version import server_version

if TYPE_CHECKING:
    from less_sync.volume.services import Services

AROUND_FILE_BYTES: Final = 1 << 20
"""What a body may have around the file in it: the framing of a multipart body and its other parts."""


class HttpServer:
    """The admin listener, and a public one that only reads if its port differs."""

    def __init__(self, services: "Services") -> None:
        options = services.options
        self.limits: Final = Limits(
            InFlight(options.upload_bytes_max, options.upload_wait_s),
            InFlight(options.download_bytes_max, options.download_wait_s),
        )
        self._options: Final = options
        self._pool: Final = BodyPool()
        self._counters: Final = services.counters
        types = Types()
        replication = Replication(services, types)
        read = ReadHandler(services, self.limits, types)
        write = WriteHandler(services, self.limits.uploads, types, replication)
        delete = DeleteHandler(services, replication, ChunkDeletion(services))
        health = HealthHandler(services)
        pages: dict[str, Handler] = {
            "/status": StatusHandler(services),
            "/healthz": health,
            "/readyz": health,
        }
        if services.security.ui_allowed:
            pages["/ui/index.html"] = PageHandler(services)
        name = f"SeaweedFS Volume {server_version(options.offset_bytes)}"
        usual_reads = UsualReads(services, self.limits.downloads, types)
        usual_writes = UsualWrites(services, self.limits.uploads, replication, types)
        reads: dict[str, Handler] = {"GET": read, "HEAD": read}
        self._admin: Final = self._listener(
            Dispatch(name, pages, {**reads, "POST": write, "PUT": write, "DELETE": delete}),
            Usual(server_line(name), self.limits, usual_reads, usual_writes),
        )
        self._public: Final = (
            self._listener(
                Dispatch(name, {}, reads),
                Usual(server_line(name), self.limits, usual_reads),
                is_public=True,
            )
            if options.public_port != options.port
            else None
        )

    async def start(self, tls: ssl.SSLContext | None = None) -> None:
        """Listen: first in public, then for all. `tls` is for the admin listener alone.

        Raises:
            OSError: an address cannot be had.
        """
        options = self._options
        if self._public is not None:
            await self._public.start(options.bind, options.public_port)
        await self._admin.start(options.bind, options.port, tls)

    async def stop(self) -> None:
        """Let running requests finish, for a bounded time, and close all connections."""
        listeners = [one for one in (self._public, self._admin) if one is not None]
        await asyncio.gather(*(one.stop() for one in listeners))

    def _listener(self, dispatch: Dispatch, usual: Usual, *, is_public: bool = False) -> Listener:
        return Listener(
            dispatch.route,
            self._counters,
            self._pool,
            body_bytes_max=self._options.file_bytes_max + AROUND_FILE_BYTES,
            idle_s=self._options.idle_timeout_s,
            is_public=is_public,
            usual=usual,
        )
