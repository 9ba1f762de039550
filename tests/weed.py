"""A real S3-compatible server for tests and benchmarks: SeaweedFS, from a wheel, on loopback.

It takes four to ten seconds to start, so that all workers of a test run share one. Each user holds a shared
lock; a keeper process stops the server once nobody holds one any more, whether its users ended or died.
"""

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

import obstore
from obstore.store import S3Store

from tests.ports import free_ports

START_S_MAX: Final = 120.0
LOOK_EVERY_S: Final = 0.3
_ROLES: Final = ("s3", "master", "volume", "filer")
_ROOT: Final = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class S3Server:
    """Where it is, and who may use it. A bucket is made by the first object that is put into it."""

    endpoint: str
    filer: str
    """Shows the buckets as folders, and what lies in them that no bucket's listing does."""
    access_key: str
    secret_key: str
    pid: int

    def unfinished_uploads(self, bucket: str) -> list[str]:
        """The multipart uploads that were neither ended nor aborted."""
        url = f"{self.filer}/buckets/{bucket}/.uploads/"
        try:
            with urllib.request.urlopen(
                urllib.request.Request(url, headers={"Accept": "application/json"})
            ) as found:
                return [entry["FullPath"] for entry in json.load(found)["Entries"] or []]
        except urllib.error.HTTPError as missing:
            missing.close()
            if missing.code != 404:
                raise
            return []


@contextmanager
def own_server(directory: Path) -> Iterator[S3Server]:
    """Run a server with its data in `directory`, and stop it."""
    ports = free_ports(2 * len(_ROLES))
    s3, filer = (f"http://127.0.0.1:{ports[_ROLES.index(role)]}" for role in ("s3", "filer"))
    server = S3Server(s3, filer, "a-test-key", "a-test-secret", 0)
    process = _start(directory, ports, server)
    try:
        _wait_until_it_takes_objects(process, server, directory)
        yield replace(server, pid=process.pid)
    finally:
        _stop(process)
        for port in ports:
            for path in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):
                path.unlink(missing_ok=True)


def _start(directory: Path, ports: list[int], server: S3Server) -> subprocess.Popen[bytes]:
    data = directory / "data"
    data.mkdir(parents=True)
    # One volume for each bucket, not seven: they are files, and tests make many small buckets.
    (directory / "master.toml").write_text("[master.volume_growth]\ncopy_1 = 1\n")
    identity = {
        "name": "tests",
        "credentials": [{"accessKey": server.access_key, "secretKey": server.secret_key}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    (directory / "s3.json").write_text(json.dumps({"identities": [identity]}))
    command = [
        f"{sysconfig.get_path('scripts')}/weed",
        "server",
        f"-dir={data}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        "-s3",
        f"-s3.config={directory / 's3.json'}",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        "-s3.iam=false",
        "-master.telemetry=false",
        "-master.volumeSizeLimitMB=128",
        "-volume.max=100",
        "-volume.minFreeSpace=64MiB",
        *(f"-{role}.port={port}" for role, port in zip(_ROLES, ports, strict=False)),
        *(f"-{role}.port.grpc={port}" for role, port in zip(_ROLES, ports[len(_ROLES) :], strict=False)),
    ]
    with (directory / "log").open("wb") as log:
        return subprocess.Popen(command, cwd=directory, stdout=log, stderr=log, start_new_session=True)


def _wait_until_it_takes_objects(process: subprocess.Popen[bytes], server: S3Server, directory: Path) -> None:
    probe = S3Store(
        "probe",
        endpoint=server.endpoint,
        region="us-east-1",
        access_key_id=server.access_key,
        secret_access_key=server.secret_key,
        client_options={"allow_http": True},
        retry_config={"max_retries": 0},
    )
    deadline = time.monotonic() + START_S_MAX
    while time.monotonic() < deadline and process.poll() is None:
        try:
            obstore.put(probe, "probe", b"x")
            return
        except (obstore.exceptions.BaseError, OSError):
            time.sleep(0.1)
    tail = (directory / "log").read_text(errors="replace")[-2000:]
    raise RuntimeError(f"the S3 server did not start:\n{tail}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """At once: asked politely it takes ten seconds to save what nobody wants."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@contextmanager
def shared_server(directory: Path) -> Iterator[S3Server]:
    """Use the server of all processes that name the same directory; the first one has it started."""
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "users").open("a") as users:
        with (directory / "starting").open("a") as starting:
            fcntl.flock(starting, fcntl.LOCK_EX)
            fcntl.flock(users, fcntl.LOCK_SH)
            if not (directory / "server.json").exists():
                _start_keeper(directory)
        yield S3Server(**json.loads((directory / "server.json").read_text()))


def _start_keeper(directory: Path) -> None:
    log = os.open(directory / "keeper.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        keeper = os.posix_spawn(
            sys.executable,
            [sys.executable, "-m", "tests.weed", str(directory)],
            os.environ | {"PYTHONPATH": str(_ROOT)},
            file_actions=[(os.POSIX_SPAWN_DUP2, log, 1), (os.POSIX_SPAWN_DUP2, log, 2)],
            setsid=True,
        )
    finally:
        os.close(log)
    while not (directory / "server.json").exists():
        if os.waitpid(keeper, os.WNOHANG) != (0, 0):
            raise RuntimeError((directory / "keeper.log").read_text()[-3000:])
        time.sleep(0.1)


def keep(directory: Path) -> None:
    """Run the server until nobody uses it any more."""
    data = directory / f"server-{os.getpid()}"
    told = directory / "server.json"
    with (directory / "users").open("a") as users, own_server(data) as server:
        told.with_suffix(".new").write_text(json.dumps(asdict(server)))
        told.with_suffix(".new").rename(told)
        while True:
            time.sleep(LOOK_EVERY_S)
            with suppress(BlockingIOError):
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
        told.unlink(missing_ok=True)
    shutil.rmtree(data, ignore_errors=True)


if __name__ == "__main__":
    keep(Path(sys.argv[1]))
