"""The profiler's own listener: plain HTTP on loopback, one request a connection, everything bounded.

Nobody is asked who he is. So no web page may ask: a page can make its browser send a GET to loopback, and by
a name that it lets point there read the answer too. Requests that do not name a loopback address in `Host`,
or that a browser says come from another site, are refused.
"""

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus
from ipaddress import ip_address
from typing import Final, NamedTuple
from urllib.parse import parse_qsl

import httptools
import structlog

from less_sync.bins.errors import CommandError
from less_sync.bins.listening import bound_address, open_listeners
from less_sync.bins.profiler.cpu import Sampler
from less_sync.bins.profiler.heap import heap
from less_sync.bins.profiler.stacks import tasks, threads
from less_sync.bins.settings.parts import ListenAddress

PPROF_SETTING: Final = "--pprof-addr or PPROF_ADDR"
CONNECTIONS_MAX: Final = 8
HEAD_BYTES_MAX: Final = 8192
HEAD_TIMEOUT_S: Final = 5.0
WRITE_TIMEOUT_S: Final = 20.0
SECONDS_DEFAULT: Final = 10
SECONDS_MAX: Final = 60

INDEX: Final = f"""\
/debug/pprof/profile?seconds=N  where CPU time goes, as collapsed stacks
                                (1 to {SECONDS_MAX} seconds, default {SECONDS_DEFAULT})
/debug/pprof/heap               where memory was taken; begins to trace at the first request
/debug/pprof/tasks              where every task of the event loop waits
/debug/pprof/threads            where every thread is
"""

_log = structlog.get_logger(__name__)


class Answer(NamedTuple):
    """What is answered: plain text."""

    status: HTTPStatus
    text: str = ""


class Head(NamedTuple):
    """What counts of a request."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    """By lower-case name; of one that comes twice the last."""


class Malformed(Exception):
    """This is no HTTP request."""


class Profiler:
    """Answers requests. One that takes long keeps others like it out."""

    def __init__(self) -> None:
        self._open: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._busy = False

    def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection, in a task that this profiler owns."""
        if len(self._open) >= CONNECTIONS_MAX:
            writer.transport.abort()
            return
        self._open[asyncio.create_task(self._connection(reader, writer))] = writer

    async def aclose(self) -> None:
        """End what is under way."""
        connections = dict(self._open)
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)
        for writer in connections.values():
            writer.transport.abort()

    async def answer(self, head: Head) -> Answer:
        """Find out what is asked for."""
        if not _may_ask(head.headers):
            return Answer(HTTPStatus.FORBIDDEN, "only for requests to a loopback address, from no web page\n")
        route = self._routes().get(head.path)
        if route is None:
            return Answer(HTTPStatus.NOT_FOUND)
        if head.method != "GET":
            return Answer(HTTPStatus.METHOD_NOT_ALLOWED)
        return await route(head.query)

    def _routes(self) -> Mapping[str, Callable[[str], Awaitable[Answer]]]:
        return {
            "/debug/pprof/": self._index,
            "/debug/pprof/profile": self._profile,
            "/debug/pprof/heap": self._heap,
            "/debug/pprof/tasks": self._tasks,
            "/debug/pprof/threads": self._threads,
        }

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._serve(reader, writer)
            writer.close()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            writer.transport.abort()
        finally:
            task = asyncio.current_task()
            assert task is not None
            self._open.pop(task)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(HEAD_TIMEOUT_S):
            raw = await reader.readuntil(b"\r\n\r\n")
        answer = await _while_somebody_waits(reader, self._answer_to(raw))
        writer.transport.set_write_buffer_limits(0)  # so that `drain` waits until all is sent
        writer.write(_encoded(answer))
        async with asyncio.timeout(WRITE_TIMEOUT_S):
            await writer.drain()

    async def _answer_to(self, raw: bytes) -> Answer:
        try:
            return await self.answer(parse_head(raw))
        except Malformed:
            return Answer(HTTPStatus.BAD_REQUEST)

    async def _index(self, _query: str) -> Answer:
        return Answer(HTTPStatus.OK, INDEX)

    async def _tasks(self, _query: str) -> Answer:
        return Answer(HTTPStatus.OK, await tasks())

    async def _threads(self, _query: str) -> Answer:
        return Answer(HTTPStatus.OK, threads())

    async def _profile(self, query: str) -> Answer:
        seconds = dict(parse_qsl(query, keep_blank_values=True)).get("seconds", str(SECONDS_DEFAULT))
        if not (
            seconds.isascii() and seconds.isdigit() and len(seconds) <= 4 and 1 <= int(seconds) <= SECONDS_MAX
        ):
            return Answer(HTTPStatus.BAD_REQUEST, f"seconds must be a number from 1 to {SECONDS_MAX}\n")
        sampler, stop = Sampler(), threading.Event()

        def work() -> str:
            sampler.run(int(seconds), stop)
            return sampler.collapsed()

        try:
            return await self._alone(work)
        finally:
            stop.set()

    async def _heap(self, _query: str) -> Answer:
        return await self._alone(heap)

    async def _alone(self, work: Callable[[], str]) -> Answer:
        """Do something in a thread, unless something of the kind is being done."""
        if self._busy:
            return Answer(HTTPStatus.SERVICE_UNAVAILABLE, "another profile is being taken\n")
        self._busy = True
        working = asyncio.get_running_loop().run_in_executor(None, work)
        working.add_done_callback(self._thread_ended)
        return Answer(HTTPStatus.OK, await asyncio.shield(working))

    def _thread_ended(self, _working: "asyncio.Future[str]") -> None:
        # Not sooner, if who asked is gone: two samplers would restore the interpreter's pace to each other's.
        self._busy = False


