"""Plays the recorded calls of `tests/vectors/volume_grpc.json` and says where the answers differ.

A cluster lives for all of its sequences, in the order of the file; variables live for one sequence. Members
of a message that have their default value are not recorded; `{"$any": kind}` stands for what varies.
"""

import base64
import hashlib
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import grpc
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from less_sync.volume.grpc.protos import volume_server_pb2 as pb
from tests.volume.cluster import SERVICE, Cluster
from tests.volume.raw_http import request

VECTORS: Final = Path(__file__).resolve().parent.parent / "vectors" / "volume_grpc.json"
METHODS: Final = pb.DESCRIPTOR.services_by_name["VolumeServer"].methods_by_name
CALL_S_MAX: Final = 30.0
DIFFERS: Final[dict[str, Any]] = {"D11: no file": []}
"""What is wanted in place of what existing servers answer, by the reason that a step gives."""
_VARIES: Final = re.compile(r"<[a-z][a-zA-Z ]*>")
_KINDS: Final[dict[str, type | tuple[type, ...]]] = {
    "number": (int, float),
    "string": str,
    "bytes": bytes,
    "message": dict,
    "list": list,
}


def sequences() -> list[dict[str, Any]]:
    """All of them, in the order of the file."""
    found: list[dict[str, Any]] = json.loads(VECTORS.read_text())["sequences"]
    return found


class Player:
    """Plays sequences against one cluster. `wanted` says what a step of a sequence, by name, has to find."""

    def __init__(self, cluster: Cluster, wanted: Callable[[str, Mapping[str, Any]], Any]) -> None:
        self._cluster: Final = cluster
        self._wanted: Final = wanted
        self._variables: dict[str, Any] = {}
        self.played = 0
        self.found: Final[dict[str, list[str]]] = {}
        """What differs, by `sequence[step]`."""

    def play(self, sequence: Mapping[str, Any]) -> None:
        """Every step in order."""
        self._variables = {"master": self._cluster.master}
        for number, server in enumerate(self._cluster.servers):
            self._variables |= {
                f"http{number}": server.admin,
                f"grpc{number}": server.grpc_address,
                f"node{number}": server.peer_address,
                f"dir{number}": str(server.directories[0]),
            }
        plays = {"grpc": self._grpc, "http": self._http, "fs": self._fs, "sleep": self._sleep}
        name = sequence["name"]
        for number, step in enumerate(sequence["steps"]):
            self.played += 1
            wanted = self._wanted(name, step) if "expect" in step else None
            found = list(plays[step["op"]](step, self._filled(wanted)))
            if found:
                self.found[f"{name}[{number}]"] = [step.get("method", step["op"]), *found]

    def _grpc(self, step: Mapping[str, Any], wanted: Any) -> Iterator[str]:
        method = METHODS[step["method"]]
        kind = GetMessageClass(method.input_type)
        messages = [self._message(kind, one) for one in step.get("requests", [step.get("request", {})])]
        found = self._call(step, messages)
        for name, path in step.get("save", {}).items():
            answer = found["response"] if "response" in found else found["responses"][0]
            self._variables[name] = _member(answer, path)
        yield from differences(wanted, found)

    def _call(self, step: Mapping[str, Any], messages: Sequence[Message]) -> dict[str, Any]:
        """What came, in the form in which it is recorded."""
        method = METHODS[step["method"]]
        answer = GetMessageClass(method.output_type)
        server = self._cluster.servers[step.get("server", 0)]
        received: list[Message] = []
        failure: dict[str, Any] = {}
        with grpc.insecure_channel(
            server.grpc_address, options=[("grpc.max_receive_message_length", -1)]
        ) as channel:
            call = channel.stream_stream(f"/{SERVICE}/{method.name}", _raw, answer.FromString)
            try:
                received.extend(call(iter(messages), timeout=CALL_S_MAX, wait_for_ready=True))
            except grpc.RpcError as error:
                failed: Any = error  # grpcio does not say so, but it is the call that has failed.
                failure = {"code": failed.code().name, "message": failed.details()}
        found = [_plain(message) for message in received]
        if method.server_streaming:
            return {"responses": found, **failure}
        return failure or {"response": found[0]}

    def _http(self, step: Mapping[str, Any], wanted: Any) -> Iterator[str]:
        server = self._cluster.servers[step.get("server", 0)]
        body, headers = None, {}
        if "body" in step:
            body, headers = _body(step["body"]), {"Content-Type": "application/octet-stream"}
        answer = request(server.admin, step["method"], step["path"], headers, body)
        yield from differences(wanted["status"], answer.status)
        if "body" in wanted:
            yield from differences(wanted["body"], answer.body)

    def _fs(self, step: Mapping[str, Any], wanted: Any) -> Iterator[str]:
        path = Path(self._filled(step["path"]))
        if not path.exists():
            yield f"{path.name} is not there"
            return
        match step["action"]:
            case "size":
                found: Any = path.stat().st_size
            case "json":
                found = json.loads(path.read_text())
            case "list":
                found = sorted(one.name for one in path.iterdir() if re.fullmatch(step["match"], one.name))
            case other:
                raise AssertionError(other)
        wanted = DIFFERS[step["differs"]] if "differs" in step else wanted
        if wanted != found:
            yield f"wanted {wanted}, found {found}"

    def _sleep(self, step: Mapping[str, Any], _wanted: Any) -> Iterator[str]:
        time.sleep(step["seconds"])
        yield from ()

    def _message(self, kind: type[Message], members: Mapping[str, Any]) -> Message:
        message = kind()
        for name, value in members.items():
            field = kind.DESCRIPTOR.fields_by_name[name]
            if not field.is_repeated:
                self._set(message, field, value)
            elif field.message_type is not None:
                inner = _class_of(field)
                getattr(message, name).extend(self._message(inner, one) for one in value)
            else:
                getattr(message, name).extend(self._scalar(field, one) for one in value)
        return message

    def _set(self, message: Message, field: Any, value: Any) -> None:
        if field.message_type is None:
            setattr(message, field.name, self._scalar(field, value))
            return
        inner = getattr(message, field.name)
        inner.SetInParent()
        inner.CopyFrom(self._message(_class_of(field), value))

    def _scalar(self, field: Any, value: Any) -> Any:
        if isinstance(value, dict):
            return self._variables[value["$var"]] if "$var" in value else base64.b64decode(value["$b64"])
        if field.enum_type is not None and isinstance(value, str):
            return field.enum_type.values_by_name[value].number
        value = self._filled(value)
        return value.encode() if field.type == field.TYPE_BYTES else value

    def _filled(self, value: Any) -> Any:
        """With variables in place of their names, at every depth; a text of one name alone keeps its kind."""
        if isinstance(value, dict):
            return {key: self._filled(one) for key, one in value.items()}
        if isinstance(value, list):
            return [self._filled(one) for one in value]
        if not isinstance(value, str):
            return value
        alone = re.fullmatch(r"\$\{(\w+)\}", value)
        if alone:
            return self._variables[alone[1]]
        return re.sub(r"\$\{(\w+)\}", lambda found: str(self._variables[found[1]]), value)


