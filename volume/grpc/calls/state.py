"""What the server says of itself: its state, its disks and memory, whether it answers, and taking leave."""

import time

import grpc

from less_sync.volume.engine.store import ServerState
from less_sync.volume.grpc.errors import CallError
from less_sync.volume.grpc.figures import disk_statuses, memory_status
from less_sync.volume.grpc.protos import volume_server_pb2 as pb
from less_sync.volume.services import Services
from less_sync.volume.version import version_text


async def get_state(services: Services, _request: pb.GetStateRequest) -> pb.GetStateResponse:
    """The state, present even if nothing was ever set."""
    return pb.GetStateResponse(state=_state(services))


async def set_state(services: Services, request: pb.SetStateRequest) -> pb.SetStateResponse:
    """Set a state in the place of the one whose version the client names; without one nothing changes."""
    if request.HasField("state"):
        await services.store.set_state(ServerState(request.state.maintenance, request.state.version))
    return pb.SetStateResponse(state=_state(services))


async def server_status(
    services: Services, _request: pb.VolumeServerStatusRequest
) -> pb.VolumeServerStatusResponse:
    """Disks, memory, version, place and state."""
    options = services.options
    return pb.VolumeServerStatusResponse(
        disk_statuses=await disk_statuses(services.store.disks, services.store.locations),
        memory_status=memory_status(),
        version=version_text(options.offset_bytes),
        data_center=options.data_centre,
        rack=options.rack,
        state=_state(services),
    )


async def ping(services: Services, request: pb.PingRequest) -> pb.PingResponse:
    """Answer, or ask one of our masters for its time first. Nobody else is asked."""
    answer = pb.PingResponse(start_time_ns=time.time_ns())
    is_master = request.target_type == "master"
    if request.target and not (is_master and services.masters.knows(request.target)):
        raise CallError(
            f"unknown ping target {request.target} of type {request.target_type}",
            grpc.StatusCode.INVALID_ARGUMENT,
        )
    if is_master:
        answer.remote_time_ns = await services.masters.ping(request.target)
    answer.stop_time_ns = time.time_ns()
    return answer


async def leave(services: Services, _request: pb.VolumeServerLeaveRequest) -> pb.VolumeServerLeaveResponse:
    """Report to no master any more, until the next start."""
    services.masters.leave()
    return pb.VolumeServerLeaveResponse()


def _state(services: Services) -> pb.VolumeServerState:
    state = services.store.state
    return pb.VolumeServerState(maintenance=state.maintenance, version=state.version)
