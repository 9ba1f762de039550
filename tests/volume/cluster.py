"""A real master with volume servers, ours and real ones, as processes on loopback.

    with Cluster(tmp_path, "ours", "weed") as cluster:
        cluster.allocate(3, replication="001", servers=(0, 1))
        request(cluster.servers[0].admin, "PUT", "/3,0100000001", body=b"hello")

Servers keep their ports and directories for the life of the cluster: one can be stopped or killed and come
back, also as the other kind of server on the same files.
"""

import json
import os
import signal
import socket
import subprocess
import sysconfig
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, NamedTuple, Self

import grpc
from google.protobuf.message import Message

from less_sync.volume.grpc.protos import volume_server_pb2
from tests.volume.forked import Forked
from tests.volume.ports import GRPC_OFFSET, Ports
from tests.volume.raw_http import BrokenAnswer, request

Kind = Literal["ours", "weed"]

READY_S_MAX: Final = 30.0
STOP_S_MAX: Final = 10.0
CALL_S_MAX: Final = 30.0
COMMAND_S_MAX: Final = 60.0
LOOK_EVERY_S: Final = 0.02
LOG_SHOWN_CHARACTERS: Final = 1_500
WEED: Final = f"{sysconfig.get_path('scripts')}/weed"
OURS: Final = f"{sysconfig.get_path('scripts')}/less-sync-volume"
SERVICE: Final = "volume_server_pb.VolumeServer"


