"""Dialling: what is signed, in which order, what a refusal means, TLS, names of the protocol."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from nacl.signing import SigningKey
from websockets.http11 import Request as UpgradeRequest

from less_sync.auth import SignedRequest, VerificationFailed, verify_request
from less_sync.federation.outbound.calls import PeerAddress
from less_sync.federation.outbound.dial import (
    DialFailed,
    Dialler,
    DialRefused,
    NoSigningKey,
    default_tls,
)
from less_sync.federation.signing import Signing
from tests.federation.outbound.home import (
    KEY,
    KEY_ID,
    PATH,
    QUICK,
    TLS,
    Keys,
    dialler,
    echo,
    scripted_home,
)
from tests.sync.tls import self_signed

OTHER = SigningKey(bytes([9]) * 32)


def scheme_of(request: UpgradeRequest, key: SigningKey = KEY) -> str:
    """The scheme of the URI that was signed, by verification as any server does it."""
    signed = SignedRequest.of(method="GET", target=request.path, headers=request.headers.raw_items())
    verified = verify_request(signed, key_of=lambda key_id: bytes(key.verify_key), now=time.time())
    assert verified.key_id == KEY_ID
    assert verified.components == ("@method", "@target-uri", "host")
    line = verified.base.splitlines()[1]
    return line.removeprefix('"@target-uri": ').partition("://")[0]


async def dialled(url: str, dial: Dialler | None = None) -> str | None:
    """Dial and hang up; the subprotocol that was selected."""
    socket = await (dial or dialler())(PeerAddress("127.0.0.1", url))
    selected = getattr(socket, "subprotocol", None)
    await socket.close()
    return selected


@asynccontextmanager
async def talking(answer: bytes) -> AsyncIterator[str]:
    """A server that answers anything with these bytes, and nothing if there are none."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if answer:
            writer.write(answer)
            writer.close()
        else:
            await reader.read()
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}{PATH}"


async def test_the_upgrade_is_signed_over_the_host_that_is_sent_and_offers_both_names() -> None:
    async with scripted_home(echo) as home:
        assert await dialled(home.url) == "betterbase-rpc-v1"
    (request,) = home.upgrades
    assert scheme_of(request) == "ws"
    assert request.path == PATH
    assert request.headers["Host"] == home.url.removeprefix("ws://").removesuffix(PATH)
    assert request.headers["Sec-WebSocket-Protocol"] == "betterbase-rpc-v1, less-rpc-v1"
    assert "Sec-WebSocket-Extensions" not in request.headers
    assert "Authorization" not in request.headers


async def test_after_401_the_next_scheme_is_signed_and_the_one_taken_comes_first_from_then_on() -> None:
    async with scripted_home(echo, refusals=[(401, "no"), (401, "no")]) as home:
        dial = dialler()
        await dialled(home.url, dial)
        await dialled(home.url, dial)
    assert [scheme_of(request) for request in home.upgrades] == ["ws", "http", "https", "https"]


async def test_a_peer_that_no_longer_takes_the_scheme_it_took_is_offered_the_others() -> None:
    async with scripted_home(echo, refusals=[(401, "no")]) as home:
        dial = dialler()
        await dialled(home.url, dial)
        home.refusals.extend([(401, "no"), (401, "no")])
        await dialled(home.url, dial)
    assert [scheme_of(request) for request in home.upgrades] == ["ws", "http", "http", "ws", "https"]


async def test_schemes_may_be_configured() -> None:
    async with scripted_home(echo, refusals=[(401, "")]) as home:
        dial = Dialler(Keys(), now=time.time, tls=TLS, schemes=("wss", "http"), limits=QUICK)
        await dialled(home.url, dial)
    assert [scheme_of(request) for request in home.upgrades] == ["wss", "http"]


async def test_when_all_schemes_are_refused_the_last_answer_is_told() -> None:
    refusals = [(401, "first"), (401, "second"), (401, "signature verification failed" + "." * 500)]
    async with scripted_home(echo, refusals=refusals) as home:
        with pytest.raises(DialRefused) as refused:
            await dialled(home.url)
    assert refused.value.status == 401
    assert refused.value.body == ("signature verification failed" + "." * 500)[:200]
    assert len(home.upgrades) == 3
    assert home.connections == 0


