"""What a server remembers of itself between starts: `state.pb`, a protobuf message."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from less_sync.volume.engine.errors import VolumeError
from less_sync.volume.engine.files import Files

STATE_NAME: Final = "state.pb"


@dataclass(frozen=True, slots=True)
class ServerState:
    """What the server remembers of itself; `version` counts its changes."""

    maintenance: bool = False
    version: int = 0


def read_state(path: Path) -> ServerState:
    """What the file says; zeros if there is none. Blocking.

    Raises:
        VolumeError: it is damaged.
        OSError: the disk failed.
    """
    if not path.exists():
        return ServerState()
    from google.protobuf.message import DecodeError

    from less_sync.volume.grpc.protos.volume_server_pb2 import VolumeServerState

    try:
        message = VolumeServerState.FromString(path.read_bytes())
    except DecodeError:
        raise VolumeError(f"{path.name} is damaged; remove it to start with an empty state") from None
    return ServerState(message.maintenance, message.version)


def write_state(files: Files, path: Path, state: ServerState) -> None:
    """Put the state into the place of the former one; on the disk when this returns. Blocking.

    Raises:
        VolumeError: the disk refused; the former one is still there.
    """
    from less_sync.volume.grpc.protos.volume_server_pb2 import VolumeServerState

    message = VolumeServerState(maintenance=state.maintenance, version=state.version)
    try:
        files.replace_text(path, message.SerializeToString())
    except OSError as error:
        raise VolumeError(f"failed to write store state to {path} : {error}") from error
