"""The report of a heartbeat: a closed list, and all of it that says anything of what this server holds.

docs/fleet.md has the same list, and a test compares the two. None of it names a space, a record, a user,
a device, an issuer, a peer or a client.
"""

from typing import Self

import msgspec


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """One server at one moment. None: this kind of server has no such thing, or it is not known."""

    connections: int | None = None
    """Open ones of clients and peers, of all workers."""
    spaces: int | None = None
    """This and the three below are estimates of the database's catalogue."""
    records: int | None = None
    files: int | None = None
    storage_bytes: int | None = None
    """Of the database's tables and indexes, or of a volume server's data files."""
    file_bytes: int | None = None
    """Of contents of files."""
    database_id: str | None = None
    """16 hexadecimal digits, the same on all nodes of one database."""
    peers: int | None = None
    """Open connections from and to other servers."""
    pushes_per_minute: float | None = None
    """This and the three below are of the time since the last report."""
    pulls_per_minute: float | None = None
    errors_per_minute: float | None = None
    """Requests that failed for a fault of the server's own."""
    push_p99_ms: float | None = None
    cpu_ratio: float | None = None
    """0 to 1, of all processors of the machine; this and the five below are the machine's."""
    memory_used_bytes: int | None = None
    memory_total_bytes: int | None = None
    disk_used_bytes: int | None = None
    """This and the two below are of the fullest disk that the server writes to."""
    disk_total_bytes: int | None = None
    disk_free_ratio: float | None = None
    """0 to 1."""
    database_ok: bool | None = None
    database_kind: str | None = None
    """`embedded` or `external`."""
    migration: int | None = None
    """The newest one that the database has."""
    backup_age_seconds: int | None = None
    backup_interval_seconds: int | None = None
    draining: bool = False
    stopping: bool = False
    features: list[str] | None = None
    """Names out of a table of this program's."""

    def minimal(self) -> Self:
        """What is left of it where no more than life and disk is to be told."""
        return type(self)(
            disk_used_bytes=self.disk_used_bytes,
            disk_total_bytes=self.disk_total_bytes,
            disk_free_ratio=self.disk_free_ratio,
            draining=self.draining,
            stopping=self.stopping,
        )
