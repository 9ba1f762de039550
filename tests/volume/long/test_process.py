"""The life of our server as a process: starting, reloading, stopping, and what ends it."""

import asyncio
import json
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import grpc
import pytest

from less_sync.volume.grpc.protos import master_pb2, volume_server_pb2
from tests.volume.cluster import OURS, Cluster
from tests.volume.master.fake_master import FakeMaster, running
from tests.volume.ports import Ports
from tests.volume.raw_http import request
from tests.volume.security.certificates import Authority

WHITE_LIST = '[guard]\nwhite_list = "{}"\n'


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_without_a_master_it_listens_on_nothing_and_still_stops(tmp_path: Path) -> None:
    with Cluster(tmp_path, "ours") as cluster:
        server = cluster.servers[0]
        server.stop()
        server.flags += ["--master=127.0.0.1:1"]
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM):
            server.log.write_bytes(b"")
            server.begin()
            server.wait_until(lambda: "master does not answer" in server.log_tail(), "asking the master")
            assert not _listens(server.port)
            assert not _listens(server.grpc_port)
            server.send_signal(number)
            assert server.wait() == 0


def _without_streams(tmp_path: Path) -> "subprocess.Popen[bytes]":
    """The program, started with all three streams closed, on its way to a master that is not there."""
    flags = (f"-dir={tmp_path}", "-ip=127.0.0.1", "-port=20001", "-master=127.0.0.1:1")
    return subprocess.Popen(["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", OURS, *flags])


def _wait_for(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def _holds_hang_ups(pid: int) -> bool:
    return re.search(r"SigBlk:\s+0*1\n", Path(f"/proc/{pid}/status").read_text()) is not None


def test_a_signal_while_it_is_starting_ends_it_in_order(tmp_path: Path) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM):
        process = _without_streams(tmp_path)
        _wait_for(partial(_holds_hang_ups, process.pid))
        process.send_signal(number)  # the loop is not even imported
        assert process.wait(30) == 0


def test_streams_that_are_closed_do_not_leave_their_numbers_to_files(tmp_path: Path) -> None:
    process = _without_streams(tmp_path)
    descriptors = Path(f"/proc/{process.pid}/fd")
    _wait_for(lambda: len(list(descriptors.iterdir())) > 8)
    assert {(descriptors / str(number)).readlink() for number in range(3)} == {Path("/dev/null")}
    process.terminate()
    assert process.wait(30) == 0


def test_a_further_signal_during_the_stop_changes_nothing(tmp_path: Path) -> None:
    with Cluster(tmp_path, "ours", flags=["-preStopSeconds=1"]) as cluster:
        server = cluster.servers[0]
        server.send_signal(signal.SIGTERM)
        server.wait_until(lambda: request(server.admin, "GET", "/healthz").status == 503, "stopping")
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM):
            server.send_signal(number)
        assert request(server.admin, "GET", "/status").status == 200
        assert server.wait() == 0
        assert server.log_tail().count("stopped") == 1


def test_a_server_that_left_its_master_stops_without_a_pause(tmp_path: Path) -> None:
    with Cluster(tmp_path, "ours", flags=["-preStopSeconds=3000"]) as cluster:
        server = cluster.servers[0]
        cluster.wait_for_nodes(1)
        server.call("VolumeServerLeave", volume_server_pb2.VolumeServerLeaveRequest())
        cluster.wait_for_nodes(0)
        assert request(server.admin, "GET", "/healthz").status == 503
        assert server.stop() == 0


def test_a_hang_up_loads_new_volumes_and_reads_security_again(tmp_path: Path) -> None:
    own = tmp_path / "own.toml"  # the master would read the cluster's, and obey it as well
    own.write_text(WHITE_LIST.format("10.9.9.9"))
    with Cluster(tmp_path, "ours", flags=[f"-securityFile={own}"]) as cluster:
        server = cluster.servers[0]
        assert request(server.admin, "PUT", "/3,0100000001", body=b"x").status == 401
        own.write_text(WHITE_LIST.format("127.0.0.0/8"))
        # An empty volume of version 3, as another server would have left it.
        (server.directories[0] / "3.dat").write_bytes(bytes([3, 0, 0, 0, 0, 0, 0, 0]))
        (server.directories[0] / "3.idx").write_bytes(b"")
        server.send_signal(signal.SIGHUP)
        server.wait_until(lambda: "reloaded" in server.log_tail(), "reloading")
        cluster.wait_for_places(3, 1)
        assert request(server.admin, "PUT", "/3,0100000001", body=b"x").status == 201
        assert server.stop() == 0


