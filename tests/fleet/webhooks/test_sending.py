"""One attempt: what is dialled, what is sent, and what each answer or failure of a receiver comes to."""

import asyncio
import json
import ssl
import time
from email.utils import formatdate
from typing import Any

import pytest

from less_sync.fleet.webhooks.sending import (
    BODY_BYTES_MAX,
    KEPT_BYTES_MAX,
    Attempt,
    Outcome,
    Sender,
    retry_after_s,
    tcp,
)
from less_sync.fleet.webhooks.urls import BadUrl
from tests.fleet.receivers import (
    LOOPBACK,
    Behaviour,
    Names,
    Receiver,
    Wire,
    answering,
    babbling,
    closing,
    endless_body,
    endless_head,
    receiver,
    silent,
    slow_body,
)
from tests.sync.tls import self_signed

PUBLIC = ("93.184.215.14", "2606:4700::1111")
BODY = b'{"type":"webhook.test","timestamp":"2026-01-31T12:00:00Z","data":{}}'
SENT = [("webhook-id", "msg_1"), ("X-Webhook-Event", "webhook.test")]


TLS = ssl.create_default_context()
"""Made once: it reads every authority there is."""


def sender(timeout_s: float = 20, **options: Any) -> Sender:
    return Sender("1.2.3", timeout_s=timeout_s, **{"http": True, "allowed": LOOPBACK, "tls": TLS, **options})


async def attempt(one: Receiver | str, *, by: Sender | None = None, now_s: float = 0) -> Attempt:
    url = one if isinstance(one, str) else one.url
    return await (by or sender()).send(url, SENT, BODY, now_s)


async def outcome(behaviour: Behaviour, *, by: Sender | None = None, now_s: float = 0) -> Attempt:
    async with receiver(behaviour) as one:
        result = await attempt(one, by=by, now_s=now_s)
        assert len(one.received) == 1, "nothing is repeated, and no redirect followed"
        return result


async def test_what_is_sent() -> None:
    async with receiver() as one:
        result = await attempt(one)
    assert (result.outcome, result.status, result.error, result.response) == (
        Outcome.DELIVERED,
        204,
        None,
        "",
    )
    [request] = one.received
    assert request.line == "POST /hook HTTP/1.1"
    assert request.body == BODY
    assert request.headers == {
        "host": f"127.0.0.1:{one.port}",
        "user-agent": "less-sync-fleet/1.2.3",
        "content-type": "application/json",
        "content-length": str(len(BODY)),
        "accept-encoding": "identity",
        "connection": "close",
        "webhook-id": "msg_1",
        "x-webhook-event": "webhook.test",
    }


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
async def test_any_status_of_success_is_delivered(status: int) -> None:
    result = await outcome(answering(status))
    assert (result.outcome, result.status, result.error) == (Outcome.DELIVERED, status, None)


@pytest.mark.parametrize("status", [300, 304, 400, 401, 404, 409, 500, 501, 505])
async def test_any_other_status_is_failed(status: int) -> None:
    result = await outcome(answering(status, body=b"no" if status != 304 else b""))
    assert (result.outcome, result.status, result.error) == (Outcome.FAILED, status, f"answered {status}")
    assert result.retry_after_s is None


async def test_endpoint_that_is_gone() -> None:
    result = await outcome(answering(410))
    assert (result.outcome, result.error) == (Outcome.GONE, "answered 410")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirect_is_a_failure(status: int) -> None:
    async with receiver() as other:
        result = await outcome(answering(status, f"Location: {other.url}"))
        assert (result.outcome, result.error) == (Outcome.FAILED, f"answered {status}")
        assert other.connections == 0


@pytest.mark.parametrize("status", [429, 502, 503, 504])
@pytest.mark.parametrize(
    ("header", "wait_s"), [((), 60), (("Retry-After: 7",), 7), (("Retry-After: " + formatdate(1_030),), 30)]
)
async def test_endpoint_that_wants_to_be_left_alone(
    status: int, header: tuple[str, ...], wait_s: int
) -> None:
    result = await outcome(answering(status, *header), now_s=1_000)
    assert (result.outcome, result.status) == (Outcome.THROTTLED, status)
    assert result.retry_after_s is not None
    assert wait_s - 5 < result.retry_after_s <= wait_s, "a date comes nearer while the attempt goes on"


