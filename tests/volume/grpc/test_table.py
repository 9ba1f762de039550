"""The table: every call of the service, with its guard and what maintenance does to it."""

from pathlib import Path

import grpc
import pytest

from less_sync.volume.engine.store import ServerState
from less_sync.volume.grpc.protos import volume_server_pb2 as pb
from less_sync.volume.grpc.row import Kind, Maintenance
from less_sync.volume.grpc.table import CALLS
from tests.volume.grpc.serving import serving

PAGE = Path(__file__).resolve().parents[3] / "docs" / "volume.md"
METHODS = pb.DESCRIPTOR.services_by_name["VolumeServer"].methods
_GUARDED = """
    BatchDelete VacuumVolumeCompact VacuumVolumeCommit VacuumVolumeCleanup DeleteCollection AllocateVolume
    VolumeMount VolumeUnmount VolumeConsolidateIndex VolumeDelete VolumeMarkReadonly VolumeMarkWritable
    VolumeConfigure SetState VolumeCopy ReadAllNeedles VolumeTailReceiver VolumeEcShardsGenerate
    VolumeEcShardsRebuild VolumeEcShardsCopy VolumeEcShardsDelete VolumeEcShardsUnmount VolumeEcShardsToVolume
    VolumeTierMoveDatToRemote VolumeTierMoveDatFromRemote VolumeServerLeave FetchAndWriteNeedle ScrubVolume
    ScrubEcVolume VolumeNeedleStatus
"""
GUARDED = set(_GUARDED.split())
_REFUSED_IN_MAINTENANCE = """
    AllocateVolume VolumeConsolidateIndex VolumeDelete VolumeConfigure BatchDelete VacuumVolumeCompact
    VacuumVolumeCommit VacuumVolumeCleanup VolumeCopy VolumeEcShardsGenerate VolumeEcShardsRebuild
    VolumeEcShardsCopy VolumeEcShardsDelete VolumeEcShardsToVolume VolumeTierMoveDatToRemote
    FetchAndWriteNeedle WriteNeedleBlob ReceiveFile VolumeEcBlobDelete
"""
REFUSED_IN_MAINTENANCE = set(_REFUSED_IN_MAINTENANCE.split())
_NOT_SERVED = """
    ReceiveFile VolumeIncrementalCopy VolumeCopy VolumeTailSender VolumeTailReceiver VolumeEcShardsGenerate
    VolumeEcShardsRebuild VolumeEcShardsCopy VolumeEcShardsDelete VolumeEcShardsMount VolumeEcShardsUnmount
    VolumeEcShardRead VolumeEcBlobDelete VolumeEcShardsToVolume VolumeEcShardsInfo ScrubVolume ScrubEcVolume
    Query VolumeTierMoveDatToRemote VolumeTierMoveDatFromRemote FetchAndWriteNeedle
"""
NOT_SERVED = set(_NOT_SERVED.split())


def test_every_call_of_the_service_has_one_row_of_its_kind_and_request() -> None:
    assert len(CALLS) == 49
    rows = {row.name: row for row in CALLS}
    assert set(rows) == {method.name for method in METHODS}
    for method in METHODS:
        row = rows[method.name]
        assert method.input_type == row.request.DESCRIPTOR, method.name
        kinds = {
            (False, False): Kind.UNARY,
            (False, True): Kind.SERVER_STREAM,
            (True, False): Kind.CLIENT_STREAM,
        }
        assert row.kind is kinds[method.client_streaming, method.server_streaming], method.name


def test_the_calls_that_only_listed_peers_may_make_are_these() -> None:
    guarded = {row.name for row in CALLS if row.is_guarded}
    assert guarded == GUARDED
    assert len(GUARDED) == 30


def test_the_calls_that_maintenance_refuses_are_these() -> None:
    def names(maintenance: Maintenance) -> set[str]:
        return {row.name for row in CALLS if row.maintenance is maintenance}

    assert names(Maintenance.REFUSED) == REFUSED_IN_MAINTENANCE
    assert names(Maintenance.BY_HANDLER) == {"VolumeMarkReadonly", "VolumeMarkWritable", "ScrubVolume"}


def test_the_calls_that_are_not_served_yet_are_these() -> None:
    assert {row.name for row in CALLS if row.handler is None} == NOT_SERVED


def test_the_page_says_of_every_call_what_the_table_says() -> None:
    kinds = {Kind.UNARY: "", Kind.SERVER_STREAM: "stream out", Kind.CLIENT_STREAM: "stream in"}
    refusals = {
        Maintenance.SERVED: "",
        Maintenance.REFUSED: "refused",
        Maintenance.BY_HANDLER: "refused later",
    }
    lines = [line.split("|")[1:-1] for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    told = {cells[0].strip(" `"): [cell.strip() for cell in cells[1:]] for cells in lines if len(cells) == 5}
    for row in CALLS:
        kind, guarded, maintenance, about = told[row.name]
        assert kind == kinds[row.kind], row.name
        assert (guarded == "yes") is row.is_guarded, row.name
        assert maintenance == refusals[row.maintenance], row.name
        assert (about == "not yet") is (row.handler is None), row.name


@pytest.mark.parametrize("listed", ["10.9.9.9", "10.0.0.0/8,::1"])
async def test_a_peer_off_the_white_list_is_refused_before_anything_else(tmp_path: Path, listed: str) -> None:
    async with serving(tmp_path, white_list=tuple(listed.split(","))) as server:
        await server.store.set_state(ServerState(True, 0))
        for row in CALLS:
            if row.is_guarded:
                refusal = await server.refused(row.request())
                assert refusal == (grpc.StatusCode.PERMISSION_DENIED, "not authorized: 127.0.0.1"), row.name


async def test_a_peer_on_the_white_list_is_let_through(tmp_path: Path) -> None:
    async with serving(tmp_path, white_list=("127.0.0.0/8",)) as server:
        await server.call(pb.SetStateRequest())


async def test_maintenance_refuses_before_any_argument_is_looked_at(tmp_path: Path) -> None:
    async with serving(tmp_path, id="a-server") as server:
        await server.store.set_state(ServerState(True, 0))
        for row in CALLS:
            if row.maintenance is Maintenance.REFUSED:
                refusal = await server.refused(row.request())
                text = "volume server a-server is in maintenance mode"
                assert refusal == (grpc.StatusCode.UNKNOWN, text), row.name


async def test_a_call_that_is_not_served_passes_the_checks_and_is_unimplemented(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        for row in CALLS:
            if row.handler is None:
                refusal = await server.refused(row.request())
                text = f"method {row.name} not implemented"
                assert refusal == (grpc.StatusCode.UNIMPLEMENTED, text), row.name