def test_a_second_server_on_the_same_directory_ends_with_1(tmp_path: Path) -> None:
    with Cluster(tmp_path, "ours", "ours") as cluster:
        first, second = cluster.servers
        second.stop()
        second.directories = first.directories
        second.begin()
        assert second.wait() == 1
        assert "another server reports the same data directories" in second.log_tail()
        assert request(first.admin, "GET", "/healthz").status == 200


def test_a_port_that_is_taken_ends_the_start_with_1_and_the_master_forgets_it(tmp_path: Path) -> None:
    for flag in ("port", "port.grpc", "metricsPort"):
        with Cluster(tmp_path / flag, "ours") as cluster, socket.create_server(("127.0.0.1", 0)) as taken:
            server = cluster.servers[0]
            server.stop()
            server.flags += [f"-{flag}={taken.getsockname()[1]}"]
            server.begin()
            assert server.wait() == 1
            assert "the server could not start: " in server.log_tail()
            cluster.wait_for_nodes(0)


def test_what_is_taken_from_the_environment_is_logged_and_the_log_has_two_forms(tmp_path: Path) -> None:
    with Cluster(tmp_path, "ours", variables={"RACK": "stray", "LOG_FORMAT": "json"}) as cluster:
        lines = [json.loads(line) for line in cluster.servers[0].log.read_text().splitlines()]
        told = [(line["flag"], line["variable"]) for line in lines if "variable" in line]
        assert ("rack", "RACK") in told
        assert lines[-1]["msg"] == "serving"
        assert list(lines[-1])[:3] == ["ts", "level", "msg"]


def test_the_command_and_the_program_are_the_same(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "less_sync.bins.commands.main", "volume"]
    for words in (["-h"], ["volume", "--help"], ["-what", "-h"], ["-dir", f"{tmp_path}/absent", "--", "-x"]):
        ended = [
            subprocess.run([*program, *words], capture_output=True, text=True, timeout=60)
            for program in (command, [OURS])
        ]
        assert ended[0].returncode == ended[1].returncode
        assert ended[0].stdout == ended[1].stdout == ""
        assert ended[0].stderr == ended[1].stderr.replace("less-sync-volume", "less-sync volume")


def test_check_and_export_are_reached_with_and_without_the_word(tmp_path: Path) -> None:
    for words in (["check"], ["volume", "check"], ["export"]):
        ended = subprocess.run(
            [OURS, *words, f"{tmp_path}/absent"], capture_output=True, text=True, timeout=60
        )
        assert ended.returncode == 2
        assert "absent is not a directory" in ended.stderr


async def test_a_follower_s_leader_is_followed_by_the_process(tmp_path: Path) -> None:
    async with running(FakeMaster()) as leader:
        named = f"{leader.address.http}.{leader.address.grpc_port}"
        follower = FakeMaster(greeting=master_pb2.HeartbeatResponse(leader=named))
        with Ports() as ports:
            port = ports.take()
            async with running(follower):
                master = f"{follower.address.http}.{follower.address.grpc_port}"
                process = await asyncio.create_subprocess_exec(
                    OURS,
                    *(f"-{flag}" for flag in (f"dir={tmp_path}", "ip=127.0.0.1", f"port={port}")),
                    f"-master={master}",
                    "-preStopSeconds=0",
                    stdout=asyncio.subprocess.DEVNULL,
                )
                try:
                    assert (await leader.next()).port == port
                finally:
                    process.terminate()
                    assert await process.wait() == 0
                assert (await leader.next(lambda message: not message.volume_digest)).has_no_ec_shards


