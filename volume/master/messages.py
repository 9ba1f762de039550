"""The messages of a heartbeat, made of reports (docs/volume.md 5.2)."""

from collections.abc import Iterable, Sequence
from typing import Final

from less_sync.volume.engine.reports import DiskReport, VolumeReport
from less_sync.volume.grpc.protos import master_pb2 as pb
from less_sync.volume.master.digest import Digests
from less_sync.volume.master.reports import Change
from less_sync.volume.options import Options

_COUNT_MAX: Final = (1 << 32) - 1
"""A master that names a tiny size for volumes makes room for more than the protocol can say."""
_Place = tuple[int, int]
"""Volume and disk."""


class HeartbeatMessages:
    """Makes the messages of one connection: remembers what its master has been told."""

    def __init__(self, options: Options) -> None:
        self._options: Final = options
        self._digests: Final = Digests()
        self._told: dict[_Place, tuple[VolumeReport, int]] = {}

    def volumes(
        self, reports: Sequence[VolumeReport], disks: Sequence[DiskReport], *, full: bool
    ) -> pb.Heartbeat:
        """The regular message: all volumes, or those that changed since they were last told."""
        message = self._identity()
        hashes, digest = self._digests.of(reports)
        told = {(report.id, report.disk_id): (report, found) for report, found in hashes.items()}
        if full:
            message.volumes.extend(_volume(report) for report in reports)
            message.has_no_volumes = not reports
        else:
            before = self._told
            message.changed_volumes.extend(
                _volume(report)
                for place, (report, _) in told.items()
                if not _same(before.get(place), told[place])
            )
            held = {volume_id for volume_id, _ in told}
            message.deleted_volumes.extend(
                _short(report) for (volume_id, _), (report, _) in before.items() if volume_id not in held
            )
        message.volume_digest = digest
        message.has_no_ec_shards = True
        _add_disks(message, disks)
        self._told = told
        return message

    def ec_shards(self) -> pb.Heartbeat:
        """The regular message about erasure-coded volumes: there are none."""
        return pb.Heartbeat(has_no_ec_shards=True)

    def changes(self, changes: Sequence[Change]) -> pb.Heartbeat:
        """Volumes that came, or that went: never both kinds in one message."""
        message = self._short_identity()
        told = message.new_volumes if changes[0].added else message.deleted_volumes
        told.extend(
            pb.VolumeShortInformationMessage(
                id=change.volume_id,
                collection=change.collection,
                replica_placement=change.placement,
                version=change.version,
                ttl=change.ttl,
                disk_type=change.disk_type,
                disk_id=change.disk_id,
            )
            for change in changes
        )
        return message

    def farewell(self) -> pb.Heartbeat:
        """The last message: this server has no volumes any more."""
        message = self._short_identity()
        message.public_url = self._options.public_url
        message.has_no_volumes = True
        return message

    def _short_identity(self) -> pb.Heartbeat:
        options = self._options
        return pb.Heartbeat(
            ip=options.ip, port=options.port, data_center=options.data_centre, rack=options.rack
        )

    def _identity(self) -> pb.Heartbeat:
        message = self._short_identity()
        message.grpc_port = self._options.grpc_port
        message.public_url = self._options.public_url
        message.id = self._options.server_id
        return message


def runs_of_one_kind(changes: Iterable[Change]) -> list[list[Change]]:
    """Changes in their order, cut where comings turn into goings and back."""
    runs: list[list[Change]] = []
    for change in changes:
        if runs and runs[-1][0].added == change.added:
            runs[-1].append(change)
        else:
            runs.append([change])
    return runs


def _same(before: tuple[VolumeReport, int] | None, now: tuple[VolumeReport, int]) -> bool:
    return before is not None and before[1] == now[1]


def _add_disks(message: pb.Heartbeat, disks: Sequence[DiskReport]) -> None:
    for disk in disks:
        kind = disk.disk_type
        message.max_file_key = max(message.max_file_key, disk.max_file_key)
        message.location_uuids.append(disk.uuid)
        message.disk_tags.append(
            pb.DiskTag(
                disk_id=disk.disk_id,
                tags=disk.tags,
                type=kind,
                max_volume_count=min(disk.max_volumes, _COUNT_MAX),
            )
        )
        message.disk_total_bytes[kind] += disk.total_bytes
        message.disk_free_bytes[kind] += disk.free_bytes
        if disk.healthy:
            slots = message.max_volume_counts[kind] + disk.slots
            message.max_volume_counts[kind] = min(slots, _COUNT_MAX)


def _volume(report: VolumeReport) -> pb.VolumeInformationMessage:
    return pb.VolumeInformationMessage(
        id=report.id,
        size=report.size,
        collection=report.collection,
        file_count=report.file_count,
        delete_count=report.deleted_count,
        deleted_byte_count=report.deleted_bytes,
        read_only=report.read_only,
        replica_placement=report.placement,
        version=report.version,
        ttl=report.ttl,
        compact_revision=report.revision,
        modified_at_second=report.modified_s,
        remote_storage_name=report.remote_name,
        remote_storage_key=report.remote_key,
        disk_type=report.disk_type,
        disk_id=report.disk_id,
    )


def _short(report: VolumeReport) -> pb.VolumeShortInformationMessage:
    return pb.VolumeShortInformationMessage(
        id=report.id,
        collection=report.collection,
        replica_placement=report.placement,
        version=report.version,
        ttl=report.ttl,
        disk_type=report.disk_type,
        disk_id=report.disk_id,
    )
