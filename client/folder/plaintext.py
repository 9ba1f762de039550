"""What a record of a folder says once it is decrypted: CBOR maps, written here and read without trust.

    {v: 2, kind: "file", version, path, mtime_ns, content}                    a file
    {v: 2, kind: "deleted", version, path, mtime_ns, content: ""}             there was one
    {v: 2, kind: "large", version, path, mtime_ns, size, digest, content}     a file whose content is apart
    {v: 2, kind: "content", version: 1, size, digest, part_bytes, parts}      that content: which part files
    {v: 1, path, mtime_ns, content}                                           a file, of earlier releases

Paths are UTF-8 in NFC with `/` between the names. `content` of a large file is the 16-byte id of its *content
record*, which has no path: so it can be written before anything points to it, and outlives a rename. The page
docs/folder-format.md tells the whole.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from io import BytesIO
from itertools import pairwise
from typing import Any, Final
from uuid import UUID

import cbor2

PLAINTEXT_VERSION: Final = 2
VERSION_MAX: Final = 2**53 - 1
"""Largest version of a record: what every language's numbers hold."""
SIZE_BYTES_MAX: Final = 2**53 - 1
"""Largest content a record can tell of."""
PART_BYTES_MIN: Final = 1024 * 1024
PART_BYTES_MAX: Final = 64 * 1024 * 1024
"""Most plaintext of one part file."""
CONTENT_KIND: Final = "content"

_CONTENT_VERSION: Final = 1
_MTIME_NS_MAX: Final = 2**62
_DIGEST_BYTES: Final = 32
_ID_BYTES: Final = 16
_DEPTH_MAX: Final = 4
_LEAVES: Final = frozenset({int, bytes, str, bool, type(None)})


class ForeignRecord(Exception):
    """The record decrypts but is no file of a folder: of a later version, or not the shape this one has."""


class OtherKind(ForeignRecord):
    """The record is of this format and of a kind that this release does not know: it is to be left alone."""


class FileKind(StrEnum):
    """What a record says about its path: here is a file, or there was one."""

    FILE = "file"
    DELETED = "deleted"
    LARGE = "large"


@dataclass(frozen=True, slots=True)
class Pointer:
    """Where the content of a large file is: size and SHA-256 of the whole, and its content record."""

    size_bytes: int
    digest: bytes = field(repr=False)
    content: UUID


@dataclass(frozen=True, slots=True)
class PlainFile:
    """What a record says of its path. The path is as its author wrote it: not to be trusted yet.

    Of a deletion, `mtime_ns` is when it was made, and there is no content. A large file has a `pointer`
    instead of a content.
    """

    path: str
    mtime_ns: int
    content: bytes = field(repr=False)
    kind: FileKind = FileKind.FILE
    version: int = 1
    """Raised by everyone who writes the record; 0 in a record of format 1, which has none."""
    pointer: Pointer | None = None

    @property
    def size_bytes(self) -> int:
        """Of the content, wherever it is."""
        return len(self.content) if self.pointer is None else self.pointer.size_bytes

    @property
    def digest(self) -> bytes:
        """SHA-256 of the content, wherever it is."""
        return hashlib.sha256(self.content).digest() if self.pointer is None else self.pointer.digest


@dataclass(frozen=True, slots=True)
class PlainContent:
    """What a content record says: size and SHA-256 of the whole, and the part files that hold it, in order.

    Every part has `part_bytes` of plaintext but the last, which has the rest; there is at least one.
    """

    size_bytes: int
    digest: bytes = field(repr=False)
    part_bytes: int
    parts: tuple[UUID, ...] = field(repr=False)

    def part_size(self, number: int) -> int:
        """Bytes of plaintext of one part, counted from 0."""
        return min(self.part_bytes, self.size_bytes - number * self.part_bytes)


