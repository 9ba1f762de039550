"""The upgrade of a peer over real sockets: who gets in, and what everybody else is told."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Final

import pytest

from less_sync.auth import FederationTrust
from less_sync.federation.discovery import PeerKeys
from less_sync.federation.settings import FederationSettings
from tests.federation.signed import COVERED, PATH, Peer, gate_of, upgrade
from tests.live import Live, live_server
from tests.sync.http.test_app import has_common_headers
from tests.sync.http.test_strangers import until
from tests.sync.jwks_server import Answer, Gate, JwksServer, serving
from tests.sync.raw_http import Connection, Response, connected

HOST: Final = "sync.example.com"
PEER: Final = Peer()
OTHER: Final = Peer("other.example.com")
BAD: Final = (401, "signature verification failed")
IN: Final = (101, "federation:peer.example.com")


@pytest.fixture
async def live(database_url: str) -> AsyncIterator[Live]:
    async with live_server(database_url, routes=gate_of(FederationSettings(trust=PEER.trust()))) as running:
        yield running


async def text_frame(connection: Connection) -> str:
    """The payload of one small frame of the server."""
    _, length = await connection.reader.readexactly(2)
    return (await connection.reader.readexactly(length)).decode()


def plain(response: Response) -> tuple[int, str]:
    """Status and text of a refusal that is worded as all of them are."""
    assert has_common_headers(response), response
    assert response.header("date")
    assert response.header("connection") == "close"
    kind = response.header("content-type")
    assert kind == ("text/plain; charset=utf-8" if response.body else None)
    assert response.header("content-length") == str(len(response.body))
    return response.status, response.body.decode()


async def answer(live: Live, headers: Mapping[str, str | None], target: str = PATH) -> tuple[int, str]:
    """What an upgrade comes to: the refusal, or 101 and who the session was told is there."""
    async with connected(live.port) as connection:
        connection.send(upgrade(headers, target=target))
        response = await connection.receive(body=False)
        if response.status == 101:
            assert has_common_headers(response)
            assert response.header("sec-websocket-protocol") == "betterbase-rpc-v1"
            return 101, await text_frame(connection)
        length = int(response.header("content-length") or 0)
        whole = Response(response.status, response.headers, await connection.reader.readexactly(length))
        assert await connection.ended() == b""
        return plain(whole)


async def test_trusted_peer_is_let_in_by_its_host(live: Live) -> None:
    assert await answer(live, PEER.signature(HOST)) == IN


async def test_peer_speaks_at_once_and_may_have_spoken_before_the_answer(live: Live) -> None:
    async with connected(live.port) as connection:
        early = b"\x82\x85\0\0\0\0early"
        connection.send(upgrade(PEER.signature(HOST)) + early)
        assert (await connection.receive(body=False)).status == 101
        assert [await text_frame(connection) for _ in range(2)] == ["federation:peer.example.com", "early"]


@pytest.mark.parametrize("protocol", [None, "graphql-ws", "Less-rpc-v1"])
async def test_subprotocol_is_looked_at_before_the_signature(live: Live, protocol: str | None) -> None:
    for headers in (PEER.signature(HOST), {}):
        assert await bare_status(live, {**headers, "Sec-WebSocket-Protocol": protocol}) == (400, b"")


async def bare_status(live: Live, headers: Mapping[str, str | None]) -> tuple[int, bytes]:
    async with connected(live.port) as connection:
        connection.send(upgrade(headers))
        response = await connection.receive()
        assert has_common_headers(response)
        assert response.header("content-type") is None
        return response.status, response.body


async def test_there_is_nothing_for_peers_where_none_is_accepted(database_url: str) -> None:
    async with live_server(database_url) as live:
        for headers in (PEER.signature(HOST), {}):
            assert await bare_status(live, headers) == (404, b"")


CHANGED: Final[dict[str, Mapping[str, str | None]]] = {
    "no signature headers": {},
    "no Signature": {"Signature": None},
    "no Signature-Input": {"Signature-Input": None},
    "another Host": {"Host": "other.example.com"},
    "another key id": {
        "Signature-Input": PEER.signature(HOST)["Signature-Input"].replace("#fed-1", "#fed-2"),
    },
}


@pytest.mark.parametrize("fault", CHANGED)
async def test_request_changed_after_signing_is_401(live: Live, fault: str) -> None:
    good: dict[str, str | None] = {} if fault == "no signature headers" else dict(PEER.signature(HOST))
    assert await answer(live, {**good, **CHANGED[fault]}) == BAD


async def test_one_changed_character_of_the_signature_is_401(live: Live) -> None:
    good = PEER.signature(HOST)
    text = good["Signature"]
    changed = text[:20] + ("A" if text[20] != "A" else "B") + text[21:]
    assert await answer(live, {**good, "Signature": changed}) == BAD


async def test_key_that_is_not_configured_is_401(live: Live) -> None:
    assert await answer(live, Peer(name="fed-2").signature(HOST)) == BAD
    assert await answer(live, OTHER.signature(HOST)) == BAD
    assert await answer(live, Peer(scheme="http").signature(HOST)) == BAD


@pytest.mark.parametrize("seconds", [-301, 301])
async def test_signature_may_not_be_older_or_newer_than_five_minutes(live: Live, seconds: int) -> None:
    assert await answer(live, PEER.signature(HOST, created=time.time() + seconds)) == BAD
    nearly = seconds - 3 if seconds > 0 else seconds + 3
    assert await answer(live, PEER.signature(HOST, created=time.time() + nearly)) == IN


@pytest.mark.parametrize("left_out", COVERED)
async def test_method_target_and_host_must_be_covered(live: Live, left_out: str) -> None:
    covered = tuple(name for name in COVERED if name != left_out)
    assert await answer(live, PEER.signature(HOST, covered=covered)) == BAD


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('alg="ed25519"', 'alg="rsa"'),
        ("sig=(", "sig1=("),
        ("sig=(", "sig="),
        (")", ""),
        ("keyid=", "key="),
        ("alg=", "algorithm="),
        ("created=", "made="),
        ("created=", "created=x"),
    ],
)
async def test_input_of_another_form_is_401(live: Live, old: str, new: str) -> None:
    good = PEER.signature(HOST)
    assert (
        await answer(live, {**good, "Signature-Input": good["Signature-Input"].replace(old, new, 1)}) == BAD
    )


@pytest.mark.parametrize("target", ["/api/v1/ws", PATH + "?a=1", PATH + "/"])
async def test_signature_for_another_target_is_401(live: Live, target: str) -> None:
    assert await answer(live, PEER.signature(HOST, target=target)) == BAD


async def test_query_is_part_of_what_is_signed(live: Live) -> None:
    target = PATH + "?a=1"
    assert await answer(live, PEER.signature(HOST, target=target), target) == IN
    assert await answer(live, PEER.signature(HOST), target) == BAD


async def test_absolute_target_is_taken_as_it_is(live: Live) -> None:
    target = f"http://{HOST}{PATH}"
    assert await answer(live, PEER.signature(HOST, scheme="http"), target) == IN
    assert await answer(live, PEER.signature(HOST, scheme="ws"), target) == BAD


@pytest.mark.parametrize("scheme", ["ws", "wss", "https", "http"])
async def test_any_of_four_schemes_may_have_been_signed(live: Live, scheme: str) -> None:
    assert await answer(live, PEER.signature(HOST, scheme=scheme)) == IN


async def test_no_other_scheme_may(live: Live) -> None:
    assert await answer(live, PEER.signature(HOST, scheme="ftp")) == BAD


async def test_further_headers_may_be_covered(live: Live) -> None:
    signed = PEER.signature(HOST, covered=(*COVERED, "date"), values={"date": "now"})
    assert await answer(live, signed) == IN
    assert await answer(live, {**signed, "date": "then"}) == BAD


async def test_parameters_are_verified_in_the_order_they_were_signed_in(live: Live) -> None:
    parameters = f';created={int(time.time())};keyid="{PEER.key_id}";alg="ed25519"'
    assert await answer(live, PEER.signature(HOST, parameters=parameters)) == IN


async def test_signature_of_another_method_is_401(live: Live) -> None:
    signed = PEER.signature(HOST, values={"@method": "POST"})
    assert await answer(live, {name: signed[name] for name in signed if name != "@method"}) == BAD


@pytest.mark.parametrize(
    "host", ["", "a b", 'a"b', "a%b", "a\\b", "a<b", "[::1", "a:1:2", "a/b", "a@b", "\xe9"]
)
async def test_malformed_host_is_401_though_it_was_signed(live: Live, host: str) -> None:
    assert await answer(live, PEER.signature(host)) == BAD
    target = f"http://{HOST}{PATH}"
    values = {"@target-uri": target}
    signed = PEER.signature(host, values=values)
    assert await answer(live, {name: signed[name] for name in signed if name not in values}, target) == BAD


async def test_signed_request_of_a_server_that_is_not_trusted_is_403(database_url: str) -> None:
    settings = FederationSettings(trust=PEER.trust("other.example.com"))
    async with live_server(database_url, routes=gate_of(settings)) as live:
        assert await answer(live, PEER.signature(HOST)) == (403, "untrusted peer")
        assert await answer(live, PEER.signature(HOST, scheme="ftp")) == BAD


async def test_key_id_that_names_no_server_is_400(database_url: str) -> None:
    peer = Peer(scheme="ftp")
    async with live_server(database_url, routes=gate_of(FederationSettings(trust=peer.trust()))) as live:
        assert await answer(live, peer.signature(HOST)) == (400, "invalid keyid")


@pytest.mark.parametrize(
    ("trusted", "port", "status"),
    [
        ("peer.example.com:5379", 5379, 101),
        ("peer.example.com", 5379, 101),
        ("peer.example.com:5379", None, 403),
        ("peer.example.com:5379", 5380, 403),
    ],
)
async def test_trusted_entry_with_a_port_is_good_for_that_port(
    database_url: str, trusted: str, port: int | None, status: int
) -> None:
    peer = Peer(port=port)
    settings = FederationSettings(trust=peer.trust(trusted))
    async with live_server(database_url, routes=gate_of(settings)) as live:
        expected = IN if status == 101 else (403, "untrusted peer")
        assert await answer(live, peer.signature(HOST)) == expected


async def test_peer_at_an_address_is_known_by_it(database_url: str) -> None:
    peer = Peer("[::1]", port=5379)
    settings = FederationSettings(trust=FederationTrust(("[::1]",), {peer.key_id: peer.public}))
    async with live_server(database_url, routes=gate_of(settings)) as live:
        assert await answer(live, peer.signature(HOST)) == (101, "federation:::1")


@pytest.mark.parametrize(
    ("domain", "host", "expected"),
    [
        ("home.test", "home.test", IN),
        ("home.test", "HOME.test:443", IN),
        ("home.test", "home.test:5379", IN),
        ("home.test:5379", "home.test", IN),
        ("home.test:5379", "home.test:5379", IN),
        ("home.test:5379", "home.test:5380", BAD),
        ("home.test", "other.test", BAD),
        ("home.test", "home.test.evil", BAD),
        ("home.test", "home_test", BAD),
        ("[::1]:5379", "[0:0::1]:5379", IN),
    ],
)
async def test_what_was_signed_for_another_server_is_refused_by_one_that_knows_its_name(
    database_url: str, domain: str, host: str, expected: tuple[int, str]
) -> None:
    settings = FederationSettings(domain=domain, trust=PEER.trust())
    async with live_server(database_url, routes=gate_of(settings)) as live:
        assert await answer(live, PEER.signature(host)) == expected


async def test_foreign_name_is_said_once_of_each_peer_where_none_is_configured(
    database_url: str, capfd: pytest.CaptureFixture[str]
) -> None:
    trust = FederationTrust(
        ("other.example.com", "peer.example.com"), {peer.key_id: peer.public for peer in (PEER, OTHER)}
    )
    routes = gate_of(FederationSettings(trust=trust), own_hosts=lambda: {"home.test"})
    async with live_server(database_url, routes=routes) as live:
        assert await answer(live, PEER.signature("home.test:5379")) == IN
        for peer, name in ((PEER, "10.0.0.1:5379"), (PEER, "home_test"), (OTHER, "home_test")):
            assert (await answer(live, peer.signature(name)))[0] == 101
    said = [line for line in capfd.readouterr().out.splitlines() if "none of its own" in line]
    assert len(said) == 2
    assert PEER.host in said[0]
    assert OTHER.host in said[1]


@pytest.mark.parametrize(
    ("forwarded", "admitted"),
    [("https", {"wss", "https"}), ("http", {"ws", "http"}), (None, {"ws", "wss", "https", "http"})],
)
async def test_believed_proxy_says_which_scheme_was_asked_for(
    database_url: str, forwarded: str | None, admitted: set[str]
) -> None:
    settings = FederationSettings(trust=PEER.trust(), trust_forwarded_proto=True)
    async with live_server(database_url, routes=gate_of(settings)) as live:
        for scheme in ("ws", "wss", "https", "http"):
            headers = {**PEER.signature(HOST, scheme=scheme), "X-Forwarded-Proto": forwarded}
            assert await answer(live, headers) == (IN if scheme in admitted else BAD)


async def test_nobody_else_is_believed(live: Live) -> None:
    assert await answer(live, {**PEER.signature(HOST, scheme="ws"), "X-Forwarded-Proto": "https"}) == IN


async def test_one_signature_opens_eight_connections(live: Live) -> None:
    signed = PEER.signature(HOST)
    assert [(await answer(live, signed))[0] for _ in range(9)] == [101] * 8 + [401]
    assert await answer(live, PEER.signature(HOST, created=time.time() - 1)) == IN


async def test_upgrade_is_answered_in_its_turn(live: Live) -> None:
    async with connected(live.port) as connection:
        first = b"GET /health HTTP/1.1\r\nHost: h\r\n\r\n"
        connection.send(first + upgrade({}) + b"behind it")
        assert (await connection.receive()).status == 200
        assert plain(await connection.receive()) == BAD
        assert await connection.ended() == b""


async def test_no_peer_is_let_in_while_the_server_drains(live: Live) -> None:
    live.services.sessions.refuse()
    assert await answer(live, PEER.signature(HOST)) == (503, "")
    assert await answer(live, {}) == (503, "")


@dataclass(slots=True)
class Fetching:
    """A server that fetches keys, in a network of this test."""

    live: Live
    jwks: JwksServer
    keys: PeerKeys


@asynccontextmanager
async def fetching(database_url: str, answers: Answer, domain: str | None = None) -> AsyncIterator[Fetching]:
    trust = FederationTrust(("127.0.0.1",))
    settings = FederationSettings(domain=domain, trust=trust, fetch_keys=True, private_networks=True)
    keys = PeerKeys(trust, private_networks=True)
    async with (
        JwksServer(answers) as jwks,
        live_server(database_url, routes=gate_of(settings, keys=keys)) as live,
    ):
        yield Fetching(live, jwks, keys)
        await keys.aclose()


def there(at: Fetching, peer: Peer) -> Peer:
    """The same peer, where its key set is."""
    return replace(peer, host="127.0.0.1", port=at.jwks.port, scheme="http")


def document(*peers: Peer) -> bytes:
    return json.dumps({"keys": [peer.entry(kid=peer.name) for peer in peers]}).encode()


async def test_peer_is_let_in_by_a_key_that_is_fetched(database_url: str) -> None:
    async with fetching(database_url, serving(document(PEER))) as at:
        peer = there(at, PEER)
        for _ in range(2):
            assert await answer(at.live, peer.signature(HOST)) == (101, "federation:127.0.0.1")
        stranger = replace(peer, key=OTHER.key)
        assert await answer(at.live, stranger.signature(HOST)) == BAD
        assert len(at.jwks.hits) == 1


async def test_key_that_takes_the_place_of_another_is_found_without_a_restart(database_url: str) -> None:
    async with fetching(database_url, serving(document(PEER))) as at:
        old, new = there(at, PEER), there(at, Peer(name="fed-2"))
        assert (await answer(at.live, old.signature(HOST)))[0] == 101
        at.jwks.answer = serving(document(new))
        assert (await answer(at.live, new.signature(HOST)))[0] == 101
        assert await answer(at.live, old.signature(HOST)) == BAD


async def test_nothing_is_fetched_for_a_request_that_is_refused_anyway(database_url: str) -> None:
    async with fetching(database_url, serving(document(PEER)), domain="home.test") as at:
        peer, host = there(at, PEER), "home.test"
        strange = replace(peer, host="localhost")
        assert await answer(at.live, strange.signature(host)) == (403, "untrusted peer")
        assert await answer(at.live, replace(peer, scheme="ftp").signature(host)) == (400, "invalid keyid")
        assert await answer(at.live, peer.signature(host, created=time.time() - 301)) == BAD
        assert await answer(at.live, peer.signature(host, covered=COVERED[:2])) == BAD
        assert await answer(at.live, {**peer.signature(host), "Signature": "sig=:AAAA:"}) == BAD
        assert await answer(at.live, peer.signature("other.test")) == BAD
        assert at.jwks.hits == []
        assert (await answer(at.live, peer.signature(host)))[0] == 101


async def test_hang_up_during_a_slow_fetch_leaves_it_to_the_next(database_url: str) -> None:
    slow = Gate(serving(document(PEER)))
    async with fetching(database_url, slow) as at:
        peer, sessions = there(at, PEER), at.live.services.sessions
        for _ in range(20):
            async with connected(at.live.port) as connection:
                connection.send(upgrade(peer.signature(HOST)))
                await slow.reached.wait()
                await until(lambda: sessions.unauthenticated == 1)
            await until(lambda: sessions.unauthenticated == 0)
        slow.opened.set()
        assert await answer(at.live, peer.signature(HOST)) == (101, "federation:127.0.0.1")
        assert len(at.jwks.hits) == 1


async def test_key_set_that_cannot_be_had_is_401(database_url: str) -> None:
    async with fetching(database_url, serving(b"", status="503 Down")) as at:
        for _ in range(3):
            assert await answer(at.live, there(at, PEER).signature(HOST)) == BAD
        assert len(at.jwks.hits) == 1


async def test_thousands_of_unsigned_upgrades_hold_nothing(live: Live) -> None:
    tasks = len(asyncio.all_tasks())
    for _ in range(10):
        answers = await asyncio.gather(*[answer(live, {}) for _ in range(100)])
        assert answers == [BAD] * 100
    await until(lambda: not live.server.server_state.connections)
    assert live.services.sessions.unauthenticated == len(live.services.sessions) == 0
    assert len(asyncio.all_tasks()) <= tasks  # what the server began with may have ended


@pytest.mark.parametrize(
    "bomb", ["sig=(" + '"a" ' * 70_000, "sig=()" + ";a" * 140_000, "sig=()" + ";a=1" * 70_000, "(" * 280_000]
)
async def test_huge_signature_input_is_refused_like_any_other(live: Live, bomb: str) -> None:
    assert await answer(live, {**PEER.signature(HOST), "Signature-Input": bomb}) == BAD
