"""Damaged volumes, mended here, as the real server sees them."""

import json
from pathlib import Path

from less_sync.volume.engine.files import Files
from less_sync.volume.engine.recovery import VolumePaths, recover
from tests.volume.cluster import Cluster
from tests.volume.raw_http import request
from tests.volume.volume_files import INDEX, copy_volume

RECOVERED = sorted(name for name, vector in INDEX.items() if "recovered" in vector)


def test_the_real_server_opens_every_mended_volume_for_writing_and_reads_what_is_left(tmp_path: Path) -> None:
    with Cluster(tmp_path / "cluster", "weed", read_mode="local") as cluster:
        server = cluster.servers[0]
        server.stop()
        data = server.directories[0]
        for volume_id, name in enumerate(RECOVERED, start=101):
            # The real server in the tests has offsets of 5 bytes.
            source = copy_volume(name, tmp_path, 5)
            paths = VolumePaths(source / "1.dat", source / "1.idx")
            assert not recover(Files(), paths, version=3, width=5, start=8, now_s=1).doubt
            for path in source.glob("1.*"):
                path.rename(data / path.name.replace("1", str(volume_id), 1))
        server.flags.append("-max=100")
        server.restart()
        _compare(server.admin)


def _compare(address: str) -> None:
    volumes = {one["Id"]: one for one in json.loads(request(address, "GET", "/status").body)["Volumes"]}
    assert {one["ReadOnly"] for one in volumes.values()} == {False}
    assert sorted(volumes) == list(range(101, 101 + len(RECOVERED)))
    for volume_id, name in enumerate(RECOVERED, start=101):
        expected = INDEX[name]["recovered"]["status"]
        fids = {fid: fid.replace("1,", f"{volume_id},", 1) for fid in expected}
        found = {fid: request(address, "GET", f"/{asked}").status for fid, asked in fids.items()}
        assert found == expected, name
        written = request(address, "PUT", f"/{volume_id},2211223344", body=b"written by the real one")
        assert written.status == 201, name
