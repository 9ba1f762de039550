"""Volumes with a copy on our server and one on the real one, under one real master."""

from pathlib import Path

import pytest

from tests.volume.cluster import Cluster, VolumeServer
from tests.volume.life import Life
from tests.volume.raw_http import request

BOTH = (0, 1)


def _same_on_both(life: Life, cluster: Cluster) -> None:
    ours, real = (life.readings(server) for server in cluster.servers)
    life.judge(ours)
    assert ours == real


@pytest.mark.parametrize("seed", range(3))
def test_a_random_life_is_the_same_on_both_copies_whoever_is_asked(seed: int, tmp_path: Path) -> None:
    life = Life(seed, {3: "", 4: "2d"})
    with Cluster(tmp_path, "ours", "weed") as cluster:
        cluster.allocate(3, servers=BOTH, replication="001")
        cluster.allocate(4, servers=BOTH, replication="001", ttl="2d", collection="pics")
        for turn in range(6):
            life.live(cluster, cluster.servers[turn % 2], 50, restarts=False)
            _same_on_both(life, cluster)


@pytest.mark.parametrize("asked", BOTH)
def test_nothing_is_acknowledged_while_one_copy_is_away_and_all_goes_on_when_it_is_back(
    asked: int, tmp_path: Path
) -> None:
    with Cluster(tmp_path, "ours", "weed") as cluster:
        here, there = cluster.servers[asked], cluster.servers[1 - asked]
        cluster.allocate(3, servers=BOTH, replication="001")
        for fid, content in (("3,0100000001", b"first"), ("3,0200000002", b"second")):
            assert request(here.admin, "PUT", f"/{fid}", body=content).status == 201
        there.kill()
        refused = request(here.admin, "PUT", "/3,0300000003", body=b"third")
        assert refused.status == 500
        assert b"volume 3" in refused.body
        assert request(here.admin, "DELETE", "/3,0200000002").status == 500
        assert request(here.admin, "GET", "/3,0100000001").body == b"first"
        cluster.wait_for_places(3, 1)
        there.restart()
        cluster.wait_for_places(3, 2)
        # What was asked for again is stored on both, though one of them had it before.
        assert request(here.admin, "PUT", "/3,0300000003", body=b"third").status in (201, 204)
        assert request(here.admin, "PUT", "/3,0400000004", body=b"fourth").status == 201
        assert request(here.admin, "DELETE", "/3,0100000001").status == 202
        for server in (here, there):
            assert _read(server, "3,0300000003") == (200, b"third")
            assert _read(server, "3,0400000004") == (200, b"fourth")
            assert _read(server, "3,0100000001") == (404, b"")


def test_a_mixed_cluster_takes_what_its_master_assigns(tmp_path: Path) -> None:
    with Cluster(tmp_path, "ours", "weed", "ours") as cluster:
        cluster.wait_for_nodes(3)
        sent = tmp_path / "sent"
        sent.mkdir()
        fids = []
        for number in range(40):
            assigned = cluster.assign(replication="001")
            content = b"%d " % number * (number * 50 + 1)
            assert request(assigned.url, "PUT", f"/{assigned.fid}", body=content).status == 201
            fids.append((assigned.fid, content))
        for fid, content in fids:
            volume_id = int(fid.split(",")[0])
            places = cluster.places(volume_id)
            assert len(places) == 2
            for address in places:
                answer = request(address, "GET", f"/{fid}")
                assert (answer.status, answer.body) == (200, content)
            # Whoever lacks the volume fetches the file from one who has it.
            (other,) = {server.admin for server in cluster.servers} - set(places)
            assert request(other, "GET", f"/{fid}").body == content


def test_the_real_server_copies_a_volume_of_ours(tmp_path: Path) -> None:
    life = Life(11, {3: ""})
    with Cluster(tmp_path, "ours", "weed") as cluster:
        ours, real = cluster.servers
        cluster.allocate(3)
        life.live(cluster, ours, 150)
        cluster.wait_for_nodes(2)
        cluster.wait_for_places(3, 1)
        shell = cluster.shell(f"volume.copy -volumeId=3 -source={ours.admin} -target={real.admin}")
        assert cluster.places(3) == sorted([ours.admin, real.admin]), shell
        _same_on_both(life, cluster)


def _read(server: VolumeServer, fid: str) -> tuple[int, bytes]:
    answer = request(server.admin, "GET", f"/{fid}")
    return answer.status, answer.body
