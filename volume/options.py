"""What a volume server is started with: one member per flag, with the flag's default."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

GRPC_PORT_ABOVE: Final = 10_000
"""The gRPC port of a server of which only the HTTP port is told."""
PORT_MAX: Final = 65_535
MIB: Final = 1 << 20


class Address(NamedTuple):
    """Where a server is reached: `host:port` by HTTP, `host:grpc_port` by gRPC. IPv6 hosts keep brackets."""

    host: str
    port: int
    grpc_port: int

    @property
    def http(self) -> str:
        """`host:port`; two addresses with the same one are the same server."""
        return f"{self.host}:{self.port}"

    @property
    def grpc(self) -> str:
        """`host:port` of the gRPC listener."""
        return f"{self.host}:{self.grpc_port}"


def parse_address(text: str) -> Address:
    """Read `host:port` or `host:port.grpcPort`.

    Raises:
        ValueError: there is no port in it, or none that exists.
    """
    host, _, ports = text.rpartition(":")
    port_text, _, grpc_text = ports.partition(".")
    port = int(port_text)
    grpc_port = int(grpc_text) if grpc_text else port + GRPC_PORT_ABOVE
    if not 0 < port <= PORT_MAX or (grpc_text and not 0 < grpc_port <= PORT_MAX):
        raise ValueError(f"no port: {ports}")
    return Address(host, port, grpc_port)


@dataclass(frozen=True, slots=True)
class DirectoryOptions:
    """One data directory."""

    path: Path
    max_volumes: int = 8
    """0: as many as the free space allows."""
    disk_type: str = ""
    """Empty for `hdd`."""
    tags: tuple[str, ...] = ()
    free_bytes_min: int = 0
    free_percent_min: float = 1.0
    """Of the two the one that is not 0 counts."""


@dataclass(frozen=True, slots=True)
class Options:
    """All of them, checked."""

    directories: tuple[DirectoryOptions, ...]
    index_directory: Path | None = None
    ip: str = "127.0.0.1"
    bind: str = "127.0.0.1"
    port: int = 8080
    grpc_port: int = 18080
    public_port: int = 8080
    """Equal to `port`: no second listener."""
    id: str = ""
    """Empty: `ip:port`."""
    public_url: str = ""
    """Empty: `ip:public_port`."""
    masters: tuple[Address, ...] = (Address("localhost", 9333, 19333),)
    data_centre: str = ""
    rack: str = ""
    read_mode: str = "proxy"
    """`local`, `proxy`, and any other text means redirect."""
    white_list: tuple[str, ...] = ()
    file_bytes_max: int = 256 * MIB
    upload_bytes_max: int = 0
    """In flight at once; 0 is no limit."""
    download_bytes_max: int = 0
    upload_wait_s: float = 60.0
    download_wait_s: float = 60.0
    fix_orientation: bool = False
    idle_timeout_s: float = 30.0
    pre_stop_s: float = 10.0
    compaction_bytes_per_s: int = 0
    """0 is no limit."""
    metrics_port: int = 0
    """0 is no listener."""
    metrics_ip: str = ""
    """Empty: `bind`."""
    offset_bytes: int = 4
    """Width of offsets in the index of new volumes, 4 or 5."""
    sync_interval_s: float = 0.0
    """How often volumes with unsynced writes are synced; 0 is never."""
    config_directory: Path | None = None
    security_file: Path | None = None
    """Instead of the search for `security.toml`."""
    log_level: str = "info"
    log_format: str = "text"
    unread: tuple[str, ...] = field(default=())
    """Flags that were given and have no effect here."""

    @property
    def server_id(self) -> str:
        """What the master knows this server by."""
        return self.id or self.own_address

    @property
    def own_address(self) -> str:
        """`ip:port`, as the master tells it to others."""
        return f"{self.ip}:{self.port}"
