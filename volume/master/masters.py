"""The masters of this server: which is current, whether we still report to it, and unary calls to it."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import grpc.aio

from less_sync.volume.grpc.protos import master_pb2 as pb
from less_sync.volume.logs import Logger
from less_sync.volume.master.channels import Channels, Message, go_error_text
from less_sync.volume.options import Address, parse_address

_log = Logger(__name__)
SERVICE: Final = "/master_pb.Seaweed/"
ROUND_PAUSE_S: Final = 1.79
CALL_S: Final = 5.0


class MasterFailed(Exception):
    """A master refused or could not be asked; the text is what clients are told."""


class Configuration(NamedTuple):
    """What a master says before a server loads its volumes."""

    metrics_address: str
    metrics_interval_s: int


@dataclass(frozen=True, slots=True)
class Mark:
    """A volume whose state is told to the master."""

    volume_id: int
    collection: str
    placement: int
    ttl: int
    disk_type: str


@dataclass(slots=True)
class Masters:
    """`current` is the master last connected to, also while it cannot be reached; None before the first."""

    options_addresses: Sequence[Address]
    channels: Channels
    own_ip: str
    own_port: int
    current: Address | None = None
    leaving: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once this server no longer reports to a master, for good: it stops, or was told to leave."""

    @property
    def heartbeating(self) -> bool:
        """Whether this server reports to a master. False for good after `leave`."""
        return not self.leaving.is_set()

    def leave(self) -> None:
        """End reporting for good; the heartbeat task tells the master. Again: nothing more happens."""
        self.leaving.set()

    def knows(self, target: str) -> bool:
        """Whether `target` (`host:port` or `host:port.grpcPort`) is the current master or one configured."""
        try:
            address = parse_address(target)
        except ValueError:
            return False
        known = [*self.options_addresses, *([self.current] if self.current else [])]
        return any(address.http == one.http for one in known)

    async def configuration(self) -> Configuration:
        """Ask the masters in turn until one answers, for ever: without a master nothing is served."""
        while True:
            for address in self.options_addresses:
                try:
                    answer = await self._ask(address, "GetMasterConfiguration")
                except grpc.aio.AioRpcError as error:
                    _log.warning("master does not answer", master=address.http, code=error.code().name)
                else:
                    return Configuration(answer.metrics_address, answer.metrics_interval_seconds)
            await asyncio.sleep(ROUND_PAUSE_S)

    async def mark_read_only(self, mark: Mark, read_only: bool) -> None:
        """Tell the master, or the leader if it is none, that a volume may be written no longer, or again.

        Raises:
            MasterFailed: neither took it.
        """
        request = pb.VolumeMarkReadonlyRequest(
            ip=self.own_ip,
            port=self.own_port,
            volume_id=mark.volume_id,
            collection=mark.collection,
            replica_placement=mark.placement,
            ttl=mark.ttl,
            disk_type=mark.disk_type,
            is_readonly=read_only,
        )
        master = self.current
        if master is None:
            raise MasterFailed("no master is known yet")
        kind = "read only" if read_only else "writable"
        try:
            await self._call(master, "VolumeMarkReadonly", request, pb.VolumeMarkReadonlyResponse)
        except grpc.aio.AioRpcError as error:
            if "Not current leader" not in (error.details() or ""):
                raise MasterFailed(_marking_failed(master, mark, kind, error)) from error
        else:
            return
        leader = await self._leader(master)
        try:
            await self._call(leader, "VolumeMarkReadonly", request, pb.VolumeMarkReadonlyResponse)
        except grpc.aio.AioRpcError as error:
            raise MasterFailed(_marking_failed(leader, mark, kind, error)) from error

    async def ping(self, target: str) -> int:
        """The time of the master at `target` in nanoseconds since 1970.

        Raises:
            MasterFailed: it does not answer; `ping master TARGET: ...`.
        """
        try:
            address = parse_address(target)
        except ValueError as error:
            raise MasterFailed(f"ping master {target}: no address") from error
        try:
            answer = await self._call(address, "Ping", pb.PingRequest(), pb.PingResponse, timeout_s=CALL_S)
        except grpc.aio.AioRpcError as error:
            raise MasterFailed(f"ping master {target}: {go_error_text(error)}") from error
        return int(answer.start_time_ns)

    async def _leader(self, rejected: Address) -> Address:
        fault = "no master names a leader"
        for address in self.options_addresses:
            try:
                answer = await self._ask(address, "GetMasterConfiguration")
                if answer.leader:
                    return parse_address(answer.leader)
            except grpc.aio.AioRpcError as error:
                fault = go_error_text(error)
            except ValueError:
                fault = f"master {address.http} names a leader that is no address"
        raise MasterFailed(
            f"heartbeat master {rejected.http} rejected mark-readonly and leader lookup failed: {fault}"
        )

    async def _ask(self, address: Address, method: str) -> Any:
        request = pb.GetMasterConfigurationRequest()
        return await self._call(address, method, request, pb.GetMasterConfigurationResponse, timeout_s=CALL_S)

    async def _call(
        self, address: Address, method: str, request: Message, answer: type[Any], *, timeout_s: float = 30.0
    ) -> Any:
        return await self.channels.call(address.grpc, SERVICE + method, request, answer, timeout_s=timeout_s)


def _marking_failed(master: Address, mark: Mark, kind: str, error: grpc.aio.AioRpcError) -> str:
    return (
        f"grpc VolumeMarkReadonly with master {master.http}: "
        f"set volume {mark.volume_id} to {kind} on master: {go_error_text(error)}"
    )
