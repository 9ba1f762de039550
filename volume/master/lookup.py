"""Where volumes are, as the current master tells; good answers are kept for ten minutes."""

import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple

import grpc.aio

from less_sync.volume.grpc.protos import master_pb2 as pb
from less_sync.volume.master.channels import go_error_text
from less_sync.volume.options import PORT_MAX, parse_address

if TYPE_CHECKING:
    from less_sync.volume.master.channels import Channels
    from less_sync.volume.master.masters import Masters

KEPT_S: Final = 600.0
VOLUMES_MAX: Final = 10_000
TIMEOUT_S: Final = 10.0
_PLAIN: Final = re.compile(r"[^\s\x00-\x1f\x7f]+\Z")


class Place(NamedTuple):
    """A server that holds a volume."""

    url: str
    """`host:port` of its HTTP listener."""
    public_url: str
    grpc_port: int
    """0: as far above the HTTP port as usual."""

    @property
    def grpc_address(self) -> str:
        """`host:port` of its gRPC listener."""
        return parse_address(f"{self.url}.{self.grpc_port}" if self.grpc_port else self.url).grpc


class LookupFailed(Exception):
    """The master could not be asked; the text is what clients are told."""


class Lookup:
    """Asks the current master, and remembers where a volume is; never that it is nowhere."""

    def __init__(
        self, masters: "Masters", channels: "Channels", *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._masters: Final = masters
        self._channels: Final = channels
        self._monotonic: Final = monotonic
        self._kept: Final[dict[int, tuple[float, list[Place]]]] = {}

    async def find(self, volume_id: int) -> list[Place]:
        """All places of a volume; none if the master does not know it.

        Raises:
            LookupFailed: there is no master to ask, or it did not answer.
        """
        kept = self._kept.get(volume_id)
        if kept is not None and self._monotonic() < kept[0]:
            return kept[1]
        places = await self._ask(volume_id)
        self._kept.pop(volume_id, None)
        if places:
            while len(self._kept) >= VOLUMES_MAX:
                del self._kept[next(iter(self._kept))]
            self._kept[volume_id] = (self._monotonic() + KEPT_S, places)
        return places

    def forget(self, volume_id: int) -> None:
        """Ask again at the next use: what was remembered has proved wrong."""
        self._kept.pop(volume_id, None)

    async def _ask(self, volume_id: int) -> list[Place]:
        master = self._masters.current
        if master is None:
            raise LookupFailed("no master is known yet")
        request = pb.LookupVolumeRequest(volume_or_file_ids=[str(volume_id)])
        try:
            answer = await self._channels.call(
                master.grpc,
                "/master_pb.Seaweed/LookupVolume",
                request,
                pb.LookupVolumeResponse,
                timeout_s=TIMEOUT_S,
            )
        except grpc.aio.AioRpcError as error:
            raise LookupFailed(go_error_text(error)) from error
        return [
            Place(one.url, one.public_url, one.grpc_port)
            for entry in answer.volume_id_locations
            if not entry.error
            for one in entry.locations
            if _is_place(one)
        ]


def _is_place(place: pb.Location) -> bool:
    """Whether others may rely on it: a host and ports, and nothing that would end a line of a head."""
    if not (_PLAIN.match(place.url) and _PLAIN.match(place.public_url or place.url)):
        return False
    try:
        return bool(parse_address(f"{place.url}.{place.grpc_port or PORT_MAX}").host)
    except ValueError:
        return False
