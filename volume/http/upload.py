"""From the request of a write to the needle that is stored, and what the answer tells of it."""

import base64
import hashlib
from dataclasses import dataclass
from typing import Final

from less_sync.volume.format.checksums import Bytes, crc32c
from less_sync.volume.format.needle import (
    GZIP,
    HAS_LAST_MODIFIED,
    HAS_MIME,
    HAS_NAME,
    HAS_PAIRS,
    HAS_TTL,
    MANIFEST,
    TEXT_BYTES_MAX,
    Needle,
)
from less_sync.volume.http import compress, media_types, multipart
from less_sync.volume.http.mime import Types
from less_sync.volume.http.orientation import is_photograph, upright
from less_sync.volume.http.pairs import pairs_of
from less_sync.volume.http.parameters import Parameters, parameters_of
from less_sync.volume.http.paths import raw_bytes, text
from less_sync.volume.http.request import Body, Request
from less_sync.volume.http.sniff import UNKNOWN, sniff

LOOP_HASHED_BYTES_MAX: Final = 256 << 10
LOOP_SUMMED_BYTES_MAX: Final = 4 << 20
"""Longer data gets its MD5 or its checksum in a thread."""
_OCTETS: Final = b"application/octet-stream"
_GZIP_NAME: Final = b"gzip"


class UploadError(Exception):
    """The request cannot be stored; the text is what the client is told."""


@dataclass(slots=True)
class Upload:
    """A file as it came. `data` lies in `room` at `room_at`, as `Needle` says, unless it was packed anew."""

    data: Bytes
    room: bytearray | None
    room_at: int
    name: bytes = b""
    mime: bytes = b""
    is_gzip: bool = False
    md5: bytes = b""
    """What the client says that the MD5 of the unpacked data is; empty if it says nothing."""
    size: int = 0
    """Length of the unpacked data."""


def read_upload(
    request: Request, body: Body, values: dict[str, str], types: Types, file_bytes_max: int
) -> tuple[Upload, Parameters]:
    """Find the file in a request, and its name and type. Nothing of the data is looked at.

    Args:
        values: the parameters of the query.
        types: what extensions mean.
        file_bytes_max: more than this is refused.

    Raises:
        UploadError: the body is malformed or too long.
    """
    if body.too_large:
        raise UploadError(_over(file_bytes_max))
    content_type = request.header(b"content-type")
    if request.method == "POST" and (not content_type or b"form-data" in content_type):
        upload, parameters = _read_multipart(body, content_type, values, types)
    else:
        upload, parameters = _read_raw(request, body, content_type or b"", types), parameters_of(values, {})
    if len(upload.data) > file_bytes_max:
        raise UploadError(_over(file_bytes_max))
    upload.size = len(upload.data)
    upload.md5 = request.header(b"content-md5") or upload.md5
    return upload, parameters


def _over(file_bytes_max: int) -> str:
    return f"file over the limited {file_bytes_max} bytes"


def empty_upload(request: Request, types: Types) -> Upload:
    """What is stored of a form-encoded body: nothing. Its fields are parameters."""
    body = Body(bytearray(), 0, 0)
    return _read_raw(request, body, request.header(b"content-type") or b"", types)


def _read_raw(request: Request, body: Body, mime: bytes, types: Types) -> Upload:
    disposition = request.header(b"content-disposition")
    name = _name_in(disposition) if disposition and b"name=" in disposition else b""
    if not name:
        name = raw_bytes(request.path[request.path.rfind("/") + 1 :])
        if b"\\" in name:
            name = multipart.last_element(name)
    if not mime:
        known = _type_of(name, types)
        mime = known if known != _OCTETS else b""
    is_gzip = request.header(b"content-encoding") == _GZIP_NAME
    return Upload(body.view(), body.buffer, body.start, name, mime, is_gzip)


def _name_in(disposition: bytes) -> bytes:
    if not disposition.startswith((b"inline", b"attachment")):
        disposition = b"attachment; " + disposition
    try:
        named = media_types.parse(disposition).parameters
    except media_types.MediaTypeError:
        return b""
    name = named.get("filename") or named.get("name") or b""
    return multipart.last_element(name) if name else b""


def _read_multipart(
    body: Body, content_type: bytes | None, values: dict[str, str], types: Types
) -> tuple[Upload, Parameters]:
    try:
        boundary = multipart.boundary_of(content_type)
        form = multipart.scan(body.buffer, body.start, body.end, boundary)
    except multipart.MultipartError as fault:
        raise UploadError(str(fault)) from fault
    part = form.file
    parameters = parameters_of(values, form.fields)
    mime = b"" if parameters.is_manifest else mime_of_part(part, types)
    data = memoryview(body.buffer)[part.start : part.end]
    upload = Upload(data, body.buffer, part.start, part.file_name, mime, part.is_gzip, part.md5)
    return upload, parameters


