"""The table of calls: who may call what, what maintenance refuses, and who answers.

A call without a handler is not served yet: it passes the white list and maintenance, then it is answered with
`UNIMPLEMENTED`. Adding a call is filling in its row.
"""

from typing import Final

from less_sync.volume.grpc.calls import batch_delete, files, needles, read_all, state, vacuum, volumes
from less_sync.volume.grpc.protos import volume_server_pb2 as pb
from less_sync.volume.grpc.row import Maintenance, Row, client_stream, server_stream, unary

GUARDED: Final = True
OPEN: Final = False
SERVED: Final = Maintenance.SERVED
REFUSED: Final = Maintenance.REFUSED
BY_HANDLER: Final = Maintenance.BY_HANDLER

# fmt: off
CALLS: Final[tuple[Row, ...]] = (
    # name, request, white list, maintenance, handler
    # State
    unary("GetState", pb.GetStateRequest, OPEN, SERVED, state.get_state),
    unary("SetState", pb.SetStateRequest, GUARDED, SERVED, state.set_state),
    unary("VolumeServerStatus", pb.VolumeServerStatusRequest, OPEN, SERVED, state.server_status),
    unary("VolumeServerLeave", pb.VolumeServerLeaveRequest, GUARDED, SERVED, state.leave),
    unary("Ping", pb.PingRequest, OPEN, SERVED, state.ping),
    # Volumes
    unary("AllocateVolume", pb.AllocateVolumeRequest, GUARDED, REFUSED, volumes.allocate),
    unary("VolumeMount", pb.VolumeMountRequest, GUARDED, SERVED, volumes.mount),
    unary("VolumeUnmount", pb.VolumeUnmountRequest, GUARDED, SERVED, volumes.unmount),
    unary("VolumeConsolidateIndex",
        pb.VolumeConsolidateIndexRequest, GUARDED, REFUSED, volumes.consolidate_index),
    unary("VolumeDelete", pb.VolumeDeleteRequest, GUARDED, REFUSED, volumes.delete),
    unary("DeleteCollection", pb.DeleteCollectionRequest, GUARDED, SERVED, volumes.delete_collection),
    unary("VolumeConfigure", pb.VolumeConfigureRequest, GUARDED, REFUSED, volumes.configure),
    unary("VolumeMarkReadonly", pb.VolumeMarkReadonlyRequest, GUARDED, BY_HANDLER, volumes.mark_read_only),
    unary("VolumeMarkWritable", pb.VolumeMarkWritableRequest, GUARDED, BY_HANDLER, volumes.mark_writable),
    unary("VolumeStatus", pb.VolumeStatusRequest, OPEN, SERVED, volumes.status),
    # Needles
    unary("VolumeNeedleStatus", pb.VolumeNeedleStatusRequest, GUARDED, SERVED, needles.needle_status),
    unary("ReadNeedleBlob", pb.ReadNeedleBlobRequest, OPEN, SERVED, needles.read_blob),
    unary("ReadNeedleMeta", pb.ReadNeedleMetaRequest, OPEN, SERVED, needles.read_needle_meta),
    unary("WriteNeedleBlob", pb.WriteNeedleBlobRequest, OPEN, REFUSED, needles.write_blob),
    unary("BatchDelete", pb.BatchDeleteRequest, GUARDED, REFUSED, batch_delete.batch_delete),
    server_stream("ReadAllNeedles", pb.ReadAllNeedlesRequest, GUARDED, SERVED, read_all.read_all),
    # Vacuum
    unary("VacuumVolumeCheck", pb.VacuumVolumeCheckRequest, OPEN, SERVED, vacuum.check),
    server_stream("VacuumVolumeCompact",
        pb.VacuumVolumeCompactRequest, GUARDED, REFUSED, vacuum.compact, lasting=True),
    unary("VacuumVolumeCommit", pb.VacuumVolumeCommitRequest, GUARDED, REFUSED, vacuum.commit),
    unary("VacuumVolumeCleanup", pb.VacuumVolumeCleanupRequest, GUARDED, REFUSED, vacuum.cleanup),
    # Files, copies, tails
    unary("VolumeSyncStatus", pb.VolumeSyncStatusRequest, OPEN, SERVED, files.sync_status),
    unary("ReadVolumeFileStatus", pb.ReadVolumeFileStatusRequest, OPEN, SERVED, files.file_status),
    server_stream("CopyFile", pb.CopyFileRequest, OPEN, SERVED, files.copy_file),
    client_stream("ReceiveFile", pb.ReceiveFileRequest, OPEN, REFUSED, None),
    server_stream("VolumeIncrementalCopy", pb.VolumeIncrementalCopyRequest, OPEN, SERVED, None),
    server_stream("VolumeCopy", pb.VolumeCopyRequest, GUARDED, REFUSED, None, lasting=True),
    server_stream("VolumeTailSender", pb.VolumeTailSenderRequest, OPEN, SERVED, None),
    unary("VolumeTailReceiver", pb.VolumeTailReceiverRequest, GUARDED, SERVED, None),
    # Erasure coding
    unary("VolumeEcShardsGenerate", pb.VolumeEcShardsGenerateRequest, GUARDED, REFUSED, None),
    unary("VolumeEcShardsRebuild", pb.VolumeEcShardsRebuildRequest, GUARDED, REFUSED, None),
    unary("VolumeEcShardsCopy", pb.VolumeEcShardsCopyRequest, GUARDED, REFUSED, None),
    unary("VolumeEcShardsDelete", pb.VolumeEcShardsDeleteRequest, GUARDED, REFUSED, None),
    unary("VolumeEcShardsMount", pb.VolumeEcShardsMountRequest, OPEN, SERVED, None),
    unary("VolumeEcShardsUnmount", pb.VolumeEcShardsUnmountRequest, GUARDED, SERVED, None),
    server_stream("VolumeEcShardRead", pb.VolumeEcShardReadRequest, OPEN, SERVED, None),
    unary("VolumeEcBlobDelete", pb.VolumeEcBlobDeleteRequest, OPEN, REFUSED, None),
    unary("VolumeEcShardsToVolume", pb.VolumeEcShardsToVolumeRequest, GUARDED, REFUSED, None),
    unary("VolumeEcShardsInfo", pb.VolumeEcShardsInfoRequest, OPEN, SERVED, None),
    # Checks, queries, remote stores
    unary("ScrubVolume", pb.ScrubVolumeRequest, GUARDED, BY_HANDLER, None),
    unary("ScrubEcVolume", pb.ScrubEcVolumeRequest, GUARDED, SERVED, None),
    server_stream("Query", pb.QueryRequest, OPEN, SERVED, None),
    server_stream("VolumeTierMoveDatToRemote", pb.VolumeTierMoveDatToRemoteRequest, GUARDED, REFUSED, None),
    server_stream("VolumeTierMoveDatFromRemote",
        pb.VolumeTierMoveDatFromRemoteRequest, GUARDED, SERVED, None),
    unary("FetchAndWriteNeedle", pb.FetchAndWriteNeedleRequest, GUARDED, REFUSED, None),
)
# fmt: on
