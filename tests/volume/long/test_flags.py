"""What the flags do, in processes: our server and the real one have to do the same."""

import io
import json
import os
import re
import signal
import socket
import struct
from pathlib import Path
from typing import Any, Final

import grpc
import pytest
from PIL import Image

from less_sync.volume.grpc.protos import volume_server_pb2
from tests.volume.cluster import Cluster, Kind, VolumeServer
from tests.volume.ports import Ports
from tests.volume.raw_http import request

MIB: Final = 1024 * 1024
FILE: Final = "/3,0100000001"
both = pytest.mark.parametrize("kind", ["ours", "weed"])


def _node(cluster: Cluster) -> tuple[str, str, dict[str, Any]]:
    """Data centre, rack and what the master knows of the only volume server."""
    cluster.wait_for_nodes(1)
    topology = json.loads(request(cluster.master, "GET", "/dir/status").body)["Topology"]
    (center,) = topology["DataCenters"]
    (rack,) = center["Racks"]
    (node,) = rack["DataNodes"]
    return center["Id"], rack["Id"], node


def _put(server: VolumeServer, content: bytes, target: str = FILE) -> int:
    return request(server.admin, "PUT", target, body=content).status


@both
def test_data_lies_in_all_directories_and_indexes_in_the_one_for_them(kind: Kind, tmp_path: Path) -> None:
    indexes = tmp_path / "indexes"
    indexes.mkdir()
    with Cluster(tmp_path, kind, directories=2, flags=[f"-dir.idx={indexes}"]) as cluster:
        for volume_id in (3, 4):
            cluster.allocate(volume_id)
            assert _put(cluster.servers[0], b"x", f"/{volume_id},0100000001") == 201
        found = [sorted(path.name for path in one.iterdir()) for one in cluster.servers[0].directories]
        assert sorted(name for names in found for name in names if name.endswith(".dat")) == [
            "3.dat",
            "4.dat",
        ]
        assert all("vol_dir.uuid" in names and len(names) > 1 for names in found)
        assert {"3.idx", "4.idx"} <= {path.name for path in indexes.iterdir()}


@both
def test_the_master_learns_who_and_where_a_server_is(kind: Kind, tmp_path: Path) -> None:
    flags = ["-publicUrl=files.example:80", "-dataCenter=dc7", "-rack=r9", "-max=5", "-id=one", "-disk=ssd"]
    with Cluster(tmp_path, kind, flags=[*flags, "-tags=fast:new"]) as cluster:
        center, rack, node = _node(cluster)
        assert (center, rack) == ("dc7", "r9")
        assert node["Url"] == cluster.servers[0].admin
        assert node["PublicUrl"] == "files.example:80"
        assert node["Max"] == 5
        (disk,) = json.loads(request(cluster.servers[0].admin, "GET", "/status").body)["DiskStatuses"]
        assert disk["disk_type"] == "ssd"
        message = volume_server_pb2.AllocateVolumeRequest(volume_id=3, disk_type="ssd", version=3)
        cluster.servers[0].call("AllocateVolume", message)
        cluster.wait_for_places(3, 1)
        assert "DataNode one ssd(volume:1/5 " in cluster.shell("volume.list")


@both
def test_the_old_name_of_the_master_flag_wins(kind: Kind, tmp_path: Path) -> None:
    with Cluster(tmp_path, kind) as cluster:
        server = cluster.servers[0]
        server.stop()
        server.flags += ["-master=127.0.0.1:1", f"-mserver={cluster.master}"]
        server.restart()
        cluster.wait_for_nodes(1)


@both
def test_a_disk_without_room_takes_no_volume(kind: Kind, tmp_path: Path) -> None:
    with (
        Cluster(tmp_path, kind, flags=["-minFreeSpace=100"]) as cluster,
        pytest.raises(grpc.RpcError, match="No more free space left"),
    ):
        cluster.allocate(3)


@both
@pytest.mark.parametrize("source", ["flag", "environment", "file"])
def test_the_limit_of_a_file_may_be_set_in_three_ways(kind: Kind, source: str, tmp_path: Path) -> None:
    (tmp_path / "flags").write_text("# ours\nfileSizeLimitMB=1\n")
    flags = {"flag": ["-fileSizeLimitMB=1"], "environment": [], "file": [f"-options={tmp_path / 'flags'}"]}
    variables = {"FILESIZELIMITMB": "1"} if source == "environment" else {}
    with Cluster(tmp_path, kind, flags=flags[source], variables=variables) as cluster:
        cluster.allocate(3)
        assert _put(cluster.servers[0], bytes(MIB)) == 201
        assert _put(cluster.servers[0], bytes(MIB + 1)) == 400


@both
def test_a_wrong_flag_ends_the_program_with_2(kind: Kind, tmp_path: Path) -> None:
    with Cluster(tmp_path, kind) as cluster:
        server = cluster.servers[0]
        server.stop()
        for flag in ("-port=x", "-nonsense", "-h"):
            server.flags = [flag]
            with pytest.raises(RuntimeError, match="ended before ready"):
                server.restart()
            assert server.exit_status == 2, flag


@both
def test_a_silent_connection_is_closed(kind: Kind, tmp_path: Path) -> None:
    with Cluster(tmp_path, kind, flags=["-idleTimeout=1"]) as cluster:
        address = ("127.0.0.1", cluster.servers[0].port)
        with socket.create_connection(address, timeout=10) as silent:
            assert silent.recv(1) == b""
        with socket.create_connection(address, timeout=10) as after_one:
            after_one.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            assert after_one.recv(1000).startswith(b"HTTP/1.1 200 OK")
            assert after_one.recv(1) == b""


