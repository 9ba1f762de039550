"""GET and HEAD of a file (docs/volume.md, section 3.4).

A short file of a volume that is here is answered on the spot: one look-up, one read, one checksum. Whatever
may take longer is a coroutine: long files, whose checksum is compared in a thread before the head is sent,
what has to be inflated or is a picture to change, lists of chunks, and volumes of other servers.
"""

import asyncio
from collections.abc import Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from less_sync.volume.engine.errors import DamagedRecord, NeedleNotFound, VolumeError
from less_sync.volume.engine.memory import return_memory
from less_sync.volume.engine.reading import LARGE_BYTES
from less_sync.volume.engine.threads import to_the_end
from less_sync.volume.format.checksums import Bytes
from less_sync.volume.format.errors import FormatError
from less_sync.volume.format.fid import parse_needle, parse_volume_id
from less_sync.volume.format.needle import GZIP, MANIFEST, Needle
from less_sync.volume.http.access import token_of
from less_sync.volume.http.chunks import TOO_DEEP, ChunkError, Expanded, depth_of
from less_sync.volume.http.conditions import http_date, not_modified
from less_sync.volume.http.content import Content, Held, Stored
from less_sync.volume.http.decompress import (
    HELD_BYTES_MAX,
    TooLongError,
    inflate_at_once,
    inflated,
    is_gzip,
)
from less_sync.volume.http.elsewhere import answer_elsewhere
from less_sync.volume.http.entity import Headers, describe, first_headers, peeked, respond
from less_sync.volume.http.handlers import Immediate
from less_sync.volume.http.heavy import BusyError, HeavyWork
from less_sync.volume.http.images import IMAGE_BYTES_MAX, Wanted, change, wanted
from less_sync.volume.http.json_text import json_error
from less_sync.volume.http.limits import InFlight
from less_sync.volume.http.loading import (
    HELD_LEAST_BYTES,
    HELD_RECORD_BYTES_MAX,
    HELD_TOTAL_BYTES_MAX,
    TooLargeError,
    load,
    verify_stored,
    whole,
)
from less_sync.volume.http.manifest import DEPTH_MAX, MANIFEST_BYTES_MAX, load_manifest
from less_sync.volume.http.mime import Types, extension
from less_sync.volume.http.paths import text
from less_sync.volume.http.request import Request
from less_sync.volume.http.response import STREAMED, Response, plain_text
from less_sync.volume.logs import Logger

if TYPE_CHECKING:
    from less_sync.volume.engine.volume import Volume
    from less_sync.volume.http.limits import Limits
    from less_sync.volume.services import Services

MADE_BYTES_MAX: Final = 128 << 20
"""While answers hold more, texts are inflated while they are sent; pictures and long lists are refused."""
LIST_BYTES_SMALL: Final = 16 << 10
"""A list of chunks that is never refused."""
_log: Final = Logger(__name__)

Place = tuple[int, int, int, str, str]
"""Volume, needle, cookie; file name and extension, both as the path gives them."""
Begun = Response | Coroutine[Any, Any, Response]


