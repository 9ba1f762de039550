"""State, status, ping and leave."""

import shutil
import time
from pathlib import Path

import grpc

from less_sync.volume.grpc.protos import volume_server_pb2 as pb
from tests.volume.grpc.serving import MASTER, serving


def changed(version: int, *, maintenance: bool) -> pb.SetStateRequest:
    return pb.SetStateRequest(state=pb.VolumeServerState(version=version, maintenance=maintenance))


async def test_a_state_that_was_never_set_is_there_all_the_same(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        answer = await server.call(pb.GetStateRequest())
        assert answer.HasField("state")
        assert answer.state == pb.VolumeServerState()


async def test_the_state_changes_for_whoever_knows_its_version_and_survives_a_restart(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        assert await server.refused(changed(5, maintenance=True)) == (
            grpc.StatusCode.UNKNOWN,
            "version mismatch for VolumeServerState (got 0, want 5)",
        )
        answer = await server.call(changed(0, maintenance=True))
        assert answer.state == pb.VolumeServerState(maintenance=True, version=1)
        await server.call(changed(1, maintenance=True))
        assert (await server.call(pb.SetStateRequest())).state.version == 2
    assert (tmp_path / "state.pb").read_bytes() == b"\x08\x01\x10\x02"
    async with serving(tmp_path) as server:
        answer = await server.call(pb.GetStateRequest())
        assert answer.state == pb.VolumeServerState(maintenance=True, version=2)


async def test_the_status_tells_disks_memory_version_and_place(tmp_path: Path) -> None:
    async with serving(tmp_path, data_centre="dc", rack="r", offset_bytes=5) as server:
        answer = await server.call(pb.VolumeServerStatusRequest())
        [disk] = answer.disk_statuses
        assert disk.dir == str(tmp_path)
        assert disk.all == disk.used + disk.free > 0
        assert abs(disk.percent_free + disk.percent_used - 100) < 0.01
        memory = answer.memory_status
        assert memory.goroutines > 0
        assert memory.all == memory.used + memory.free
        assert 0 < memory.self < memory.all
        assert (answer.version, answer.data_center, answer.rack) == ("8000GB 4.44 ", "dc", "r")
        assert answer.HasField("state")


async def test_a_disk_that_has_gone_is_told_without_figures(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        shutil.rmtree(tmp_path)
        answer = await server.call(pb.VolumeServerStatusRequest())
        assert list(answer.disk_statuses) == [pb.DiskStatus(dir=str(tmp_path))]


async def test_a_ping_without_a_target_is_answered_at_once(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        answer = await server.call(pb.PingRequest())
        assert 0 < answer.start_time_ns <= answer.stop_time_ns <= time.time_ns()
        assert answer.remote_time_ns == 0
        assert server.masters.pinged == []


async def test_a_ping_of_one_of_our_masters_brings_its_time(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        answer = await server.call(pb.PingRequest(target=MASTER, target_type="master"))
        assert answer.start_time_ns <= answer.remote_time_ns <= answer.stop_time_ns


async def test_a_ping_asks_nobody_but_our_masters(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        for target, kind in [
            ("127.0.0.1:1", "master"),
            (MASTER, "filer"),
            ("a:1", "volumeServer"),
            ("x", ""),
        ]:
            assert await server.refused(pb.PingRequest(target=target, target_type=kind)) == (
                grpc.StatusCode.INVALID_ARGUMENT,
                f"unknown ping target {target} of type {kind}",
            )
        assert server.masters.pinged == []


async def test_a_ping_of_a_master_without_a_name_fails_as_its_call_does(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        code, text = await server.refused(pb.PingRequest(target_type="master"))
        assert code is grpc.StatusCode.UNKNOWN
        assert text.startswith("ping master : ")


async def test_leaving_twice_is_no_fault(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        for _ in range(2):
            await server.call(pb.VolumeServerLeaveRequest())
        assert server.masters.left == 2