@pytest.mark.parametrize("secured", [False, True])
def test_weed_uploads_and_downloads_through_our_server(secured: bool, tmp_path: Path) -> None:
    key = '[jwt.signing]\nkey = "a-key-for-writing-of-thirty-two-bytes"\n'
    content = tmp_path / "file.bin"
    content.write_bytes(bytes(range(256)) * 40_000)
    with Cluster(tmp_path, "ours", "ours", security=key if secured else "#\n") as cluster:
        cluster.wait_for_nodes(2)
        uploaded = json.loads(
            cluster.weed("upload", f"-master={cluster.master}", "-maxMB=4", "-replication=001", str(content))
        )[0]
        assert uploaded["size"] == content.stat().st_size
        got = tmp_path / "got"
        got.mkdir()
        for server in cluster.servers:  # each has all of it
            target = f"/{uploaded['fid']}?proxied=true"
            assert request(server.admin, "GET", target).body == content.read_bytes()
        cluster.weed("download", f"-master={cluster.master}", f"-dir={got}", uploaded["fid"])
        assert (got / "file.bin").read_bytes() == content.read_bytes()


def test_the_master_s_vacuum_reclaims_what_was_deleted_and_keeps_the_rest(tmp_path: Path) -> None:
    with Cluster(tmp_path, "ours", "weed") as cluster:
        ours, theirs = cluster.servers
        cluster.allocate(3, servers=(0, 1), replication="001")
        targets = [f"/3,{number:x}00000001" for number in range(1, 21)]
        for target in targets:
            assert request(ours.admin, "PUT", target, body=target.encode() * 5_000).status == 201
        for target in targets[:15]:
            assert request(ours.admin, "DELETE", target).status == 202
        before = [(one.directories[0] / "3.dat").stat().st_size for one in cluster.servers]
        cluster.shell("volume.vacuum -garbageThreshold=0.2 -volumeId=3")
        after = [(one.directories[0] / "3.dat").stat().st_size for one in cluster.servers]
        assert before[0] == before[1]
        assert after[0] == after[1]
        assert after[0] * 3 < before[0]
        for server in (ours, theirs):
            for number, target in enumerate(targets):
                answer = request(server.admin, "GET", target)
                assert answer.status == (404 if number < 15 else 200)
                assert answer.body == (b"" if number < 15 else target.encode() * 5_000)


def test_the_real_master_never_asks_for_a_list_that_the_digest_spared(tmp_path: Path) -> None:
    with Cluster(tmp_path, "ours", flags=["-v=1"]) as cluster:
        server = cluster.servers[0]
        for volume_id, collection in ((3, ""), (4, "pictures"), (5, "")):
            cluster.allocate(volume_id, collection=collection, ttl="3d" if volume_id == 5 else "")
            assert request(server.admin, "PUT", f"/{volume_id},0100000001", body=b"x").status == 201
        assert request(server.admin, "DELETE", "/3,0100000001").status == 202
        server.call("VolumeMarkReadonly", volume_server_pb2.VolumeMarkReadonlyRequest(volume_id=4))
        server.delete_volume(5)

        time.sleep(16.0)  # three pulses: a message of what changed, and two in which the master compares
        listed = cluster.shell("volume.list")
        assert "volume Id:3, Size:96," in listed
        assert "DeleteCount:1" in listed
        assert "Collection:pictures" in listed
        assert "ReadOnly:true" in listed
        assert "Id:5" not in listed
        assert "reporting to master" in server.log.read_text()
        assert "master asks for all volumes" not in server.log.read_text()


def test_mutual_tls_between_ours_and_the_real_programs(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    lines = [f'[grpc]\nca = "{authority.path}"']
    for role in ("volume", "master", "client", "filer", "admin"):
        made = authority.certify(role)
        lines.append(f'[grpc.{role}]\ncert = "{made.certificate}"\nkey = "{made.key}"')
    content = tmp_path / "file.bin"
    content.write_bytes(bytes(range(256)) * 100)
    security = "\n".join(lines) + '\nallowed_commonNames = "volume,master,client"\n'
    with Cluster(tmp_path, "ours", "weed", security=security) as cluster:
        cluster.wait_for_nodes(2)
        uploaded = json.loads(
            cluster.weed("upload", f"-master={cluster.master}", "-replication=001", str(content))
        )[0]
        for server in cluster.servers:
            target = f"/{uploaded['fid']}?proxied=true"
            assert request(server.admin, "GET", target).body == content.read_bytes()
        with pytest.raises(grpc.RpcError):  # in plain text
            cluster.servers[0].call(
                "VolumeServerStatus", volume_server_pb2.VolumeServerStatusRequest(), timeout_s=3
            )