def differences(wanted: Any, found: Any, place: str = "") -> Iterator[str]:
    """Where `found` is not what is wanted, one line for each place."""
    if isinstance(wanted, dict) and any(key.startswith("$") for key in wanted):
        if not _matches(wanted, found):
            yield f"{place} wanted {wanted}, found {str(found)[:200]}"
    elif isinstance(wanted, dict) and isinstance(found, dict):
        for key in sorted({*wanted, *found}):
            if key in wanted and key in found:
                yield from differences(wanted[key], found[key], f"{place}.{key}")
            else:
                yield f"{place}.{key} wanted {wanted.get(key)}, found {str(found.get(key))[:200]}"
    elif isinstance(wanted, list) and isinstance(found, list) and len(wanted) == len(found):
        for number, (one, other) in enumerate(zip(wanted, found, strict=True)):
            yield from differences(one, other, f"{place}[{number}]")
    elif not _equal(wanted, found):
        yield f"{place} wanted {wanted!r}, found {str(found)[:200]!r}"


def _matches(wanted: Mapping[str, Any], found: Any) -> bool:
    if "$b64" in wanted:
        return bool(found == base64.b64decode(wanted["$b64"]))
    if "$any" in wanted and not isinstance(found, _KINDS[wanted["$any"]]):
        return False
    if "$sha256" in wanted and hashlib.sha256(found).hexdigest() != wanted["$sha256"]:
        return False
    return "$len" not in wanted or len(found) == wanted["$len"]


def _equal(wanted: Any, found: Any) -> bool:
    if isinstance(wanted, float) and isinstance(found, float):
        return abs(wanted - found) < 1e-8
    if not isinstance(wanted, str) or not isinstance(found, str):
        return bool(wanted == found)
    pattern = "(?s:.*)".join(map(re.escape, _VARIES.split(_spaced(wanted))))
    return re.fullmatch(pattern, _spaced(found)) is not None


def _spaced(text: str) -> str:
    return re.sub(" +", " ", text)


def _raw(message: Message) -> bytes:
    return message.SerializeToString()


def _plain(message: Message) -> dict[str, Any]:
    """Members that are set, with nested messages as dictionaries."""
    return {
        field.name: [_value(one) for one in value] if field.is_repeated else _value(value)
        for field, value in message.ListFields()
    }


def _value(value: Any) -> Any:
    return _plain(value) if isinstance(value, Message) else value


def _class_of(field: Any) -> type[Message]:
    return GetMessageClass(field.message_type)


def _member(answer: Mapping[str, Any], path: str) -> Any:
    """A member of a member; 0 where it has its default value."""
    found: Any = answer
    for name in path.split("."):
        found = found.get(name, 0)
    return found


def _body(body: Mapping[str, Any]) -> bytes:
    if "$b64" in body:
        return base64.b64decode(body["$b64"])
    text, count = body["$repeat"]
    return str(text).encode() * int(count)
