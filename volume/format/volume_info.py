"""The `.vif` file: what is known of a volume beside its data file; JSON of a protobuf message.

Written with all members, in the order below, indented by two blanks, 64-bit numbers as text. Read with names
in camel case or with underscores and numbers as numbers or text. A missing member is zero, an unknown one is
passed over.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from less_sync.volume.format.errors import FormatError

EC_BLOCK_BYTES: Final = 1 << 20
"""The only size of small blocks that erasure-coded volumes have here."""


@dataclass(slots=True)
class RemoteFile:
    """Where the data of a volume lies when it is not on this disk."""

    backend_type: str = ""
    backend_id: str = ""
    key: str = ""
    offset: int = 0
    file_size: int = 0
    modified_time: int = 0
    """Unix seconds."""
    extension: str = ""


@dataclass(slots=True)
class EcShardConfig:
    """How a volume is erasure-coded."""

    data_shards: int = 0
    parity_shards: int = 0
    encode_ts_ns: int = 0
    block_size: int = 0
    """Bytes; 0 where nothing is said. Newer servers write it; it is not written here."""


@dataclass(slots=True)
class VolumeInfo:
    """What a `.vif` says."""

    files: list[RemoteFile] = field(default_factory=list)
    version: int = 0
    replication: str = ""
    bytes_offset: int = 0
    dat_file_size: int = 0
    expire_at_sec: int = 0
    read_only: bool = False
    ec_shard_config: EcShardConfig | None = None
    read_only_can_delete: bool = False


def encode_volume_info(info: VolumeInfo) -> bytes:
    """The bytes of the file, without a final newline."""
    shards = info.ec_shard_config
    members = {
        "files": [
            {
                "backendType": file.backend_type,
                "backendId": file.backend_id,
                "key": file.key,
                "offset": str(file.offset),
                "fileSize": str(file.file_size),
                "modifiedTime": str(file.modified_time),
                "extension": file.extension,
            }
            for file in info.files
        ],
        "version": info.version,
        "replication": info.replication,
        "bytesOffset": info.bytes_offset,
        "datFileSize": str(info.dat_file_size),
        "expireAtSec": str(info.expire_at_sec),
        "readOnly": info.read_only,
        "ecShardConfig": None
        if shards is None
        else {
            "dataShards": shards.data_shards,
            "parityShards": shards.parity_shards,
            "encodeTsNs": str(shards.encode_ts_ns),
        },
        "readOnlyCanDelete": info.read_only_can_delete,
    }
    return json.dumps(members, indent=2, ensure_ascii=False).encode()


def decode_volume_info(text: bytes) -> VolumeInfo:
    """Read the file, in its present or its older form (`BytesOffset`, `DestroyTime`).

    Raises:
        FormatError: it is no such JSON object.
    """
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"volume info is no JSON: {type(error).__name__}") from error
    if not isinstance(found, dict):
        raise FormatError("volume info is no JSON object")
    members = _Members(found)
    shards = members.object("ecShardConfig")
    return VolumeInfo(
        files=[_remote_file(_Members(file)) for file in members.objects("files")],
        version=members.number("version"),
        replication=members.text("replication"),
        bytes_offset=members.number("bytesOffset") or members.number("BytesOffset"),
        dat_file_size=members.number("datFileSize"),
        expire_at_sec=members.number("expireAtSec") or members.number("DestroyTime"),
        read_only=members.truth("readOnly"),
        ec_shard_config=None if shards is None else _shard_config(_Members(shards)),
        read_only_can_delete=members.truth("readOnlyCanDelete"),
    )


def _remote_file(members: "_Members") -> RemoteFile:
    return RemoteFile(
        members.text("backendType"),
        members.text("backendId"),
        members.text("key"),
        members.number("offset"),
        members.number("fileSize"),
        members.number("modifiedTime"),
        members.text("extension"),
    )


def _shard_config(members: "_Members") -> EcShardConfig:
    return EcShardConfig(
        members.number("dataShards"),
        members.number("parityShards"),
        members.number("encodeTsNs"),
        members.number("blockSize"),
    )


class _Members:
    """The members of a JSON object, each found under both of its spellings."""

    def __init__(self, members: Mapping[str, Any]) -> None:
        self._members = members

    def _value(self, name: str) -> Any:
        if name in self._members:
            return self._members[name]
        underscored = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)
        return self._members.get(underscored)

    def number(self, name: str) -> int:
        value = self._value(name)
        if value is None:
            return 0
        if isinstance(value, str) and value.removeprefix("-").isdecimal() and value.isascii():
            value = int(value[:21])
        if isinstance(value, bool) or not isinstance(value, int) or not -(2**63) <= value < 2**64:
            raise FormatError(f"volume info: {name} is no number")
        return value

    def text(self, name: str) -> str:
        value = self._value(name)
        if value is not None and not isinstance(value, str):
            raise FormatError(f"volume info: {name} is no text")
        return value or ""

    def truth(self, name: str) -> bool:
        value = self._value(name)
        if value is not None and not isinstance(value, bool):
            raise FormatError(f"volume info: {name} is neither true nor false")
        return bool(value)

    def object(self, name: str) -> Mapping[str, Any] | None:
        value = self._value(name)
        if value is not None and not isinstance(value, dict):
            raise FormatError(f"volume info: {name} is no object")
        return value

    def objects(self, name: str) -> list[Mapping[str, Any]]:
        value = self._value(name)
        if value is None:
            return []
        if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
            raise FormatError(f"volume info: {name} is no list of objects")
        return value
