"""Making, mounting, moving, changing and deleting volumes."""

from less_sync.volume.engine.errors import ConfigureFailed
from less_sync.volume.engine.volume import Volume
from less_sync.volume.format.placement import parse_placement
from less_sync.volume.format.quoting import quoted
from less_sync.volume.format.ttl import parse_ttl, ttl_number
from less_sync.volume.grpc.calls.lookup import refuse_escaping_collection, volume_of
from less_sync.volume.grpc.errors import CallError
from less_sync.volume.grpc.maintenance import refuse_in_maintenance
from less_sync.volume.grpc.protos import volume_server_pb2 as pb
from less_sync.volume.master.masters import Mark
from less_sync.volume.services import Services

_MARKED = "volume {} not found"


async def allocate(services: Services, request: pb.AllocateVolumeRequest) -> pb.AllocateVolumeResponse:
    """Make an empty volume in the directory of its disk type that has the fewest."""
    refuse_escaping_collection(request.collection)
    await services.store.allocate(
        request.volume_id,
        request.collection,
        placement=parse_placement(request.replication),
        ttl=parse_ttl(request.ttl),
        version=request.version,
        disk_type=disk_type(request.disk_type),
        preallocate=max(request.preallocate, 0),
    )
    return pb.AllocateVolumeResponse()


async def mount(services: Services, request: pb.VolumeMountRequest) -> pb.VolumeMountResponse:
    """Load a volume whose files lie in one of the directories; one that is loaded is announced again."""
    await services.store.mount(request.volume_id)
    return pb.VolumeMountResponse()


async def unmount(services: Services, request: pb.VolumeUnmountRequest) -> pb.VolumeUnmountResponse:
    """Close a volume and leave its files; that there is none is no fault."""
    await services.store.unmount(request.volume_id)
    return pb.VolumeUnmountResponse()


async def consolidate_index(
    services: Services, request: pb.VolumeConsolidateIndexRequest
) -> pb.VolumeConsolidateIndexResponse:
    """Bring an index that lies beside its data into the index directory, if there is one."""
    await services.store.consolidate_index(request.volume_id)
    return pb.VolumeConsolidateIndexResponse()


async def delete(services: Services, request: pb.VolumeDeleteRequest) -> pb.VolumeDeleteResponse:
    """Remove a volume with its files from every directory that has it."""
    await services.store.delete_volume(
        request.volume_id, only_empty=request.only_empty, keep_remote=request.keep_remote_data
    )
    return pb.VolumeDeleteResponse()


async def delete_collection(
    services: Services, request: pb.DeleteCollectionRequest
) -> pb.DeleteCollectionResponse:
    """Remove all volumes of a collection; the empty name is that of the default one."""
    await services.store.delete_collection(request.collection)
    return pb.DeleteCollectionResponse()


async def configure(services: Services, request: pb.VolumeConfigureRequest) -> pb.VolumeConfigureResponse:
    """Give a volume another replica placement. Errors are told within a successful answer."""
    try:
        await services.store.configure(request.volume_id, request.replication)
    except ConfigureFailed as failed:
        return pb.VolumeConfigureResponse(
            error=f"volume configure {failed.step}{_printed(request)}: {failed}"
        )
    return pb.VolumeConfigureResponse()


async def mark_read_only(
    services: Services, request: pb.VolumeMarkReadonlyRequest
) -> pb.VolumeMarkReadonlyResponse:
    """Take no more writes. The master is told before, so that it sends nobody here, and once more after.

    The second time heals what a heartbeat in between has told it.
    """
    volume = volume_of(services, request.volume_id, _MARKED)
    refuse_in_maintenance(services)
    await services.masters.mark_read_only(_mark(volume), True)
    await services.store.mark_read_only(volume, can_delete=request.can_delete, persist=request.persist)
    await services.masters.mark_read_only(_mark(volume), True)
    return pb.VolumeMarkReadonlyResponse()


async def mark_writable(
    services: Services, request: pb.VolumeMarkWritableRequest
) -> pb.VolumeMarkWritableResponse:
    """Take writes again, then tell the master."""
    volume = volume_of(services, request.volume_id, _MARKED)
    refuse_in_maintenance(services)
    await services.store.mark_writable(volume)
    await services.masters.mark_read_only(_mark(volume), False)
    return pb.VolumeMarkWritableResponse()


async def status(services: Services, request: pb.VolumeStatusRequest) -> pb.VolumeStatusResponse:
    """Size and counts."""
    volume = services.store.volume(request.volume_id)
    if volume is None:
        raise CallError(f"not found volume id {request.volume_id}")
    if volume.is_closed:
        raise CallError(f"volume {volume.id} data backend not found")
    return pb.VolumeStatusResponse(
        is_read_only=volume.read_only,
        volume_size=volume.data_bytes,
        file_count=volume.needles.file_count,
        file_deleted_count=volume.needles.deleted_count,
    )


def disk_type(text: str) -> str:
    """The name by which directories go: `hdd` is the empty one."""
    name = text.lower()
    return "" if name == "hdd" else name


def _mark(volume: Volume) -> Mark:
    return Mark(
        volume.id, volume.collection, volume.placement, ttl_number(volume.ttl), volume.location.disk_type
    )


def _printed(request: pb.VolumeConfigureRequest) -> str:
    """The request as existing servers print it within an error."""
    parts = [f"volume_id:{request.volume_id}"] if request.volume_id else []
    parts += [f"replication:{quoted(request.replication)}"] if request.replication else []
    return " ".join(parts)
