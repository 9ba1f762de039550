"""Plays the recorded requests of `tests/vectors/volume_http.json` and says where the answers differ.

A scenario has a cluster of its own. Each step is a request with the whole answer that is wanted: status,
every header but `date` and `connection`, and body; literally or by a matcher. `${name}` stands for an address
or a saved header.
"""

import base64
import gzip
import hashlib
import io
import json
import re
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Final

from PIL import Image

from less_sync.volume.grpc.protos import volume_server_pb2
from tests.volume.cluster import Cluster, Kind
from tests.volume.raw_http import Answer, BrokenAnswer, exchange, request

VECTORS: Final = Path(__file__).resolve().parent.parent / "vectors" / "volume_http.json"
RECORDED_VERSION: Final = "30GB 4.44"
UNRECORDED_HEADERS: Final = frozenset({"date", "connection"})
SHOWN_CHARACTERS: Final = 300


def scenarios() -> dict[str, dict[str, Any]]:
    """All scenarios, by their id."""
    return {one["id"]: one for one in json.loads(VECTORS.read_text())["scenarios"]}


def replay(
    scenario: Mapping[str, Any], kind: Kind, directory: Path, *, version: str, commit: str = ""
) -> dict[str, list[str]]:
    """Play a scenario against servers of one kind; return what differs, by the step's id.

    `version` and `commit` are what these servers write in place of what the recorded one wrote.
    """
    profile = scenario["profile"]
    with Cluster(
        directory,
        *[kind] * profile["servers"],
        flags=profile.get("flags", ()),
        security=profile.get("security", "# none\n"),
        read_mode=profile.get("read_mode", "proxy"),
        split_public=profile.get("split_public", False),
        offset_bytes=4,
    ) as cluster:
        player = _Player(cluster, version, commit)
        for volume in scenario["volumes"]:
            player.allocate(volume)
        return {step["id"]: found for step in scenario["steps"] if (found := player.play(step))}


class _Player:
    def __init__(self, cluster: Cluster, version: str, commit: str) -> None:
        self._cluster = cluster
        # The recorded server had no commit to name: there is a blank behind its version, and nothing more.
        self._versions = {f"{RECORDED_VERSION} ": f"{version} {commit}", RECORDED_VERSION: version}
        self._variables = {
            f"{name}{number}": address
            for number, server in enumerate(cluster.servers)
            for name, address in (("admin", server.admin), ("public", server.public))
        }

    def allocate(self, volume: Mapping[str, Any]) -> None:
        self._cluster.allocate(
            volume.get("id") or volume["volume_id"],
            servers=(volume["server"],),
            collection=volume.get("collection", ""),
            replication=volume.get("replication", "000"),
            ttl=volume.get("ttl", ""),
            # Lists of chunks are read by way of the master: it has to know every volume.
            wait=volume.get("wait", 1),
        )

    def play(self, step: Mapping[str, Any]) -> list[str]:
        server = self._cluster.servers[step.get("server", 0)]
        if step["method"] == "STOP":
            server.stop()
            return []
        if step["method"] == "GRPC":
            self._call(step["grpc"])
            return []
        try:
            answer = self._ask(step, server.public if step.get("port") == "public" else server.admin)
        except (OSError, BrokenAnswer) as broken:
            return [f"no answer: {broken!r}"]
        for name, source in step.get("save", {}).items():
            self._variables[name] = answer.header(source["header"]) or ""
        return list(_differences(answer, self._filled(step["expect"])))

    def _call(self, called: Mapping[str, Any]) -> None:
        if called["call"] == "AllocateVolume":
            self.allocate(called)
            return
        assert called["call"] == "VolumeMarkReadonly"
        message = volume_server_pb2.VolumeMarkReadonlyRequest(volume_id=called["volume_id"])
        self._cluster.servers[0].call("VolumeMarkReadonly", message)

    def _ask(self, step: Mapping[str, Any], address: str) -> Answer:
        if step["method"] == "RAW":
            return exchange(address, step["raw"].encode("latin-1"))
        return request(
            address,
            step["method"],
            self._filled(step["path"]),
            self._filled(step.get("headers", {})),
            _body_sent(step.get("body")),
        )

    def _filled(self, value: Any) -> Any:
        """The value with its variables and the version of these servers put in."""
        if isinstance(value, str):
            text = re.sub(f"{RECORDED_VERSION} ?", lambda found: self._versions[found[0]], value)
            return re.sub(r"\$\{(\w+)\}", lambda found: self._variables[found[1]], text)
        if isinstance(value, list):
            return [self._filled(one) for one in value]
        if isinstance(value, dict):
            return {key: self._filled(one) for key, one in value.items()}
        return value