def mime_of_part(part: multipart.Part, types: Types) -> bytes:
    """The part's type, unless it says nothing or what the name says: then what the name says."""
    known = _type_of(part.file_name, types)
    if part.mime and part.mime not in (_OCTETS, known):
        return part.mime
    return known if known != _OCTETS else b""


def _type_of(name: bytes, types: Types) -> bytes:
    dot = name.rfind(b".")
    return types.of_extension(text(name[dot:]).lower()).encode() if dot > 0 else b""


def is_long_work(upload: Upload, *, may_pack: bool, fixes_photographs: bool) -> bool:
    """Whether `make_needle` belongs into a thread."""
    length = len(upload.data)
    if upload.is_gzip and length > compress.LOOP_PACKED_BYTES_MAX:
        return True
    if length <= compress.LOOP_BYTES_MAX and not fixes_photographs:
        return False
    if may_pack and _is_compressible(upload):
        return True
    if fixes_photographs and is_photograph(upload.name, upload.mime):
        return True
    return length > (LOOP_HASHED_BYTES_MAX if upload.md5 else LOOP_SUMMED_BYTES_MAX)


def make_needle(upload: Upload, *, may_pack: bool, fixes_photographs: bool) -> Needle:
    """Unpack what came packed, pack what is worth it, compare the MD5, sum up.

    The needle has data, name, type and checksum; the other fields are the caller's.

    Raises:
        UploadError: the MD5 is another one.
    """
    data, room, flags = upload.data, upload.room, 0
    if upload.is_gzip:
        flags = GZIP
        _measure_packed(upload)
    else:
        if upload.md5:
            _compare_md5(upload, hashlib.md5(data, usedforsecurity=False).digest(), len(data))
        packed = compress.compress(data) if may_pack and _is_compressible(upload) else None
        if packed is not None:
            data, room, flags = packed, None, GZIP
    if fixes_photographs and is_photograph(upload.name, upload.mime):
        turned = upright(data)
        if turned is not None:
            data, room = turned, None
    if len(upload.name) <= TEXT_BYTES_MAX:
        flags |= HAS_NAME
    if len(upload.mime) <= TEXT_BYTES_MAX:
        flags |= HAS_MIME
    return Needle(
        0,
        0,
        data,
        flags,
        upload.name if flags & HAS_NAME else b"",
        upload.mime if flags & HAS_MIME else b"",
        checksum=crc32c(data) if len(data) else 0,
        room=room,
        room_at=upload.room_at,
    )


def _is_compressible(upload: Upload) -> bool:
    return is_compressible(upload.name, upload.mime, upload.data)


def is_compressible(name: bytes, mime: bytes, data: Bytes) -> bool:
    """Whether a file of this name and type is worth the attempt to compress it."""
    if not len(data) or (mime == _OCTETS and not name.startswith(b".")):
        return False
    told = mime.decode("latin-1") or sniff(data)
    return compress.is_compressible(text(name), told if told != UNKNOWN else "")


def _measure_packed(upload: Upload) -> None:
    """Set the size of what came packed and compare its MD5, both of the unpacked data if it can be had."""
    digest = hashlib.md5(usedforsecurity=False)
    try:
        upload.size = compress.unpack(upload.data, digest.update if upload.md5 else len)
    except compress.UnpackError:
        upload.size = len(upload.data)
        digest = hashlib.md5(upload.data if upload.md5 else b"", usedforsecurity=False)
    if upload.md5:
        _compare_md5(upload, digest.digest(), upload.size)


def _compare_md5(upload: Upload, digest: bytes, size: int) -> None:
    computed = base64.b64encode(digest)
    if computed != upload.md5:
        raise UploadError(
            f"Content-MD5 did not match md5 of file data expected [{text(upload.md5)}] "
            f"received [{computed.decode()}] size {size}"
        )


def complete(needle: Needle, request: Request, parameters: Parameters, now_s: int) -> None:
    """Give the needle what does not depend on its data: times, pairs, and whether it is a manifest."""
    needle.last_modified = parameters.last_modified or now_s
    needle.flags |= HAS_LAST_MODIFIED
    if parameters.ttl:
        needle.ttl = parameters.ttl
        needle.flags |= HAS_TTL
    if parameters.is_manifest:
        needle.flags |= MANIFEST
    needle.pairs = pairs_of(request)
    if needle.pairs:
        needle.flags |= HAS_PAIRS
