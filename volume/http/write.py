"""POST and PUT: store a file (docs/volume.md section 3).

The order in which a request is judged is that of existing servers: limit of uploads under way, white list,
query, volume, token; then the body; then the needle. A small file of a volume that has no copies elsewhere is
stored and answered at once, without a task.

Safe because: everything until the record is handed over works on the request alone; the volume orders the
writers (docs/volume.md section 7); and a client that leaves cancels nothing here, so that a file which
is stored here is also written to its copies.
"""

import asyncio
import re
from contextlib import nullcontext
from typing import TYPE_CHECKING, Final

from less_sync.volume.engine.errors import VolumeError
from less_sync.volume.format.errors import FormatError
from less_sync.volume.format.fid import parse_needle, parse_volume_id
from less_sync.volume.format.needle import Needle
from less_sync.volume.http.access import token_of
from less_sync.volume.http.handlers import Begun, Finished
from less_sync.volume.http.json_text import JSON_HEADERS, json_error, json_response
from less_sync.volume.http.limits import InFlight
from less_sync.volume.http.mime import Types
from less_sync.volume.http.parameters import (
    FORM_BYTES_MAX,
    ParameterError,
    Parameters,
    is_form,
    parameters_of,
    parse_strictly,
)
from less_sync.volume.http.paths import text, write_fid
from less_sync.volume.http.replicate import Replication, ReplicationError
from less_sync.volume.http.request import Request
from less_sync.volume.http.response import Header, Response
from less_sync.volume.http.upload import (
    Upload,
    UploadError,
    complete,
    empty_upload,
    is_long_work,
    make_needle,
    read_upload,
)

if TYPE_CHECKING:
    from less_sync.volume.services import Services

_PLAIN: Final = re.compile(rb"[ !#-%\'-;=?-\[\]-~]*")
"""Texts that JSON holds as they are."""
UNPACKED_AT_ONCE_MAX: Final = 2
"""A gigabyte may be in each, which takes a thread seconds; the others are there for everybody."""
_U32: Final = 0xFFFFFFFF
_JSON_LINES: Final = "".join(f"{name}: {value!s}\r\n" for name, value in JSON_HEADERS)