class ReadHandler(Immediate):
    """Answers reads."""

    def __init__(self, services: "Services", limits: "Limits", types: Types | None = None) -> None:
        self._services: Final = services
        self._store: Final = services.store
        self._security: Final = services.security
        self._counters: Final = services.counters
        self._downloads: Final = limits.downloads
        self._types: Final = types or Types()
        self._pictures: Final = HeavyWork()
        self._inflating: Final = HeavyWork()
        self.made: Final = InFlight(MADE_BYTES_MAX, 0)
        """What answers hold in memory that is not the record: inflated texts, pictures, lists."""

    def begin(self, request: Request) -> Begun:
        """The answer, or a coroutine that makes it."""
        return self._when_free(request) if self._downloads.is_over else self._read(request)

    async def _when_free(self, request: Request) -> Response:
        """Too much is being sent: let another server answer, or wait."""
        self._counters.handlers["downloadLimitCondition"] += 1
        if request.param("proxied") != "true":
            try:
                volume_id = parse_volume_id(request.vid_text)
            except FormatError:
                return Response(400)
            volume = self._store.volume(volume_id)
            if volume is not None and volume.placement:
                return await answer_elsewhere(self._services, request, volume_id)
        status = await self._downloads.wait(request)
        if status == 429:
            over = f"{self._downloads.bytes} > {self._downloads.bytes_max}"
            return json_error(
                request,
                429,
                f"request {request.path} because inflight download data {over}, and wait timeout",
            )
        if status:
            return Response(status)
        answer = self._read(request)
        return answer if isinstance(answer, Response) else await answer

    def _read(self, request: Request) -> Begun:
        if self._security.wants_token(False) and not self._security.token_allows(
            token_of(request), request.vid_text, request.fid_text, write=False
        ):
            return json_error(request, 401, "wrong jwt")
        place = _place(request)
        if place is None:
            return Response(400)
        volume = self._store.volume(place[0])
        if volume is not None:
            return self._read_here(request, volume, place)
        if self._services.options.read_mode == "local" or request.param("proxied") == "true":
            return Response(404)
        return answer_elsewhere(self._services, request, place[0])

    def _read_here(self, request: Request, volume: "Volume", place: Place) -> Begun:
        _, id_, cookie, name, ending = place
        deleted = bool(request.query) and request.param("readDeleted") == "true"
        try:
            size = volume.record_size(id_, deleted=deleted)
            is_whole = request.method == "GET" and b"range" not in request.fields
            held_bytes_max = HELD_RECORD_BYTES_MAX if is_whole else LARGE_BYTES
            if self._downloads.bytes > HELD_TOTAL_BYTES_MAX:
                held_bytes_max = HELD_LEAST_BYTES
            needle, content = load(volume, id_, size, held_bytes_max, deleted=deleted)
        except NeedleNotFound:
            self._counters.handlers["errorGetNotFound"] += 1
            return Response(404)
        except (VolumeError, OSError) as fault:
            return self._damaged(request, fault)
        # Of an empty file nothing is stored but that it is there: every cookie is right.
        if size and needle.cookie != cookie:
            content.release()
            return Response(404)
        fields = request.fields
        if (b"if-modified-since" in fields or b"if-none-match" in fields) and not_modified(
            text(fields.get(b"if-modified-since", b"")),
            text(fields.get(b"if-none-match", b"")),
            needle.last_modified,
            f"{needle.checksum:08x}",
        ):
            content.release()
            modified = needle.last_modified
            return Response(304, [("Last-Modified", http_date(modified))] if modified else None)
        headers = first_headers(needle)
        if needle.flags & MANIFEST and request.param("cm") != "false":
            return self._counted(self._expand(request, needle, content, headers, name, ending), size)
        return self._counted(self._serve(request, needle, content, headers, name, ending), size)

    def _serve(
        self,
        request: Request,
        needle: Needle,
        content: Held | Stored,
        headers: Headers,
        name: str,
        ending: str,
    ) -> Begun:
        """Send what is stored: as it is, inflated, or as a changed picture."""
        is_streamed = needle.size > LARGE_BYTES and not needle.flags & (GZIP | MANIFEST)
        if not name and needle.name:
            name = text(needle.name)
            if not ending and not is_streamed:
                # Existing servers have already begun to send a long file when they learn its name.
                ending = extension(name)
        asked = wanted(request, ending) if request.query else None
        if is_streamed and request.method == "HEAD":
            asked = None
        is_deflated = False
        if needle.flags & GZIP and is_gzip(content.first(2)):
            if asked is None and b"gzip" in request.fields.get(b"accept-encoding", b""):
                headers["Content-Encoding"] = "gzip"
            else:
                short = inflate_at_once(content)
                is_deflated = short is None
                content = short or content
        is_long = isinstance(content, Stored) and request.method == "GET" and b"range" not in request.fields
        if is_long or is_deflated or asked is not None:
            return self._serve_later(request, needle, content, headers, name, asked, is_deflated)
        part_type = describe(request, headers, name, text(needle.mime), self._types)
        return respond(request, headers, content, part_type)

    async def _serve_later(
        self,
        request: Request,
        needle: Needle,
        stored: Held | Stored,
        headers: Headers,
        name: str,
        asked: Wanted | None,
        is_deflated: bool,
    ) -> Response:
        content: Content = stored
        try:
            if isinstance(stored, Stored):
                await verify_stored(needle, stored)
            if is_deflated:
                content = Held(b"")  # `inflated` takes what is stored over, whether it succeeds or not.
                held_bytes_max = 0 if self.made.is_over else HELD_BYTES_MAX
                content = await inflated(stored, self._inflating, request, held_bytes_max=held_bytes_max)
            if asked is not None:
                content = await self._changed(request, content, asked)
        except (VolumeError, OSError, TooLongError) as fault:
            content.release()
            return self._damaged(request, fault)
        except BusyError:
            content.release()
            return Response(503)
        except BaseException:
            content.release()
            raise
        part_type = describe(request, headers, name, text(needle.mime), self._types)
        return await peeked(respond(request, headers, content, part_type))

    async def _changed(self, request: Request, content: Content, asked: Wanted) -> Content:
        """A changed picture in the place of `content`, which is released if it is not returned."""
        if content.size > IMAGE_BYTES_MAX:
            return content
        if self.made.is_over:
            raise BusyError
        async with self._pictures.turn(request):
            held = await whole(content, IMAGE_BYTES_MAX)
            changed = Held(await to_the_end(asyncio.to_thread(_change, held.data, asked)))
        content.release()
        return changed

    async def _expand(
        self,
        request: Request,
        needle: Needle,
        content: Held | Stored,
        headers: Headers,
        name: str,
        ending: str,
    ) -> Response:
        """Send what the chunks of a list hold; what is no list is sent as it is."""
        try:
            held = await self._in_memory(needle, content)
            listed = held
            if needle.flags & GZIP and is_gzip(held.first(2)):
                inside = await inflated(held, self._inflating, request, bytes_max=MANIFEST_BYTES_MAX)
                listed = await whole(inside, MANIFEST_BYTES_MAX)
        except (TooLargeError, TooLongError) as fault:
            return plain_text(500, f"chunk manifest: {fault}")
        except (VolumeError, OSError) as fault:
            return self._damaged(request, fault)
        except BusyError:
            return Response(503)
        if self.made.is_over and listed.size > LIST_BYTES_SMALL:
            return Response(503)
        manifest = await load_manifest(listed.data)
        if manifest is None:
            answer = self._serve(request, needle, held, headers, name, ending)
            return answer if isinstance(answer, Response) else await answer
        if depth_of(request) > DEPTH_MAX:
            return plain_text(500, TOO_DEEP)
        headers["X-File-Store"] = "chunked"
        name = name or manifest.name
        part_type = describe(request, headers, name, manifest.mime, self._types)
        depth = depth_of(request)
        expanded = Expanded(self._services, manifest, depth, self._inflating, request, self.made)
        try:
            asked = wanted(request, extension(name))
            chunks = expanded if asked is None else await self._changed(request, expanded, asked)
            return await peeked(respond(request, headers, chunks, part_type))
        except ChunkError as fault:
            expanded.release()
            headers.pop("Content-Type", None)
            return plain_text(500, str(fault), list(headers.items()))
        except BusyError:
            expanded.release()
            return Response(503)
        except BaseException:
            expanded.release()
            raise

    async def _in_memory(self, needle: Needle, content: Held | Stored) -> Held:
        """The text of a list, checked; its file is let go of."""
        try:
            if isinstance(content, Stored):
                await verify_stored(needle, content)
            return await whole(content, MANIFEST_BYTES_MAX)
        finally:
            content.release()

    def _counted(self, answer: Begun, size: int) -> Begun:
        """Count `size` bytes as being sent until the answer is."""
        downloads = self._downloads
        if isinstance(answer, Response):
            if answer.body:
                downloads.add(size)
                answer.sent = partial(downloads.subtract, size)
            return answer
        return self._counted_later(answer, size)

    async def _counted_later(self, answer: Coroutine[Any, Any, Response], size: int) -> Response:
        downloads = self._downloads
        downloads.add(size)
        try:
            response = await answer
        except BaseException:
            downloads.subtract(size)
            raise
        made = 0 if isinstance(response.body, STREAMED) else len(response.body)
        self.made.add(made)
        response.sent = partial(self._sent, size, made)
        return response

    def _sent(self, size: int, made: int) -> None:
        self._downloads.subtract(size)
        self.made.subtract(made)

    def _damaged(self, request: Request, fault: Exception) -> Response:
        self._counters.handlers["errorGetInternal"] += 1
        self._counters.read_failures += 1
        self._counters.read_invalid_needles += isinstance(fault, DamagedRecord)
        _log.error("a file could not be read", file=request.shown, fault=fault)
        return Response(500)


def _change(data: Bytes, asked: Wanted) -> Bytes:
    try:
        return change(data, asked)
    finally:
        return_memory()


def _place(request: Request) -> Place | None:
    """What the path names, None if it names nothing."""
    try:
        id_, cookie = parse_needle(request.fid_text)
        return parse_volume_id(request.vid_text), id_, cookie, request.filename, request.extension
    except FormatError:
        return None
