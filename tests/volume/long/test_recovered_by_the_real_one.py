"""Damaged volumes, mended here, as the real server sees them."""

import json
from pathlib import Path

from less_sync.volume.engine import vacuum
from less_sync.volume.engine.files import Files
from less_sync.volume.engine.recovery import VolumePaths, recover
from less_sync.volume.format.fid import needle_text
from less_sync.volume.grpc.protos import volume_server_pb2
from tests.volume.cluster import Cluster
from tests.volume.engine.open_volumes import COOKIE, new_volume, put
from tests.volume.raw_http import request
from tests.volume.volume_files import INDEX, copy_volume

RECOVERED = sorted(name for name, vector in INDEX.items() if "recovered" in vector)


VACUUMED = 200


async def test_the_real_server_opens_what_was_vacuumed_here_and_vacuums_it_again(tmp_path: Path) -> None:
    with Cluster(tmp_path / "cluster", "weed", read_mode="local") as cluster:
        server = cluster.servers[0]
        server.stop()
        expected = await _vacuumed(server.directories[0])
        server.restart()
        _compare_contents(server.admin, expected)
        begin = volume_server_pb2.VacuumVolumeCompactRequest(volume_id=VACUUMED)
        assert server.call_stream("VacuumVolumeCompact", begin) == []
        server.call("VacuumVolumeCommit", volume_server_pb2.VacuumVolumeCommitRequest(volume_id=VACUUMED))
        _compare_contents(server.admin, expected)


async def _vacuumed(directory: Path) -> dict[int, bytes | None]:
    """Make a volume here and vacuum it, with writes in the middle."""
    volume = new_volume(directory, width=5)
    for id_ in range(1, 20):
        put(volume, id_, b"content %d" % id_ * id_)
    volume.try_delete(3, COOKIE)
    await vacuum.compact(volume)
    put(volume, 4, b"four again")
    put(volume, 30, b"new")
    volume.try_delete(5, COOKIE)
    await vacuum.commit(volume)
    put(volume, 31, b"after it")
    await volume.close()
    for suffix in ("dat", "idx"):
        (directory / f"7.{suffix}").rename(directory / f"{VACUUMED}.{suffix}")
    whole: dict[int, bytes | None] = {id_: b"content %d" % id_ * id_ for id_ in range(1, 20)}
    return whole | {3: None, 4: b"four again", 5: None, 30: b"new", 31: b"after it"}


def _compare_contents(address: str, expected: dict[int, bytes | None]) -> None:
    for id_, content in expected.items():
        answer = request(address, "GET", f"/{VACUUMED},{needle_text(id_, COOKIE)}")
        assert (answer.status, answer.body) == ((404, b"") if content is None else (200, content))


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
