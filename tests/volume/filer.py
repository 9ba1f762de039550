"""A real filer, with its S3 gateway if it is wanted, in front of the volume servers of a cluster."""

import shutil
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tests.volume.cluster import WEED, Cluster, Process, answers_below_500
from tests.volume.ports import GRPC_OFFSET, Ports

ACCESS_KEY: Final = "a-test-key"
SECRET_KEY: Final = "a-test-secret"
_IDENTITIES: Final = (
    '{"identities": [{"name": "tests", "credentials": [{"accessKey": "%s", "secretKey": "%s"}],'
    ' "actions": ["Admin", "Read", "Write", "List", "Tagging"]}]}'
)


class Filer:
    """`weed filer` on free ports, its names in a directory of the cluster."""

    def __init__(self, cluster: Cluster, *, s3: bool = False) -> None:
        self._cluster = cluster
        self._s3 = s3
        self._ports = Ports()
        self._process = Process("filer", cluster.directory, {})

    def __enter__(self) -> Self:
        with self._ports:
            self.port = self._ports.take()
            self.s3_port = self._ports.take()
            self._process.start(self._command())
            try:
                self._process.wait_until(lambda: answers_below_500(self.address, "/"), "ready")
                if self._s3:
                    self._process.wait_until(lambda: answers_below_500(self.s3_address, "/"), "S3 ready")
            except BaseException:
                self._process.kill()
                raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, failed: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Asked politely it takes ten seconds to save what nobody wants.
        self._process.kill()
        for path in Path("/tmp").glob(f"seaweedfs-*-{self.port}.sock"):
            path.unlink(missing_ok=True)
        if failed is not None:
            failed.add_note(f"--- filer\n{self._process.log_tail()}")

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def s3_address(self) -> str:
        return f"127.0.0.1:{self.s3_port}"

    def _command(self) -> list[str]:
        names = self._cluster.directory / "filer-names"
        shutil.rmtree(names, ignore_errors=True)
        names.mkdir()
        command = [
            WEED,
            f"-config_dir={self._cluster.config}",
            "filer",
            "-ip=127.0.0.1",
            f"-port={self.port}",
            f"-port.grpc={self.port + GRPC_OFFSET}",
            f"-master={self._cluster.master}",
            f"-defaultStoreDir={names}",
        ]
        if self._s3:
            identities = names / "s3.json"
            identities.write_text(_IDENTITIES % (ACCESS_KEY, SECRET_KEY))
            command += [
                "-s3",
                f"-s3.port={self.s3_port}",
                f"-s3.port.grpc={self.s3_port + GRPC_OFFSET}",
                f"-s3.config={identities}",
                "-s3.port.iceberg=0",
                "-s3.port.lance=0",
                "-s3.iam=false",
            ]
        return command