@pytest.mark.parametrize("status", [302, 307, 400, 403, 404, 426, 500, 501, 503])
async def test_any_other_answer_is_told_at_once_and_no_redirect_is_followed(status: int) -> None:
    async with scripted_home(echo, refusals=[(status, "because")]) as home:
        with pytest.raises(DialRefused) as refused:
            await dialled(home.url)
    assert (refused.value.status, refused.value.body) == (status, "because")
    assert len(home.upgrades) == 1


async def test_the_key_is_asked_for_at_each_attempt() -> None:
    keys = Keys(Signing(KEY, KEY_ID), Signing(OTHER, KEY_ID))
    async with scripted_home(echo, refusals=[(401, "")]) as home:
        await dialled(home.url, dialler(keys))
    first, second = home.upgrades
    assert scheme_of(first, KEY) == "ws"
    assert scheme_of(second, OTHER) == "http"
    with pytest.raises(VerificationFailed):
        scheme_of(second, KEY)


@pytest.mark.parametrize("signing", [None, Signing(KEY, 'https://a/"b#c')])
async def test_without_a_usable_key_nothing_is_dialled(signing: Signing | None) -> None:
    async with scripted_home(echo) as home:
        with pytest.raises(NoSigningKey):
            await dialled(home.url, dialler(Keys(signing)))
    assert home.upgrades == []


@pytest.mark.parametrize(
    ("names", "selected"),
    [
        (["less-rpc-v1"], "less-rpc-v1"),
        (["betterbase-rpc-v1"], "betterbase-rpc-v1"),
        (["less-rpc-v1", "betterbase-rpc-v1"], "less-rpc-v1"),
    ],
)
async def test_the_peer_chooses_the_name_of_the_protocol(names: Sequence[str], selected: str) -> None:
    async with scripted_home(echo, names=names) as home:
        assert await dialled(home.url) == selected


async def test_a_peer_that_selects_no_name_is_none() -> None:
    async with scripted_home(echo, names=None) as home:
        with pytest.raises(DialFailed, match="no subprotocol"):
            await dialled(home.url)


async def test_a_name_that_was_not_offered_is_refused() -> None:
    answer = (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: x\r\nSec-WebSocket-Protocol: other\r\n\r\n"
    )
    async with talking(answer) as url:
        with pytest.raises(DialFailed):
            await dialled(url)


@pytest.mark.parametrize("answer", [b"\0" * 100, b"SSH-2.0-x\r\n", b"HTTP/1.1 401 No\r\n", b"HTTP/1.1 "])
async def test_what_is_no_http_is_no_connection(answer: bytes) -> None:
    async with talking(answer) as url:
        with pytest.raises(DialFailed) as failed:
            await dialled(url)
    assert not isinstance(failed.value, DialRefused)


async def test_an_answer_without_a_length_is_read_to_its_end() -> None:
    async with talking(b"HTTP/1.1 403 Forbidden\r\n\r\nuntrusted peer") as url:
        with pytest.raises(DialRefused) as refused:
            await dialled(url)
    assert (refused.value.status, refused.value.body) == (403, "untrusted peer")


async def test_a_peer_that_never_answers_is_given_up() -> None:
    async with talking(b"") as url:
        with pytest.raises(DialFailed, match=r"within 0.1 s"):
            await dialled(url, dialler(limits=replace(QUICK, connect_timeout_s=0.1)))


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1/x", "ws://", "ws://h:99999/", "ws://127.0.0.1:1/x", f"ws://{'a' * 64}.example/"]
)
async def test_an_address_nobody_answers_at_is_no_connection(url: str) -> None:
    with pytest.raises(DialFailed):
        await dialled(url)


async def test_over_tls_the_authority_is_checked_and_ws_is_signed_first() -> None:
    server, client = self_signed("127.0.0.1")
    async with scripted_home(echo, tls=server, refusals=[(401, ""), (401, "")]) as home:
        await dialled(home.url, dialler(tls=client))
        assert [scheme_of(request) for request in home.upgrades] == ["ws", "wss", "https"]
        with pytest.raises(DialFailed, match=r"(?i)certificate"):
            await dialled(home.url, dialler(tls=default_tls()))
    assert len(home.upgrades) == 3
