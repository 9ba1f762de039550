"""A random life of volumes, with a model that says what every file in them has to read as."""

from dataclasses import dataclass, field
from random import Random
from typing import Final

from tests.volume.cluster import Cluster, VolumeServer
from tests.volume.raw_http import Answer, request

COOKIE: Final = 0x5EC2E700
KEYS_MAX: Final = 60
"""Few of them, so that most are overwritten or deleted in time."""
BYTES_MAX: Final = 40_000
FAR_FUTURE_S: Final = 4_000_000_000
"""The real server's vacuum judges the age of a file with a TTL by its time of change, not by its writing."""
UNCOMPARED: Final = frozenset({"date", "connection", "server", "x-amz-request-id"})
TYPES: Final = ("text/plain", "application/x-less", "image/x-none", "")

Reading = tuple[int, tuple[tuple[str, str], ...], bytes]
"""Status, headers but for those of the moment, and body."""


@dataclass(slots=True)
class Kept:
    """What one file id stands for."""

    content: bytes | None
    """`None`: deleted."""
    name: str = ""
    type: str = ""
    modified_s: int = 0
    pairs: dict[str, str] = field(default_factory=dict)


class Life:
    """Writes, deletes and tidies in some volumes of a server; everything follows from the seed."""

    def __init__(self, seed: int, volumes: dict[int, str]) -> None:
        """`volumes`: their ids with their TTL, which the files in them inherit."""
        self._random = Random(seed)
        self._volumes = volumes
        self.kept: dict[str, Kept] = {}

    def live(self, cluster: Cluster, server: VolumeServer, steps: int, *, restarts: bool = True) -> None:
        """Take random steps; with `restarts` some of them stop or kill the server and start it again."""
        choices = [self._write] * 50 + [self._delete] * 15 + [self._vacuum, self._vacuum_by_master]
        choices += [self._write_with_other_cookie] * 2 + [self._delete_absent] * 2
        if restarts:
            choices += [self._restart, self._kill]
        for _ in range(steps):
            self._random.choice(choices)(cluster, server)

    def readings(self, server: VolumeServer) -> dict[str, Reading]:
        """Read every file id that was ever used."""
        return {fid: _reading(request(server.admin, "GET", f"/{fid}")) for fid in self.kept}

    def judge(self, readings: dict[str, Reading]) -> None:
        """Hold what a server reads against the model."""
        for fid, (status, headers, body) in readings.items():
            kept, found = self.kept[fid], dict(headers)
            if kept.content is None:
                assert (status, body) == (404, b""), fid
                continue
            assert (status, body) == (200, kept.content), fid
            if not kept.content:
                continue
            if kept.name:
                assert kept.name in found["content-disposition"], fid
            if kept.type:
                assert found["content-type"] == kept.type, fid
            assert {name: found.get(name.lower()) for name in kept.pairs} == kept.pairs, fid

    def _some_fid(self) -> str:
        volume_id = self._random.choice(list(self._volumes))
        key = self._random.randrange(1, KEYS_MAX)
        return f"{volume_id},{key:02x}{COOKIE + key:08x}"

    def _write(self, _: Cluster, server: VolumeServer) -> None:
        fid = self._some_fid()
        before = self.kept.get(fid)
        if before is not None and before.content == b"":
            # An empty file loses its cookie in a vacuum of the real server: then nothing may replace it.
            return
        kept = self._some_file(fid)
        ttl = self._random.choice(["", "", "5d"])
        has_ttl = bool(ttl or self._volumes[int(fid.split(",")[0])])
        kept.modified_s = FAR_FUTURE_S if has_ttl else self._random.randrange(1_000_000_000, 1_700_000_000)
        query = f"?ts={kept.modified_s}" + (f"&ttl={ttl}" if ttl else "")
        query += self._random.choice(["", "", "&fsync=true"])
        answer = self._send(server, f"/{fid}{query}", kept)
        if answer.status == 204:
            # The content is the same: what is new about its name or type is dropped.
            assert before is not None
            assert before.content == kept.content
            return
        assert answer.status == 201, (fid, answer)
        self.kept[fid] = kept

    def _some_file(self, fid: str) -> Kept:
        before = self.kept.get(fid)
        content = self._content()
        if before is not None and before.content and self._random.random() < 0.1:
            content = before.content
        pairs = {"Colour": f"c{self._random.randrange(100)}"} if self._random.random() < 0.2 else {}
        return Kept(content, type=self._random.choice(TYPES), pairs=pairs)

    def _content(self) -> bytes:
        kind = self._random.randrange(10)
        if kind == 0:
            return b""
        if kind < 4:
            return b"say it again " * self._random.randrange(1, 400)
        size = self._random.choice([1, 7, 8, 9, self._random.randrange(1, BYTES_MAX)])
        return self._random.randbytes(size)

    def _send(self, server: VolumeServer, target: str, kept: Kept) -> Answer:
        assert kept.content is not None
        headers = {f"Seaweed-{name}": value for name, value in kept.pairs.items()}
        if self._random.random() < 0.5:
            if kept.type:
                headers["Content-Type"] = kept.type
            return request(server.admin, "PUT", target, headers, kept.content)
        kept.name = f"name-{self._random.randrange(1000)}"
        head = f'--edge\r\nContent-Disposition: form-data; name="file"; filename="{kept.name}"\r\n'
        if kept.type:
            head += f"Content-Type: {kept.type}\r\n"
        body = head.encode() + b"\r\n" + kept.content + b"\r\n--edge--\r\n"
        headers["Content-Type"] = "multipart/form-data; boundary=edge"
        return request(server.admin, "POST", target, headers, body)

    def _write_with_other_cookie(self, _: Cluster, server: VolumeServer) -> None:
        living = [fid for fid, kept in self.kept.items() if kept.content]
        if living:
            fid = self._random.choice(living)
            answer = request(server.admin, "PUT", f"/{fid[:-8]}00000bad", (), b"not the owner")
            assert answer.status == 500, (fid, answer)
            assert b"mismatching cookie" in answer.body, (fid, answer)

    def _delete(self, _: Cluster, server: VolumeServer) -> None:
        fid = self._some_fid()
        kept = self.kept.get(fid)
        answer = request(server.admin, "DELETE", f"/{fid}")
        if kept is None or kept.content is None:
            assert answer.status == 404, (fid, answer)
            return
        assert answer.status == 202, (fid, answer)
        self.kept[fid] = Kept(None)

    def _delete_absent(self, _: Cluster, server: VolumeServer) -> None:
        volume_id = self._random.choice(list(self._volumes))
        assert request(server.admin, "DELETE", f"/{volume_id},ffffff00000000").status == 404

    def _vacuum(self, _: Cluster, server: VolumeServer) -> None:
        server.vacuum(self._random.choice(list(self._volumes)))

    def _vacuum_by_master(self, cluster: Cluster, _: VolumeServer) -> None:
        # Told to look at all volumes the master pauses for ten seconds between any two.
        volume_id = self._random.choice(list(self._volumes))
        cluster.shell(f"volume.vacuum -volumeId={volume_id} -garbageThreshold=0.01")

    def _restart(self, _: Cluster, server: VolumeServer) -> None:
        server.stop()
        server.restart()

    def _kill(self, _: Cluster, server: VolumeServer) -> None:
        server.kill()
        server.restart()


def _reading(answer: Answer) -> Reading:
    headers = tuple(sorted(pair for pair in answer.headers if pair[0] not in UNCOMPARED))
    return answer.status, headers, answer.body
