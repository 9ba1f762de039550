"""HTTP requests about files: what a client sends piece by piece, and what the answers are held to.

The application is the server's own, middleware and all; what an HTTP server does for it is done here.
"""

import asyncio
import base64
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from tests.simulation.cast import SHARED, Person
from tests.simulation.contents import MARK_BYTES, DistantBlobs
from tests.simulation.line import Schedule
from tests.simulation.rules import Court, Rule
from tests.simulation.system import BlobKey
from tests.simulation.tables import Tables, mark_of

Message = dict[str, Any]  # of ASGI
Application = Callable[..., Any]  # as ASGI has it

PREFIX: Final = b"f"
"""How the marks of uploads begin."""


@dataclass(slots=True)
class Asked:
    """One request about a file."""

    method: str
    person: Person
    key: BlobKey
    record: UUID
    ucan: tuple[str, str]
    """Text and CID; empty for the personal space."""
    mark: bytes = b""
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    status: int = 0
    answer: bytes = b""
    answer_headers: dict[str, str] = field(default_factory=dict)
    whole: bool = False


class Exchange:
    """One request on a connection of its own. `hang_up` may come at any moment."""

    def __init__(self, asked: Asked, answered: Callable[[Asked], None]) -> None:
        self.asked = asked
        self._answered = answered
        self._inbox: list[Message] = []
        self._news = asyncio.Event()
        self.gone = False

    def arrive(self, data: bytes, *, more: bool) -> None:
        """A piece of the body came."""
        self._inbox.append({"type": "http.request", "body": data, "more_body": more})
        self._news.set()

    def hang_up(self) -> None:
        """The client is gone."""
        self.gone = True
        self._news.set()

    async def receive(self) -> Message:
        """As an ASGI server's."""
        while not self._inbox and not self.gone:
            self._news.clear()
            await self._news.wait()
        return self._inbox.pop(0) if self._inbox else {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """As an ASGI server's: what is sent to somebody who is gone is lost."""
        if self.gone:
            return
        if message["type"] == "http.response.start":
            self.asked.status = message["status"]
            self.asked.answer_headers = {name.decode(): value.decode() for name, value in message["headers"]}
            return
        self.asked.answer += message.get("body", b"")
        if not message.get("more_body", False):
            self.asked.whole = True
            self._answered(self.asked)


class Exchanges:
    """All requests about files of one run, and the rules for them.

    Args:
        digest: fed with every answer.
        faultless: whether nothing can go wrong in this run, so that no answer may be a fault of ours.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        schedule: Schedule,
        chance: random.Random,
        court: Court,
        tables: Tables,
        blobs: DistantBlobs,
        digest: Callable[[bytes], None],
        *,
        faultless: bool,
    ) -> None:
        self._loop = loop
        self._schedule = schedule
        self._chance = chance
        self._court = court
        self._tables = tables
        self._blobs = blobs
        self._digest = digest
        self._faultless = faultless
        self._made = 0
        self._under_way: dict[asyncio.Task[None], Exchange] = {}
        self.application: Application | None = None
        self.trace: Callable[[str], None] = lambda what: None
        blobs.changed = self.check
        tables.file_changed = lambda space, file: self.check(BlobKey(space, file))

    @property
    def made(self) -> int:
        """How many were begun."""
        return self._made

    def next_mark(self) -> bytes:
        """What the next upload is to be known by."""
        return PREFIX + (self._made + 1).to_bytes(8, "big") + bytes(MARK_BYTES - 9)

    def begin(self, asked: Asked, *, pause_s: float, hang_up_s: float | None) -> None:
        """Send a request; its body comes in pieces with pauses between them."""
        self._made += 1
        self.trace(f"{asked.person.name} {asked.method} {asked.key.file} {asked.mark!r}")
        exchange = Exchange(asked, self._judge)
        task = self._loop.create_task(self._serve(exchange), name="http")
        self._under_way[task] = exchange
        at_s, rest = 0.0, asked.body
        while True:
            cut = self._chance.randrange(1, 200)
            piece, rest = rest[:cut], rest[cut:]
            self._schedule(at_s, "piece of a body", lambda p=piece, m=bool(rest): exchange.arrive(p, more=m))  # type: ignore[misc]  # mypy cannot type its default
            if not rest:
                break
            at_s += self._chance.random() * pause_s
        if hang_up_s is not None:
            self._schedule(hang_up_s, "http hang-up", exchange.hang_up)

    async def _serve(self, exchange: Exchange) -> None:
        asked, application = exchange.asked, self.application
        assert application is not None, "the server has started"
        path = f"/api/v1/spaces/{asked.key.space}/files/{asked.key.file}"
        scope = {
            "type": "http",
            "method": asked.method,
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "headers": [(name.encode(), value.encode()) for name, value in asked.headers.items()],
        }
        try:
            await application(scope, exchange.receive, exchange.send)
        except Exception as error:
            # A download that fails half-way is cut off, which is what an HTTP server makes of it.
            if not asked.status or not isinstance(error, Exception):
                self._charge(Rule.FAULTS, asked, f"escaped: {error!r}")
        finally:
            task = asyncio.current_task()
            if task is not None:
                del self._under_way[task]
        if not asked.whole and not exchange.gone and not asked.status:
            self._charge(Rule.ANSWERS, asked, "was not answered")

    # What must hold.

    def _charge(self, rule: Rule, asked: Asked, what: str) -> None:
        text = f"{asked.method} of {asked.key.file} by {asked.person.name} ({asked.status}): {what}"
        self._court.charge(rule, text, self._loop.time())

    def check(self, key: BlobKey) -> None:
        """A row and the content that is there are always of one upload."""
        row, mark = self._tables.files.get((key.space, key.file)), self._blobs.mark_at(key)
        if row is not None and mark is not None and mark != mark_of(row.dek):
            what = f"file {key.file} has the content of {mark!r} and the key of {mark_of(row.dek)!r}"
            self._court.charge(Rule.FILES, what, self._loop.time())

    def check_at_rest(self) -> None:
        """Every row that was written by an upload has its content, and no content is left over."""
        rows = self._tables.files
        for (space, file), row in rows.items():
            key = BlobKey(space, file)
            lost = self._blobs.mark_at(key) is None and key not in self._blobs.vanished
            if lost and mark_of(row.dek).startswith(PREFIX):
                self._court.charge(Rule.FILES, f"file {file} has lost its content", self._loop.time())
        if self._faultless:
            for key in self._blobs.stored:
                if tuple(key) not in rows:
                    self._court.charge(Rule.FILES, f"content of {key.file} is left over", self._loop.time())
        for exchange in self._under_way.values():
            self._charge(Rule.ANSWERS, exchange.asked, "was never answered")
        if self._blobs.staged:
            self._court.charge(Rule.ZERO, "something is still being written aside", self._loop.time())

    def _judge(self, asked: Asked) -> None:
        self._digest(b"%d %b" % (asked.status, asked.answer))
        said = f"{asked.status} {asked.answer[:60]!r}"
        self.trace(f"{asked.person.name} {asked.method} {asked.key.file}: {said}")
        recorded = self._tables.uploaded.get((asked.key.space, asked.key.file), [])
        match asked.status:
            case 200:
                key = base64.b64decode(asked.answer_headers["x-wrapped-dek"])
                if asked.answer[:MARK_BYTES] != mark_of(key):
                    self._charge(Rule.FILES, asked, "content and key are of two uploads")
            case 201:
                if asked.mark not in recorded:
                    self._charge(Rule.FILES, asked, "it was not recorded")
            case 204:
                if not recorded:
                    self._charge(Rule.FILES, asked, "there never was such a file")
            case 400:
                if asked.record not in self._tables.died:
                    self._charge(Rule.TRUTH, asked, "the record was never deleted")
            case 403:
                if (SHARED, asked.ucan[1]) not in self._tables.revoked:
                    self._charge(Rule.TRUTH, asked, "nothing is revoked")
            case 404:
                if asked.method == "PUT":
                    self._charge(Rule.TRUTH, asked, "the space is there")
            case 503:
                if asked.method != "PUT" or asked.answer != b'{"error":"a backup is under way"}':
                    self._charge(Rule.ANSWERS, asked, f"what is that? {asked.answer!r}")
            case 500:
                if self._faultless:
                    self._charge(Rule.ANSWERS, asked, "nothing can have failed")
            case _:
                self._charge(Rule.ANSWERS, asked, f"what is that? {asked.answer!r}")


def head(asked: Asked) -> dict[str, str]:
    """The headers of a request."""
    headers = {"authorization": f"Bearer {asked.person.token}"}
    if asked.person.did_proof:
        headers["x-did-proof"] = asked.person.did_proof
    if asked.ucan[0]:
        headers["x-ucan"] = asked.ucan[0]
    if asked.method == "PUT":
        headers["x-record-id"] = str(asked.record)
        headers["content-length"] = str(len(asked.body))
    return headers
