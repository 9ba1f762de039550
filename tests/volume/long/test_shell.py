"""`weed shell`, by which people look after volumes, on top of our servers: what it says is done there."""

import json
from pathlib import Path

from tests.volume.cluster import Cluster
from tests.volume.raw_http import request

FILE = "/3,0100000001?proxied=true"


def test_volumes_are_marked_configured_unmounted_mounted_and_deleted(tmp_path: Path) -> None:
    with Cluster(tmp_path, "ours") as cluster:
        (server,) = cluster.servers
        for volume_id, collection in ((3, ""), (4, ""), (5, "pics")):
            cluster.allocate(volume_id, collection=collection)
        assert request(server.admin, "PUT", "/3,0100000001", body=b"kept").status == 201
        cluster.shell(f"volume.mark -node {server.admin} -volumeId 3 -readonly")
        assert request(server.admin, "PUT", "/3,0200000001", body=b"refused").status == 500
        cluster.shell(f"volume.mark -node {server.admin} -volumeId 3 -writable")
        assert request(server.admin, "PUT", "/3,0200000001", body=b"taken").status == 201
        cluster.shell("volume.configure.replication -volumeId 4 -replication 010")
        assert json.loads((server.directories[0] / "4.vif").read_text())["replication"] == "010"
        cluster.shell(f"volume.unmount -node {server.admin} -volumeId 3")
        assert request(server.admin, "GET", FILE).status == 404
        cluster.shell(f"volume.mount -node {server.admin} -volumeId 3")
        assert request(server.admin, "GET", FILE).body == b"kept"
        cluster.shell(
            "collection.delete -collection pics -apply", f"volume.delete -node {server.admin} -volumeId 4"
        )
        files = sorted(path.name for path in server.directories[0].iterdir())
        assert files == ["3.dat", "3.idx", "3.vif", "vol_dir.uuid"]
        listed = cluster.shell("volume.list")
        assert "Id:3, " in listed
        assert "Id:4, " not in listed


def test_a_file_that_one_copy_lacks_is_brought_there_and_a_server_is_told_to_leave(tmp_path: Path) -> None:
    with Cluster(tmp_path, "ours", "weed") as cluster:
        ours, theirs = cluster.servers
        cluster.allocate(3, servers=(0, 1), replication="001")
        for server, target in ((ours, "/3,0100000001"), (theirs, "/3,0200000001")):
            answer = request(server.admin, "PUT", f"{target}?type=replicate", body=target.encode())
            assert answer.status == 201
        cluster.shell(
            "volume.check.disk -volumeId 3 -slow -apply -resurrectMissingNeedles -nonRepairThreshold=1"
        )
        for server in (ours, theirs):
            for target in ("/3,0100000001", "/3,0200000001"):
                assert request(server.admin, "GET", f"{target}?proxied=true").body == target.encode()
        cluster.shell(f"volumeServer.leave -node {ours.admin} -apply")
        cluster.wait_for_nodes(1)
        assert request(ours.admin, "GET", "/healthz").status == 503
        assert request(ours.admin, "GET", "/3,0100000001").status == 200