class Process:
    """A program with its log in a file, which can be stopped, killed and started again."""

    def __init__(self, name: str, directory: Path, variables: Mapping[str, str]) -> None:
        self.name = name
        self.log = directory / f"{name}.log"
        self._directory = directory
        # A variable called PORT or MAX would be taken for a flag: a process gets no others than these.
        self._variables = {"PATH": os.environ["PATH"], "HOME": str(directory), **variables}
        self._process: subprocess.Popen[bytes] | Forked | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def exit_status(self) -> int | None:
        """Of its last life; negative: the signal that ended it."""
        return None if self._process is None else self._process.poll()

    def start(self, command: Sequence[str]) -> None:
        assert not self.is_running
        with self.log.open("ab") as log:
            if command[0] == OURS:
                self._process = Forked(command[1:], self._directory, self._variables, log.fileno())
                return
            self._process = subprocess.Popen(
                command,
                cwd=self._directory,
                env=self._variables,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def stop(self) -> int:
        """Ask it to end and return its exit status; it is killed after ten seconds."""
        if self._process is None:
            return 0
        with suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGINT)
        try:
            return self._process.wait(STOP_S_MAX)
        except subprocess.TimeoutExpired:
            self.kill()
            return self._process.wait()

    def wait(self) -> int:
        """Wait until it has ended by itself and return its exit status."""
        assert self._process is not None
        return self._process.wait(READY_S_MAX)

    def kill(self) -> None:
        """End it as a power cut would, but for what the kernel already has."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def send_signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def wait_until(self, is_so: Callable[[], bool], what: str) -> None:
        """Wait for something this process does; raise if it ends before, or takes too long."""
        deadline = time.monotonic() + READY_S_MAX
        while not is_so():
            if not self.is_running:
                raise RuntimeError(f"{self.name} ended before {what}:\n{self.log_tail()}")
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.name}: {what} took over {READY_S_MAX} s:\n{self.log_tail()}")
            time.sleep(LOOK_EVERY_S)

    def log_tail(self) -> str:
        if not self.log.exists():
            return ""
        return self.log.read_text(errors="replace")[-LOG_SHOWN_CHARACTERS:]


class VolumeServer(Process):
    """One volume server, ours or the real one, on its ports and directories."""

    def __init__(
        self,
        number: int,
        kind: Kind,
        cluster: "Cluster",
        *,
        port: int,
        public_port: int,
        directories: Sequence[Path],
    ) -> None:
        super().__init__(f"volume{number}", cluster.directory, cluster.variables)
        self.number = number
        self.kind = kind
        """May be changed while the server is stopped."""
        self.port = port
        self.public_port = public_port
        self.grpc_port = port + GRPC_OFFSET
        self.directories = tuple(directories)
        self.flags: list[str] = list(cluster.flags)
        """More flags, spelled `-name=value`; may be changed while the server is stopped."""
        self._cluster = cluster

    @property
    def admin(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def public(self) -> str:
        return f"127.0.0.1:{self.public_port}"

    @property
    def grpc_address(self) -> str:
        return f"127.0.0.1:{self.grpc_port}"

    @property
    def peer_address(self) -> str:
        """As one server names another in a call: `host:port.grpcPort`."""
        return f"{self.admin}.{self.grpc_port}"

    def begin(self) -> None:
        """Start it without waiting until it is ready."""
        self.start(self._our_command() if self.kind == "ours" else self._real_command())

    def wait_until_ready(self) -> None:
        self.wait_until(lambda: self._answers() and _listens(self.grpc_port), "ready")

    def restart(self, *, kind: Kind | None = None) -> None:
        """Start it again on its ports and directories after `stop` or `kill`, also as the other kind."""
        self.kind = kind or self.kind
        self.begin()
        self.wait_until_ready()

    def call(self, name: str, message: Message, *, timeout_s: float = CALL_S_MAX) -> Message:
        """Make a call with one answer. Raises `grpc.RpcError`."""
        answer: type[Message] = getattr(volume_server_pb2, f"{name}Response")
        with grpc.insecure_channel(self.grpc_address) as channel:
            method = channel.unary_unary(
                f"/{SERVICE}/{name}",
                request_serializer=type(message).SerializeToString,
                response_deserializer=answer.FromString,
            )
            answered: Message = method(message, timeout=timeout_s, wait_for_ready=True)
            return answered

    def call_stream(self, name: str, message: Message, *, timeout_s: float = CALL_S_MAX) -> list[Message]:
        """Make a call whose answer is a stream, and read all of it. Raises `grpc.RpcError`."""
        answer: type[Message] = getattr(volume_server_pb2, f"{name}Response")
        with grpc.insecure_channel(self.grpc_address) as channel:
            method = channel.unary_stream(
                f"/{SERVICE}/{name}",
                request_serializer=type(message).SerializeToString,
                response_deserializer=answer.FromString,
            )
            return list(method(message, timeout=timeout_s, wait_for_ready=True))

    def vacuum(self, volume_id: int) -> None:
        """Compact a volume and put the compacted one in its place, as the master does."""
        self.call_stream(
            "VacuumVolumeCompact", volume_server_pb2.VacuumVolumeCompactRequest(volume_id=volume_id)
        )
        self.call("VacuumVolumeCommit", volume_server_pb2.VacuumVolumeCommitRequest(volume_id=volume_id))
        self.call("VacuumVolumeCleanup", volume_server_pb2.VacuumVolumeCleanupRequest(volume_id=volume_id))

    def delete_volume(self, volume_id: int) -> None:
        """Delete a volume and its files."""
        self.call("VolumeDelete", volume_server_pb2.VolumeDeleteRequest(volume_id=volume_id))

    def _answers(self) -> bool:
        path = "/healthz" if self.kind == "ours" else "/status"
        return answers_below_500(self.admin, path)

    def _real_command(self) -> list[str]:
        cluster = self._cluster
        return [
            WEED,
            f"-config_dir={cluster.config}",
            "volume",
            "-ip=127.0.0.1",
            f"-port={self.port}",
            f"-port.grpc={self.grpc_port}",
            f"-port.public={self.public_port}",
            f"-dir={','.join(map(str, self.directories))}",
            f"-max={','.join('16' for _ in self.directories)}",
            f"-master=127.0.0.1:{cluster.master_port}",
            f"-readMode={cluster.read_mode}",
            "-preStopSeconds=0",
            "-volume.allowUntrustedRemoteEndpoints",
            *self.flags,
        ]

    def _our_command(self) -> list[str]:
        cluster = self._cluster
        named = {
            "port": self.port,
            "port.grpc": self.grpc_port,
            "port.public": self.public_port,
            "ip": "127.0.0.1",
            "ip.bind": "127.0.0.1",
            "dir": ",".join(map(str, self.directories)),
            "max": ",".join("16" for _ in self.directories),
            "master": f"127.0.0.1:{cluster.master_port}",
            "securityFile": cluster.config / "security.toml",
            "readMode": cluster.read_mode,
            "concurrentUploadLimitMB": 0,
            "concurrentDownloadLimitMB": 0,
            "preStopSeconds": 0,
        }
        spelled = [word for name, value in named.items() for word in (f"--{name}", str(value))]
        return [OURS, *spelled, *self.flags]


class Assigned(NamedTuple):
    """A new file id, and where its file goes."""

    fid: str
    url: str


class Cluster:
    """A real master and the volume servers named, started side by side; stopped in reverse order.

    The logs of all of them go with an exception that leaves the block.
    """

    def __init__(
        self,
        directory: Path,
        *kinds: Kind,
        flags: Sequence[str] = (),
        security: str = "# nothing is asked for\n",
        read_mode: str = "proxy",
        split_public: bool = False,
        directories: int = 1,
        offset_bytes: int = 5,
        variables: Mapping[str, str] | None = None,
        master_flags: Sequence[str] = (),
    ) -> None:
        """`offset_bytes`: of our servers' new volumes; the real one of the tests knows 5 alone."""
        self.directory = directory
        self.config = directory / "config"
        self.flags = flags
        self.read_mode = read_mode
        self.variables = {"INDEX_OFFSETBYTES": str(offset_bytes), **(variables or {})}
        self.servers: list[VolumeServer] = []
        self._kinds = kinds
        self._security = security
        self._split_public = split_public
        self._directories = directories
        self._master_flags = master_flags
        self._master = Process("master", directory, {})

    def __enter__(self) -> Self:
        self.config.mkdir(parents=True, exist_ok=True)
        (self.config / "security.toml").write_text(self._security)
        with ExitStack() as stack:
            ports = stack.enter_context(Ports())
            self.master_port = ports.take()
            stack.callback(self._stop_all)
            self._start_master()
            for number, kind in enumerate(self._kinds):
                self.servers.append(self._server(number, kind, ports))
            for server in self.servers:
                server.begin()
            for server in self.servers:
                server.wait_until_ready()
            self._running = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, failed: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._running.close()
        if failed is not None:
            for process in (self._master, *self.servers):
                failed.add_note(f"--- {process.name}\n{process.log_tail()}")

    @property
    def master(self) -> str:
        return f"127.0.0.1:{self.master_port}"

    def allocate(
        self,
        volume_id: int,
        *,
        servers: Sequence[int] = (0,),
        collection: str = "",
        replication: str = "000",
        ttl: str = "",
        wait: int | None = None,
    ) -> None:
        """Make a volume on each of the servers named, and wait until the master shows it in `wait` places.

        Without `wait` these are as many as servers were named.
        """
        for number in servers:
            self.servers[number].call(
                "AllocateVolume",
                volume_server_pb2.AllocateVolumeRequest(
                    volume_id=volume_id, collection=collection, replication=replication, ttl=ttl, version=3
                ),
            )
        if wait != 0:
            self.wait_for_places(volume_id, len(servers) if wait is None else wait)

    def places(self, volume_id: int) -> list[str]:
        """Where the master says a volume is: admin addresses, sorted."""
        answer = request(self.master, "GET", f"/dir/lookup?volumeId={volume_id}")
        return sorted(place["url"] for place in json.loads(answer.body).get("locations") or [])

    def wait_for_places(self, volume_id: int, count: int) -> None:
        self._master.wait_until(
            lambda: len(self.places(volume_id)) == count, f"volume {volume_id} in {count} places"
        )

    def assign(self, *, replication: str = "000", collection: str = "", ttl: str = "") -> Assigned:
        """Ask the master for a file id; it makes volumes as it sees fit."""
        query = f"replication={replication}&collection={collection}&ttl={ttl}"
        answer = json.loads(request(self.master, "GET", f"/dir/assign?{query}").body)
        return Assigned(answer["fid"], answer["url"])

    def nodes(self) -> list[str]:
        """The volume servers that the master knows, sorted."""
        topology = json.loads(request(self.master, "GET", "/dir/status").body)["Topology"]
        racks = [rack for center in topology.get("DataCenters") or [] for rack in center.get("Racks") or []]
        return sorted(node["Url"] for rack in racks for node in rack.get("DataNodes") or [])

    def wait_for_nodes(self, count: int) -> None:
        self._master.wait_until(lambda: len(self.nodes()) == count, f"{count} volume servers")

    def weed(self, *arguments: str, given: str = "") -> str:
        """Run a command of the real `weed` in the cluster's directory and return what it prints."""
        done = subprocess.run(
            [WEED, f"-config_dir={self.config}", *arguments],
            cwd=self.directory,
            env={"PATH": os.environ["PATH"], "HOME": str(self.directory)},
            input=given,
            capture_output=True,
            text=True,
            timeout=COMMAND_S_MAX,
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(f"weed {' '.join(arguments)}: {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def shell(self, *lines: str) -> str:
        """Give lines to `weed shell`, under its lock, and return what it prints."""
        return self.weed("shell", f"-master={self.master}", given="\n".join(["lock", *lines, "unlock", ""]))

    def _start_master(self) -> None:
        data = self.directory / "master"
        data.mkdir(exist_ok=True)
        self._master.start(
            [
                WEED,
                f"-config_dir={self.config}",
                "master",
                "-ip=127.0.0.1",
                f"-port={self.master_port}",
                f"-port.grpc={self.master_port + GRPC_OFFSET}",
                f"-mdir={data}",
                "-peers=none",
                "-volumeSizeLimitMB=32",
                "-defaultReplication=000",
                "-telemetry=false",
                *self._master_flags,
            ]
        )
        self._master.wait_until(lambda: answers_below_500(self.master, "/dir/status"), "ready")

    def _server(self, number: int, kind: Kind, ports: Ports) -> VolumeServer:
        port = ports.take()
        public_port = ports.take() if self._split_public or len(self._kinds) > 1 else port
        directories = [self.directory / f"data{number}-{one}" for one in range(self._directories)]
        for directory in directories:
            directory.mkdir(exist_ok=True)
        return VolumeServer(number, kind, self, port=port, public_port=public_port, directories=directories)

    def _stop_all(self) -> None:
        for process in (*reversed(self.servers), self._master):
            process.stop()


def answers_below_500(address: str, path: str) -> bool:
    """Whether a server is there and does not say that it is unable."""
    try:
        return request(address, "GET", path, timeout_s=1.0).status < 500
    except (OSError, BrokenAnswer):
        return False


def _listens(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1.0):
            return True
    except OSError:
        return False