class WriteHandler:
    """Stores files.

    Args:
        uploads: counts the announced lengths of the writes that run.
        types: what extensions mean.
    """

    def __init__(
        self, services: "Services", uploads: InFlight, types: Types, replication: Replication
    ) -> None:
        self._services: Final = services
        self._store: Final = services.store
        self._uploads: Final = uploads
        self._types: Final = types
        self._replication: Final = replication
        self._file_bytes_max: Final = services.options.file_bytes_max
        self._fixes_photographs: Final = services.options.fix_orientation
        self._unpacking: Final = asyncio.Semaphore(UNPACKED_AT_ONCE_MAX)
        self._uncounted: Final[set[Request]] = set()
        """Requests that wait at the limit, or waited in vain: their lengths are not in `uploads`."""

    def begin(self, request: Request) -> Begun:
        """Judge the head."""
        if self._uploads.is_over and request.param("type") != "replicate":
            return self._begin_later(request)
        return self._admit(request)

    def end(self, request: Request) -> None:
        """Count the request out."""
        if self._uncounted and request in self._uncounted:
            self._uncounted.discard(request)
        else:
            self._uploads.subtract(request.content_length or 0)

    def finish(self, request: Request) -> Finished:
        """Judge the body and store it."""
        body = request.body
        assert body is not None
        try:
            if is_form(request.header(b"content-type")):
                return self._finish_form(request)
            values = parse_strictly(request.query) if request.query else {}
            upload, parameters = read_upload(request, body, values, self._types, self._file_bytes_max)
            may_pack = not parameters.is_replica
            if is_long_work(upload, may_pack=may_pack, fixes_photographs=self._fixes_photographs):
                return self._make_later(request, upload, parameters)
            return self._make(request, upload, parameters)
        except (ParameterError, UploadError) as fault:
            return json_error(request, 400, str(fault))

    async def _begin_later(self, request: Request) -> Response | None:
        """Wait for the others to finish."""
        self._services.counters.handlers["uploadLimitCondition"] += 1
        self._uncounted.add(request)
        refused = await self._uploads.wait(request)
        if refused == 429:
            uploads = self._uploads
            why = (
                f"reject because inflight upload data {uploads.bytes} > {uploads.bytes_max}, and wait timeout"
            )
            return json_error(request, 429, why)
        if refused:
            return json_error(request, refused, "request cancelled")
        self._uncounted.discard(request)
        return self._admit(request)

    def _admit(self, request: Request) -> Response | None:
        self._uploads.add(request.content_length or 0)
        if not self._services.security.listed(request.peer_ip):
            return Response(401)
        try:
            if request.query:
                parse_strictly(request.query)
            if is_form(request.header(b"content-type")):
                # Its fields are judged before the volume is: the body comes first.
                return None
        except ParameterError as fault:
            return json_error(request, 400, str(fault))
        return self._refusal(request)

    def _refusal(self, request: Request) -> Response | None:
        """What is wrong with the volume or the token, if anything is."""
        vid = request.vid_text
        try:
            parse_volume_id(vid)
        except FormatError as fault:
            return json_error(request, 400, str(fault))
        security = self._services.security
        if security.wants_token(True) and not security.token_allows(
            token_of(request), vid, request.fid_text, write=True
        ):
            return json_error(request, 401, "wrong jwt")
        return None

    def _finish_form(self, request: Request) -> Finished:
        """Store an empty file for a form-encoded body, as existing servers do; its fields are parameters."""
        body = request.body
        assert body is not None
        if body.too_large or len(body) > FORM_BYTES_MAX:
            return json_error(request, 400, "http: POST too large")
        fields = parse_strictly(text(bytes(body.view())))
        refusal = self._refusal(request)
        if refusal is not None:
            return refusal
        parameters = parameters_of(parse_strictly(request.query) | fields, {})
        return self._make(request, empty_upload(request, self._types), parameters)

    async def _make_later(self, request: Request, upload: Upload, parameters: Parameters) -> Response:
        try:
            async with self._unpacking if upload.is_gzip else nullcontext():
                needle = await asyncio.to_thread(
                    make_needle,
                    upload,
                    may_pack=not parameters.is_replica,
                    fixes_photographs=self._fixes_photographs,
                )
        except UploadError as fault:
            return json_error(request, 400, str(fault))
        stored = self._store_needle(request, upload, parameters, needle)
        return stored if isinstance(stored, Response) else await stored

    def _make(self, request: Request, upload: Upload, parameters: Parameters) -> Finished:
        needle = make_needle(
            upload, may_pack=not parameters.is_replica, fixes_photographs=self._fixes_photographs
        )
        return self._store_needle(request, upload, parameters, needle)

    def _store_needle(
        self, request: Request, upload: Upload, parameters: Parameters, needle: Needle
    ) -> Finished:
        """Store the needle at once if it may be: no other server is concerned and nobody is in the way."""
        try:
            needle.id, needle.cookie = parse_needle(write_fid(request.path))
        except FormatError as fault:
            return json_error(request, 400, str(fault))
        complete(needle, request, parameters, int(self._services.clock()))
        volume_id = parse_volume_id(request.vid_text)
        volume = self._store.volume(volume_id)
        is_concerned = volume is None or (not parameters.is_replica and self._replication.has_copies(volume))
        if volume is not None and not is_concerned and not parameters.is_durable:
            try:
                written = volume.try_write(needle)
            except (VolumeError, OSError) as fault:
                return self._failed(request, fault)
            if written is not None:
                return _answer(request, upload, needle, unchanged=written.unchanged)
        return self._store_later(request, upload, parameters, needle, volume_id)

    async def _store_later(
        self, request: Request, upload: Upload, parameters: Parameters, needle: Needle, volume_id: int
    ) -> Response:
        """Find the copies, store the needle here, then at all of them."""
        try:
            volume = self._store.volume(volume_id)
            places = [] if parameters.is_replica else await self._replication.places(volume_id, volume)
        except ReplicationError as fault:
            return json_error(request, 500, str(fault))
        # The volume may have come or gone while the master was asked.
        volume = self._store.volume(volume_id)
        unchanged = False
        if volume is not None:
            try:
                written = await volume.write(needle, durable=parameters.is_durable)
            except (VolumeError, OSError) as fault:
                return self._failed(request, fault)
            unchanged = written.unchanged
        elif not places:
            own = self._services.options.own_address
            return json_error(request, 500, f"volume {volume_id} not found on {own}")
        if places:
            try:
                await self._replication.write(
                    request,
                    needle,
                    places,
                    volume_id=volume_id,
                    md5=upload.md5,
                    is_durable=parameters.is_durable,
                )
            except ReplicationError as fault:
                return json_error(request, 500, str(fault))
        return _answer(request, upload, needle, unchanged=unchanged)

    def _failed(self, request: Request, fault: Exception) -> Response:
        counters = self._services.counters
        counters.write_failures += 1
        counters.handlers["errorWriteToLocalDisk"] += 1
        return json_error(request, 500, f"failed to write to local disk: {fault}")


def is_plain(name: bytes, mime: bytes) -> bool:
    """Whether JSON holds both as they are."""
    return _PLAIN.fullmatch(name) is not None and _PLAIN.fullmatch(mime) is not None


def stored_answer(name: bytes, size: int, etag: str, mime: bytes) -> tuple[str, bytes]:
    """Header lines and body of the answer to a file that was stored; name and type are plain."""
    named = f'"name":"{name.decode()}",' if name else ""
    typed = f',"mime":"{mime.decode()}"' if mime else ""
    told = f'{{{named}"size":{size},"eTag":"{etag}"{typed}}}'
    return f'Content-Md5: \r\nEtag: "{etag}"\r\n{_JSON_LINES}Content-Length: {len(told)}\r\n', told.encode()


def _answer(request: Request, upload: Upload, needle: Needle, *, unchanged: bool) -> Response:
    etag = f"{needle.checksum:08x}"
    headers: list[Header] = [("Content-Md5", upload.md5), ("Etag", f'"{etag}"')]
    if unchanged:
        return Response(204, headers)
    size = upload.size & _U32
    if not request.query and not upload.md5 and size and is_plain(needle.name, needle.mime):
        # What nearly every answer is: the general way takes four times as long.
        response = Response(201)
        response.lines, response.body = stored_answer(needle.name, size, etag, needle.mime)
        return response
    told = {
        "name": text(needle.name),
        "size": size,
        "eTag": etag,
        "mime": text(needle.mime),
        "contentMd5": text(upload.md5),
    }
    return json_response(request, 201, {name: value for name, value in told.items() if value}, headers)
