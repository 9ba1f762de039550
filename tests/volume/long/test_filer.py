"""The real filer, its S3 gateway and the real command line tools, on top of our volume servers."""

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Final

import obstore
from obstore.store import S3Store

from tests.volume.cluster import Cluster, VolumeServer
from tests.volume.filer import ACCESS_KEY, SECRET_KEY, Filer
from tests.volume.raw_http import BrokenAnswer, request

FILES: Final = 2_000
FOLDERS: Final = 40
CLIENTS: Final = 8
TRIES_MAX: Final = 100
PAUSE_S: Final = 0.1
KILL_EVERY_S: Final = 0.3


def _tree(seed: int) -> dict[str, bytes]:
    random = Random(seed)
    sizes = [0, 1, 100, 3_000, 3_000, 20_000, 70_000]
    return {
        f"/tree/{number % FOLDERS}/{number}.bin": random.randbytes(random.choice(sizes))
        for number in range(FILES)
    }


def _store(filer: Filer, path: str, content: bytes) -> None:
    """Write a file, again and again while the volume server is away."""
    for _ in range(TRIES_MAX):
        try:
            if request(filer.address, "PUT", path, body=content).status == 201:
                return
        except (OSError, BrokenAnswer):
            pass
        time.sleep(PAUSE_S)
    raise AssertionError(f"{path} could not be stored")


def _load(filer: Filer, path: str) -> bytes | None:
    """Read a file, again while the volume server is away."""
    for _ in range(TRIES_MAX):
        try:
            answer = request(filer.address, "GET", path)
            if answer.status == 200:
                return answer.body
        except (OSError, BrokenAnswer):
            pass
        time.sleep(PAUSE_S)
    return None


@contextmanager
def _killed_now_and_then(server: VolumeServer) -> Iterator[list[int]]:
    """Kill a server and start it again, until the block ends; yields a list with one entry for each time."""
    times: list[int] = []
    ended = threading.Event()

    def kill() -> None:
        while not ended.wait(KILL_EVERY_S):
            times.append(server.pid)
            server.kill()
            server.restart()

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        yield times
    finally:
        ended.set()
        killer.join()


def test_a_tree_of_2000_files_survives_kills_of_the_volume_server(tmp_path: Path) -> None:
    tree = _tree(1)
    with (
        Cluster(tmp_path, "ours") as cluster,
        Filer(cluster) as filer,
        ThreadPoolExecutor(CLIENTS) as clients,
    ):
        cluster.wait_for_nodes(1)
        with _killed_now_and_then(cluster.servers[0]) as kills:
            list(clients.map(lambda path: _store(filer, path, tree[path]), tree))
        assert len(kills) >= 2
        with _killed_now_and_then(cluster.servers[0]) as kills:
            read = dict(zip(tree, clients.map(lambda path: _load(filer, path), tree), strict=True))
        wrong = [path for path, content in tree.items() if read[path] != content]
        assert wrong == []


def test_a_tree_that_is_deleted_again_leaves_no_content_behind(tmp_path: Path) -> None:
    with Cluster(tmp_path, "ours", "ours") as cluster, Filer(cluster) as filer:
        cluster.wait_for_nodes(2)
        for number in range(50):
            _store(filer, f"/gone/{number}", b"%d" % number * 2_000)
        assert _live_files(cluster) == 50
        assert request(filer.address, "DELETE", "/gone?recursive=true").status == 204
        deadline = time.monotonic() + 30
        while _live_files(cluster) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert _live_files(cluster) == 0
        for server in cluster.servers:
            for volume in _volumes(server):
                server.vacuum(volume["Id"])
        assert _total(cluster, "Size") == 0


def _volumes(server: VolumeServer) -> list[dict[str, int]]:
    status = json.loads(request(server.admin, "GET", "/status").body)
    return list(status["Volumes"] or [])


def _total(cluster: Cluster, name: str) -> int:
    return sum(volume[name] for server in cluster.servers for volume in _volumes(server))


def _live_files(cluster: Cluster) -> int:
    return _total(cluster, "FileCount") - _total(cluster, "DeleteCount")


def test_the_s3_gateway_stores_reads_lists_and_deletes(tmp_path: Path) -> None:
    with Cluster(tmp_path, "ours") as cluster, Filer(cluster, s3=True) as filer:
        cluster.wait_for_nodes(1)
        store = S3Store(
            "smoke",
            endpoint=f"http://{filer.s3_address}",
            region="us-east-1",
            access_key_id=ACCESS_KEY,
            secret_access_key=SECRET_KEY,
            client_options={"allow_http": True},
        )
        content = Random(3).randbytes(12 * 1024 * 1024)
        obstore.put(store, "small", b"hello")
        obstore.put(store, "large", content, chunk_size=5 * 1024 * 1024, use_multipart=True)
        assert bytes(obstore.get(store, "small").bytes()) == b"hello"
        assert bytes(obstore.get(store, "large").bytes()) == content
        assert (
            bytes(obstore.get_range(store, "large", start=5_000_000, length=1_000_000))
            == content[5_000_000:6_000_000]
        )
        assert sorted(one["path"] for page in obstore.list(store) for one in page) == ["large", "small"]
        obstore.delete(store, ["small", "large"])
        assert [one for page in obstore.list(store) for one in page] == []


def test_weed_upload_and_download_pass_files_of_several_chunks(tmp_path: Path) -> None:
    with Cluster(tmp_path, "ours", "ours") as cluster:
        cluster.wait_for_nodes(2)
        content = Random(4).randbytes(3 * 1024 * 1024)
        (tmp_path / "photo.bin").write_bytes(content)
        printed = cluster.weed(
            "upload", f"-master={cluster.master}", "-replication=001", "-maxMB=1", str(tmp_path / "photo.bin")
        )
        (uploaded,) = json.loads(printed)
        assert uploaded["size"] == len(content)
        (tmp_path / "down").mkdir()
        cluster.weed("download", f"-server={cluster.master}", f"-dir={tmp_path / 'down'}", uploaded["fid"])
        (downloaded,) = (tmp_path / "down").iterdir()
        assert downloaded.read_bytes() == content