@pytest.mark.parametrize(
    ("text", "wait_s"),
    [
        *((None, 60), ("", 60), ("soon", 60), ("-5", 60), ("1.5", 60), ("9" * 13, 60)),
        *(("0", 1), ("1", 1), ("3600", 3_600), ("86400", 86_400), ("86401", 86_400), ("9" * 12, 86_400)),
        *((formatdate(1_120, usegmt=True), 120), (formatdate(1_120), 120), (formatdate(0), 1)),
        *((formatdate(9e8), 86_400), ("Thu, 01 Jan 1970 00:18:40", 120)),
        *(("Thursday, 01-Jan-70 00:18:40 GMT", 120), ("Thu Jan  1 00:18:40 1970", 120)),
        ("Fri, 31 Dec 99999 23:59:59 GMT", 60),
    ],
)
def test_both_forms_of_retry_after(text: str | None, wait_s: int) -> None:
    assert retry_after_s(text, 1_000) == wait_s


async def test_a_little_of_the_answer_is_kept() -> None:
    result = await outcome(answering(500, body=b"\0oops \xff" + b"x" * 3_000))
    assert result.response is not None
    assert result.response.startswith("\ufffdoops \ufffdxxx")
    assert len(result.response) == KEPT_BYTES_MAX


async def test_status_decides_though_the_answer_never_ends() -> None:
    for behaviour, begin in ((slow_body, "begun"), (endless_body, "x" * KEPT_BYTES_MAX)):
        result = await outcome(behaviour)
        assert (result.outcome, result.status, result.response) == (Outcome.DELIVERED, 200, begin)


class Counting(asyncio.StreamReader):
    """Counts what is read of a connection."""

    def __init__(self, inner: asyncio.StreamReader) -> None:
        super().__init__()
        self.inner = inner
        self.count = 0

    async def read(self, n: int = -1) -> bytes:
        piece = await self.inner.read(n)
        self.count += len(piece)
        return piece