@asynccontextmanager
async def profiler(place: ListenAddress | list[socket.socket]) -> AsyncIterator[ListenAddress]:
    """Listen at an address, or at sockets that do, while the block runs; yields where, really.

    Raises:
        CommandError: that address cannot be had, or is none of this machine alone.
    """
    listeners = open_listeners(place, PPROF_SETTING) if isinstance(place, ListenAddress) else place
    answering = Profiler()
    servers: list[asyncio.Server] = []
    try:
        if not all(bound_address(listener).is_loopback for listener in listeners):
            raise CommandError("PPROF_ADDR must be a loopback address")  # a name stands for another one
        servers += [
            await asyncio.start_server(answering.connected, sock=listener, limit=HEAD_BYTES_MAX)
            for listener in listeners
        ]
        bound = bound_address(listeners[0])
        _log.info("profiler listening", address=str(bound))
        yield bound
    finally:
        for server in servers:
            server.close()
        for listener in listeners:
            listener.close()
        await answering.aclose()


async def _while_somebody_waits(
    reader: asyncio.StreamReader, answer: Coroutine[None, None, Answer]
) -> Answer:
    """An answer that may take a minute, unless whoever asked hangs up, or goes on to speak.

    Raises:
        ConnectionResetError: nobody waits for it any more.
    """
    answering, speaking = asyncio.create_task(answer), asyncio.create_task(reader.read(1))
    try:
        await asyncio.wait((answering, speaking), return_when=asyncio.FIRST_COMPLETED)
        if not answering.done():
            raise ConnectionResetError
        return answering.result()
    finally:
        answering.cancel()
        speaking.cancel()
        await asyncio.gather(answering, speaking, return_exceptions=True)


class _HeadReader:
    """Callbacks of the HTTP parser."""

    def __init__(self) -> None:
        self.target = b""
        self.headers: dict[str, str] = {}

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        key = name.decode("latin-1").lower()
        if key == "host" and key in self.headers:
            raise Malformed
        self.headers[key] = value.decode("latin-1")


def parse_head(raw: bytes) -> Head:
    """Read a request's head.

    Raises:
        Malformed: it is none.
    """
    read = _HeadReader()
    parser = httptools.HttpRequestParser(read)
    try:
        parser.feed_data(raw)
        path, _, query = read.target.decode("ascii").partition("?")
        return Head(parser.get_method().decode("ascii"), path, query, read.headers)
    except (httptools.HttpParserError, httptools.HttpParserUpgrade, UnicodeDecodeError):
        raise Malformed from None


def _may_ask(headers: Mapping[str, str]) -> bool:
    if "origin" in headers or headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        return False
    host = headers.get("host", "")
    name = host.partition("]")[0].removeprefix("[") if host.startswith("[") else host.partition(":")[0]
    if name.lower() == "localhost":
        return True
    with suppress(ValueError):
        return ip_address(name).is_loopback
    return False


def _encoded(answer: Answer) -> bytes:
    body = answer.text.encode()
    head = (
        f"HTTP/1.1 {answer.status.value} {answer.status.phrase}\r\n"
        "Content-Type: text/plain; charset=utf-8\r\n"
        f"Content-Length: {len(body)}\r\n"
        "Cache-Control: no-store\r\n"
        "X-Content-Type-Options: nosniff\r\n"
        "Connection: close\r\n\r\n"
    )
    return head.encode() + body