def _body_sent(body: Mapping[str, Any] | None) -> bytes | None:
    match body:
        case None:
            return None
        case {"text": str(text)}:
            return text.encode("latin-1")
        case {"base64": str(text)}:
            return base64.b64decode(text)
        case {"repeat": [str(text), int(times)]}:
            return text.encode("latin-1") * times
    raise AssertionError(f"unknown body {body!r}")


def _differences(answer: Answer, expected: Mapping[str, Any]) -> list[str]:
    found: list[str] = []
    if answer.status != expected["status"]:
        found.append(f"status {answer.status}, not {expected['status']}")
    lines = expected.get("status_lines")
    if lines is not None and list(answer.status_lines) != lines:
        found.append(f"status lines {answer.status_lines}, not {lines}")
    return found + _differing_headers(answer, expected["headers"]) + _differing_body(answer, expected["body"])


def _differing_headers(answer: Answer, expected: Mapping[str, Any]) -> list[str]:
    came: dict[str, list[str]] = {}
    for name, value in answer.headers:
        if name not in UNRECORDED_HEADERS:
            came.setdefault(name, []).append(value)
    found = [f"header {name} should not be there: {came[name]}" for name in came.keys() - expected.keys()]
    for name, wanted in expected.items():
        values = wanted if isinstance(wanted, list) else [wanted]
        if len(values) != len(came.get(name, [])) or not all(map(_matches, came[name], values)):
            found.append(f"header {name}: {came.get(name)}, not {wanted}")
    return sorted(found)


def _matches(came: object, wanted: object) -> bool:
    """Whether a value is the wanted one, or what the matcher wants; lists and objects one by one."""
    match wanted:
        case {"re": str(pattern)}:
            return isinstance(came, str) and re.match(pattern, came) is not None
        case {"number": True}:
            return isinstance(came, int | float) or (isinstance(came, str) and came.isdigit())
        case {"http_date": True}:
            return isinstance(came, str) and parsedate_to_datetime(came) is not None
        case dict():
            return isinstance(came, dict) and came.keys() == wanted.keys() and _all_match(came, wanted)
        case list():
            return isinstance(came, list) and len(came) == len(wanted) and all(map(_matches, came, wanted))
    return came == wanted


def _all_match(came: Mapping[str, object], wanted: Mapping[str, object]) -> bool:
    return all(_matches(came[key], wanted[key]) for key in wanted)


def _differing_body(answer: Answer, expected: Mapping[str, Any]) -> list[str]:
    kind = next(name for name in _BODIES if name in expected)
    if _BODIES[kind](answer, expected):
        return []
    shown = answer.body[:SHOWN_CHARACTERS]
    return [f"body {shown!r} ({len(answer.body)} bytes), not {str(expected)[:SHOWN_CHARACTERS]}"]


def _is_hash(content: bytes, sha256: str, length: int) -> bool:
    return len(content) == length and hashlib.sha256(content).hexdigest() == sha256


def _is_gzip_of(answer: Answer, expected: Mapping[str, Any]) -> bool:
    try:
        content = gzip.decompress(answer.body)
    except (OSError, EOFError):
        return False
    return _is_hash(content, expected["gunzip_sha256"], expected["gunzip_length"])


def _is_image(answer: Answer, expected: Mapping[str, Any]) -> bool:
    try:
        with Image.open(io.BytesIO(answer.body)) as image:
            came = {"format": image.format, "width": image.width, "height": image.height}
    except OSError:
        return False
    return _matches(came, expected["image"])


def _is_json(answer: Answer, expected: Mapping[str, Any]) -> bool:
    try:
        return _matches(json.loads(answer.body), expected["json"])
    except ValueError:
        return False


def _is_ranges(answer: Answer, expected: Mapping[str, Any]) -> bool:
    _, _, boundary = (answer.header("content-type") or "").partition("boundary=")
    wanted = b""
    for part in expected["byteranges"]:
        head = "\r\n".join([f"--{boundary}", *part["headers"], "", ""])
        wanted += head.encode("latin-1") + part["text"].encode("latin-1") + b"\r\n"
    return bool(boundary) and answer.body == wanted + f"--{boundary}--\r\n".encode("latin-1")


_BODIES: Final[Mapping[str, Callable[[Answer, Mapping[str, Any]], bool]]] = {
    "empty": lambda answer, _: answer.body == b"",
    "text": lambda answer, expected: answer.body == expected["text"].encode("latin-1"),
    "sha256": lambda answer, expected: _is_hash(answer.body, expected["sha256"], expected["length"]),
    "gunzip_sha256": _is_gzip_of,
    "json": _is_json,
    "contains": lambda answer, expected: expected["contains"].encode("latin-1") in answer.body,
    "image": _is_image,
    "byteranges": _is_ranges,
}