async def test_no_more_of_an_answer_is_read_than_its_bound() -> None:
    readers: list[Counting] = []

    async def dial(*place: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await tcp(*place)
        readers.append(Counting(reader))
        return readers[-1], writer

    assert (await outcome(endless_body, by=sender(dial=dial))).outcome is Outcome.DELIVERED
    assert BODY_BYTES_MAX <= readers[0].count <= 2 * BODY_BYTES_MAX + 200


async def test_answer_whose_head_never_ends_is_a_failure() -> None:
    result = await outcome(endless_head)
    assert (result.outcome, result.status, result.error) == (Outcome.FAILED, None, "connection closed")


async def test_receiver_that_says_nothing_has_its_time_and_no_more() -> None:
    result = await outcome(silent, by=sender(timeout_s=0.2))
    assert (result.outcome, result.status, result.error) == (Outcome.FAILED, None, "timed out")
    assert result.duration_ms >= 200


async def test_connection_that_is_closed_or_refused() -> None:
    assert (await outcome(closing)).error == "connection closed"
    assert (await outcome(babbling)).error == "invalid answer"
    async with receiver() as one:
        one.reads = False
        assert (await attempt(one)).error == "connection closed"
        assert one.connections == 1, "it is not tried twice"
        url = one.url
    assert (await attempt(url)).error == "connection refused"


@pytest.mark.parametrize(
    "url",
    [
        *("http://127.0.0.1/", "http://10.0.0.1/", "http://169.254.169.254/latest", "http://0.0.0.0/"),
        *("http://[::1]/", "http://[::ffff:127.0.0.1]/", "http://[64:ff9b::7f00:1]/", "http://[fd00::1]/"),
        *(
            "http://2130706433/",
            "http://0x7f000001/",
            "http://127.1/",
            "http://0177.0.0.1/",
            "http://localhost/",
        ),
        *("http://[2002:7f00:1::]/", "http://[2001:0:7f00:1::]/", "http://[::7f00:1]/", "http://224.0.0.1/"),
    ],
)
async def test_address_that_may_not_be_dialled_in_any_spelling(url: str) -> None:
    """The last spellings of loopback are not addresses to us; the system's resolver takes them for some."""
    wire = Wire(0)
    by = sender(allowed=(), dial=wire)
    result = await attempt(url, by=by)
    assert (result.outcome, result.error) == (Outcome.FAILED, "blocked address")
    assert wire.dialled == []
    with pytest.raises(BadUrl, match="address is not allowed"):
        await by.check(url)


async def test_one_private_address_among_public_ones_blocks_all() -> None:
    for addresses in ((*PUBLIC, "10.0.0.1"), ("10.0.0.1", *PUBLIC), ("::ffff:93.184.215.14",)):
        wire = Wire(0)
        by = sender(allowed=(), resolver=Names(addresses), dial=wire)
        assert (await attempt("https://example.com/", by=by)).error == "blocked address"
        assert wire.dialled == []


async def test_name_is_looked_up_once_and_that_address_is_dialled() -> None:
    """A name that is private at a second look (rebinding) is never looked at twice within an attempt."""
    async with receiver() as one:
        names, wire = Names(PUBLIC, ("127.0.0.1",)), Wire(one.port)
        by = sender(allowed=(), resolver=names, dial=wire)
        assert (await attempt("http://example.com/x", by=by)).outcome is Outcome.DELIVERED
        assert (names.asked, wire.dialled) == ([("example.com", 80)], [PUBLIC[0]])
        assert one.received[0].headers["host"] == "example.com"
        assert (await attempt("http://example.com/x", by=by)).error == "blocked address"
        assert wire.dialled == [PUBLIC[0]]


async def test_any_of_several_addresses_will_do() -> None:
    async with receiver() as one:
        wire = Wire(one.port, dead=frozenset(PUBLIC[:1]))
        by = sender(resolver=Names(PUBLIC), dial=wire)
        assert (await attempt("http://example.com/", by=by)).outcome is Outcome.DELIVERED
        assert wire.dialled == list(PUBLIC)
        wire.dead = frozenset(PUBLIC)
        assert (await attempt("http://example.com/", by=by)).error == "timed out"


async def test_host_without_an_address() -> None:
    for names in (Names(), Names(())):
        by = sender(resolver=names)
        assert (await attempt("http://example.com/", by=by)).error == "host has no address"
        await by.check("http://example.com/")


async def test_url_that_was_allowed_once_is_judged_again() -> None:
    async with receiver() as one:
        result = await attempt(one, by=sender(http=False))
        assert (result.outcome, result.error) == (Outcome.FAILED, "URL must begin with https://")
        assert one.connections == 0


async def test_tls_is_for_the_name_though_the_address_is_dialled() -> None:
    server, client = self_signed("example.com")
    told: list[str | None] = []
    server.sni_callback = lambda _socket, name, _context: told.append(name)
    async with receiver(tls=server) as one:
        by = sender(resolver=Names(PUBLIC), dial=Wire(one.port), tls=client)
        assert (await attempt("https://example.com/", by=by)).outcome is Outcome.DELIVERED
        assert told == ["example.com"]
        assert one.received[0].headers["host"] == "example.com"
        wrong = await attempt("https://example.org/", by=by)
        assert (wrong.outcome, wrong.status) == (Outcome.FAILED, None)
        assert wrong.error == "TLS error: Hostname mismatch, certificate is not valid for 'example.org'."
        strange = sender(resolver=Names(PUBLIC), dial=Wire(one.port))
        assert (
            await attempt("https://example.com/", by=strange)
        ).error == "TLS error: self-signed certificate"
    assert len(one.received) == 1


async def test_no_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async with receiver() as proxy, receiver() as one:
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        assert (await attempt(one)).outcome is Outcome.DELIVERED
        assert (proxy.connections, len(one.received)) == (0, 1)


async def test_attempt_that_is_cancelled_leaves_no_connection() -> None:
    came, gone = asyncio.Event(), asyncio.Event()

    async def note(_request: object, writer: asyncio.StreamWriter) -> None:
        came.set()
        try:
            while True:
                writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                await writer.drain()
                await asyncio.sleep(0.01)
        finally:
            gone.set()

    async with receiver(note) as one:
        task = asyncio.create_task(attempt(one))
        await came.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await gone.wait()


async def test_large_event_arrives_whole() -> None:
    body = json.dumps({"data": "x" * 16_000}).encode()
    async with receiver() as one:
        result = await sender().send(one.url, SENT, body, time.time())
    assert result.outcome is Outcome.DELIVERED
    assert one.received[0].body == body