@both
def test_files_are_served_on_between_the_farewell_and_the_stop(kind: Kind, tmp_path: Path) -> None:
    with Cluster(tmp_path, kind, flags=["-preStopSeconds=3"]) as cluster:
        server = cluster.servers[0]
        cluster.allocate(3)
        assert _put(server, b"first") == 201
        server.send_signal(signal.SIGTERM)
        cluster.wait_for_nodes(0)
        assert request(server.admin, "GET", "/healthz").status == 503
        assert request(server.admin, "GET", FILE).body == b"first"
        assert _put(server, b"second", "/3,0200000002?fsync=true") == 201
        assert server.wait() == 0
        server.restart()
        assert request(server.admin, "GET", "/3,0200000002").body == b"second"


@both
def test_uploads_wait_at_their_limit_and_are_refused_when_it_lasts(kind: Kind, tmp_path: Path) -> None:
    flags = ["-concurrentUploadLimitMB=1", "-inflightUploadDataTimeout=300ms"]
    with Cluster(tmp_path, kind, flags=flags) as cluster:
        server = cluster.servers[0]
        cluster.allocate(3)
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as slow:
            slow.sendall(f"PUT {FILE} HTTP/1.1\r\nHost: x\r\nContent-Length: {2 * MIB}\r\n\r\n".encode())
            slow.sendall(bytes(MIB))
            while (refused := request(server.admin, "PUT", "/3,0200000002", body=b"x")).status == 201:
                pass
            assert refused.status == 429
            slow.sendall(bytes(MIB))
            assert slow.recv(100).startswith(b"HTTP/1.1 201")
        assert _put(server, b"x", "/3,0300000003") == 201


@both
def test_downloads_are_counted_to_their_last_byte(kind: Kind, tmp_path: Path) -> None:
    flags = ["-concurrentDownloadLimitMB=1", "-inflightDownloadDataTimeout=300ms"]
    with Cluster(tmp_path, kind, flags=flags) as cluster:
        server = cluster.servers[0]
        cluster.allocate(3)
        assert _put(server, os.urandom(40 * MIB)) == 201
        with socket.socket() as slow:
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            slow.connect(("127.0.0.1", server.port))
            slow.sendall(f"GET {FILE} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            assert slow.recv(100).startswith(b"HTTP/1.1 200")
            assert request(server.admin, "GET", FILE).status == 429
        # The lost connection gives back what it held.
        statuses = {request(server.admin, "GET", FILE, timeout_s=60).status for _ in range(3)}
        assert 200 in statuses


@both
def test_metrics_have_a_listener_of_their_own(kind: Kind, tmp_path: Path) -> None:
    with Ports() as ports, Cluster(tmp_path, kind) as cluster:
        server, port = cluster.servers[0], ports.take()
        server.stop()
        server.flags += [f"-metricsPort={port}", "-metricsIp=127.0.0.1"]
        server.restart()
        cluster.allocate(3)
        assert _put(server, b"x") == 201
        assert request(server.admin, "GET", FILE).status == 200
        metrics = request(f"127.0.0.1:{port}", "GET", "/metrics").body.decode()
        for name in ("request_total", "request_seconds_bucket", "volumes", "max_volumes", "resource"):
            assert re.search(rf"^SeaweedFS_volumeServer_{name}[{{ ]", metrics, re.MULTILINE), name
        (written,) = re.findall(
            r"^SeaweedFS_volumeServer_request_total\{(.*201.*)\} 1$", metrics, re.MULTILINE
        )
        assert sorted(written.split(",")) == ['code="201"', 'type="PUT"']


@both
def test_pictures_are_turned_if_it_is_wanted(kind: Kind, tmp_path: Path) -> None:
    picture, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 20), "red").save(picture, "JPEG", exif=exif)
    with Cluster(tmp_path, kind, flags=["-images.fix.orientation"]) as cluster:
        server = cluster.servers[0]
        cluster.allocate(3)
        sent = request(server.admin, "PUT", FILE, {"Content-Type": "image/jpeg"}, picture.getvalue())
        assert sent.status == 201
        with Image.open(io.BytesIO(request(server.admin, "GET", FILE).body)) as turned:
            assert turned.size == (20, 40)


@pytest.mark.parametrize("width", [4, 5])
def test_new_volumes_have_offsets_of_the_wanted_width(width: int, tmp_path: Path) -> None:
    with Cluster(tmp_path, "ours", offset_bytes=width) as cluster:
        server = cluster.servers[0]
        cluster.allocate(3)
        assert _put(server, b"x") == 201
        row = (server.directories[0] / "3.idx").read_bytes()
        assert len(row) == 12 + width
        assert struct.unpack(">Q", row[:8]) == (1,)


@both
def test_a_signal_reads_new_keys_and_new_volumes(kind: Kind, tmp_path: Path) -> None:
    with Cluster(tmp_path, kind) as cluster:
        server = cluster.servers[0]
        cluster.allocate(3)
        assert _put(server, b"x") == 201
        server.call("VolumeUnmount", volume_server_pb2.VolumeUnmountRequest(volume_id=3))
        assert request(server.admin, "GET", FILE).status == 404
        (cluster.config / "security.toml").write_text('[jwt.signing]\nkey = "a key"\n')
        server.send_signal(signal.SIGHUP)
        cluster.wait_for_places(3, 1)
        server.wait_until(lambda: _put(server, b"y", "/3,0200000002") == 401, "asking for tokens")
        assert request(server.admin, "GET", FILE).body == b"x"