def part_count(size_bytes: int, part_bytes: int) -> int:
    """How many parts a content of this size has; an empty one has one."""
    return max(1, -(-size_bytes // part_bytes))


def encode_file(file: PlainFile) -> bytes:
    """The plaintext of a record of a path."""
    value = {
        "v": PLAINTEXT_VERSION,
        "kind": str(file.kind),
        "version": file.version,
        "path": file.path,
        "mtime_ns": file.mtime_ns,
    }
    if file.pointer is None:
        return cbor2.dumps(value | {"content": file.content})
    pointer = file.pointer
    return cbor2.dumps(
        value | {"size": pointer.size_bytes, "digest": pointer.digest, "content": pointer.content.bytes}
    )


def encode_content(content: PlainContent) -> bytes:
    """The plaintext of a content record."""
    return cbor2.dumps(
        {
            "v": PLAINTEXT_VERSION,
            "kind": CONTENT_KIND,
            "version": _CONTENT_VERSION,
            "size": content.size_bytes,
            "digest": content.digest,
            "part_bytes": content.part_bytes,
            "parts": [part.bytes for part in content.parts],
        }
    )


def decode(plaintext: bytes) -> PlainFile | PlainContent:
    """Read a plaintext. Only this key's owners can write it, yet a later version may have: trust no shape.

    Raises:
        ForeignRecord: it is not of this format; OtherKind where this format allows it.
    """
    stream = BytesIO(plaintext)
    try:
        value: Any = cbor2.load(
            stream,
            semantic_decoders=_NO_TAGS,
            max_depth=_DEPTH_MAX,
            allow_indefinite=False,
            allow_duplicate_keys=False,
        )
    except (cbor2.CBORError, ValueError, TypeError, OverflowError) as error:
        raise ForeignRecord from error
    if not isinstance(value, dict) or not _is_plain(value, _DEPTH_MAX) or stream.read(1):
        raise ForeignRecord
    kind, version = _kind_and_version(value)
    return _content(value) if kind is None else _file(value, kind, version)


class _NoTags(dict[int, Callable[[Any, bool], Any]]):
    """A decoder for each tag there is, that refuses it: some would pass for what they stand around."""

    def __missing__(self, tag: int) -> Callable[[Any, bool], Any]:
        return self._refuse

    @staticmethod
    def _refuse(value: object, immutable: bool) -> object:
        raise ValueError("tagged")


_NO_TAGS: Final = _NoTags()


def _is_plain(value: object, depth: int) -> bool:
    """Whether a value is of what every client reads (docs/encryption.md 1.2), in members not known as well.

    What one client read and another did not would be two states of one space.
    """
    if isinstance(value, dict):
        named = depth > 0 and all(type(name) is str for name in value)
        return named and all(_is_plain(one, depth - 1) for one in value.values())
    if isinstance(value, list):
        return depth > 0 and all(_is_plain(one, depth - 1) for one in value)
    return type(value) in _LEAVES


def _kind_and_version(value: dict[Any, Any]) -> tuple[FileKind | None, int]:
    """The kind of file, None for a content record, and the version."""
    number, kind, version = value.get("v"), value.get("kind"), value.get("version")
    if type(number) is not int or number not in (1, PLAINTEXT_VERSION):
        raise ForeignRecord
    if number == 1:
        return FileKind.FILE, 0
    if not isinstance(kind, str):
        raise ForeignRecord
    if kind != CONTENT_KIND and kind not in set(FileKind):
        raise OtherKind
    if type(version) is not int or not 1 <= version <= VERSION_MAX:
        raise ForeignRecord
    return None if kind == CONTENT_KIND else FileKind(kind), version


def _file(value: dict[Any, Any], kind: FileKind, version: int) -> PlainFile:
    path, mtime_ns, content = value.get("path"), value.get("mtime_ns"), value.get("content")
    if not isinstance(path, str) or not isinstance(content, bytes):
        raise ForeignRecord
    if type(mtime_ns) is not int or not -_MTIME_NS_MAX <= mtime_ns <= _MTIME_NS_MAX:
        raise ForeignRecord
    if kind is FileKind.LARGE:
        size_bytes, digest = _size_and_digest(value)
        return PlainFile(path, mtime_ns, b"", kind, version, Pointer(size_bytes, digest, _id(content)))
    if content and kind is FileKind.DELETED:
        raise ForeignRecord
    return PlainFile(path, mtime_ns, content, kind, version)


def _content(value: dict[Any, Any]) -> PlainContent:
    size_bytes, digest = _size_and_digest(value)
    part_bytes, parts = value.get("part_bytes"), value.get("parts")
    if type(part_bytes) is not int or not PART_BYTES_MIN <= part_bytes <= PART_BYTES_MAX:
        raise ForeignRecord
    if not isinstance(parts, list) or len(parts) != part_count(size_bytes, part_bytes):
        raise ForeignRecord
    ids = tuple(_id(part) for part in parts)
    if any(one == other for one, other in pairwise(sorted(ids))):
        raise ForeignRecord
    return PlainContent(size_bytes, digest, part_bytes, ids)


def _size_and_digest(value: dict[Any, Any]) -> tuple[int, bytes]:
    size_bytes, digest = value.get("size"), value.get("digest")
    if type(size_bytes) is not int or not 0 <= size_bytes <= SIZE_BYTES_MAX:
        raise ForeignRecord
    if not isinstance(digest, bytes) or len(digest) != _DIGEST_BYTES:
        raise ForeignRecord
    return size_bytes, digest


def _id(value: object) -> UUID:
    if not isinstance(value, bytes) or len(value) != _ID_BYTES:
        raise ForeignRecord
    return UUID(bytes=value)
