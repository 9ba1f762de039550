"""The steps in which a master frees the space of what is deleted."""

from less_sync.volume.engine import vacuum
from less_sync.volume.grpc.calls.lookup import volume_of
from less_sync.volume.grpc.errors import CallError
from less_sync.volume.grpc.figures import load_per_cpu
from less_sync.volume.grpc.protos import volume_server_pb2 as pb
from less_sync.volume.grpc.row import Send
from less_sync.volume.services import Services


async def check(services: Services, request: pb.VacuumVolumeCheckRequest) -> pb.VacuumVolumeCheckResponse:
    """How much of a volume is garbage: 0 to 1."""
    volume = volume_of(services, request.volume_id, "volume id {} is not found during check compact")
    return pb.VacuumVolumeCheckResponse(garbage_ratio=vacuum.garbage_ratio(volume))


async def compact(services: Services, request: pb.VacuumVolumeCompactRequest, send: Send) -> None:
    """Copy what is live beside the volume; it goes on without its client until it would tell the progress."""
    volume = volume_of(services, request.volume_id, "volume id {} is not found during compact")

    async def report(processed_bytes: int) -> None:
        await send(
            pb.VacuumVolumeCompactResponse(processed_bytes=processed_bytes, load_avg_1m=load_per_cpu())
        )

    with services.counters.vacuuming("compact"):
        await vacuum.compact(
            volume,
            preallocate=max(request.preallocate, 0),
            bytes_per_s=services.options.compaction_bytes_per_s,
            progress=report,
        )


async def commit(services: Services, request: pb.VacuumVolumeCommitRequest) -> pb.VacuumVolumeCommitResponse:
    """Put the copy in the place of the volume's files, with what was written meanwhile."""
    if services.store.stopping:
        text = f"volume id {request.volume_id} skips compact because volume is stopping"
        raise CallError(text)
    volume = volume_of(services, request.volume_id, "volume id {} is not found during commit compact")
    with services.counters.vacuuming("commit"):
        done = await vacuum.commit(volume)
    return pb.VacuumVolumeCommitResponse(is_read_only=done.was_read_only, volume_size=done.data_bytes)


async def cleanup(
    services: Services, request: pb.VacuumVolumeCleanupRequest
) -> pb.VacuumVolumeCleanupResponse:
    """Remove a copy that nobody will use."""
    volume = volume_of(services, request.volume_id, "volume id {} is not found during cleaning up")
    await vacuum.cleanup(volume)
    return pb.VacuumVolumeCleanupResponse()
