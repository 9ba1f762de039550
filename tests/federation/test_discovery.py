"""Keys of peers that are fetched: what is dialled, what is believed, and how often."""

import asyncio
import json
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpcore
import pytest

from less_sync.auth import FederationTrust, KeyLookupFailed
from less_sync.federation.discovery import FETCH_S, JWKS_PATH, PeerKeys, VettedNetwork, system_resolver
from less_sync.sync.access.key_fetch import FetchRefused
from tests.federation.signed import Peer
from tests.sync.jwks_server import Answer, Clock, Gate, JwksServer, redirecting, response, serving
from tests.sync.tls import self_signed

PUBLIC: Final = "93.184.215.14"
PEER: Final = Peer(scheme="http")
TRUST: Final = FederationTrust(("peer.example.com",))


def key_set(*entries: dict[str, Any]) -> bytes:
    return json.dumps({"keys": list(entries)}).encode()


class Names:
    """A resolver that knows one name's addresses and counts who asks."""

    def __init__(self, *addresses: str) -> None:
        self.addresses: Sequence[str] = addresses or (PUBLIC,)
        self.asked: list[tuple[str, int]] = []

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append((host, port))
        return self.addresses


@dataclass(slots=True)
class Wire(httpcore.AsyncNetworkBackend):
    """Notes which address is dialled, and connects to a server of this test instead."""

    port: int
    dialled: list[tuple[str, int]] = field(default_factory=list)
    silent: set[str] = field(default_factory=set)

    async def connect_tcp(
        self, host: str, port: int, timeout: float | None = None, *_args: Any, **_options: Any
    ) -> httpcore.AsyncNetworkStream:
        self.dialled.append((host, port))
        if host in self.silent:
            raise httpcore.ConnectError
        return await httpcore.AnyIOBackend().connect_tcp("127.0.0.1", self.port, timeout)


@dataclass(slots=True)
class World:
    """Keys that are looked up at one server."""

    server: JwksServer
    names: Names
    wire: Wire
    clock: Clock
    keys: PeerKeys

    async def key(self, key_id: str) -> bytes | None:
        """What is found in the end; None: nothing."""
        try:
            found = self.keys.look_up(key_id)
            return found if isinstance(found, bytes) else await found()
        except KeyLookupFailed:
            return None


def world(
    server: JwksServer,
    *addresses: str,
    trust: FederationTrust = TRUST,
    private: bool = True,
    tls: ssl.SSLContext | None = None,
    fetch_s: float = FETCH_S,
) -> World:
    names, wire, clock = Names(*addresses), Wire(server.port), Clock()
    keys = PeerKeys(
        trust, private_networks=private, resolver=names, network=wire, tls=tls, clock=clock, fetch_s=fetch_s
    )
    return World(server, names, wire, clock, keys)


async def test_key_is_fetched_from_the_url_in_its_id() -> None:
    async with JwksServer(serving(key_set(PEER.entry()))) as server:
        at = world(server)
        assert await at.key(PEER.key_id) == PEER.public
        assert at.names.asked == [("peer.example.com", 80)]
        assert at.wire.dialled == [(PUBLIC, 80)]
        (head,) = server.hits
        request, *lines = head.strip().split("\r\n")
        assert request == f"GET {JWKS_PATH} HTTP/1.1"
        assert sorted(lines) == [
            "Accept-Encoding: identity",
            "Accept: application/json",
            "Host: peer.example.com",
        ]
        assert at.keys.look_up(PEER.key_id) == PEER.public
        assert len(server.hits) == 1


@pytest.mark.parametrize("kid", [PEER.name, PEER.key_id])
async def test_key_may_be_published_by_its_name_or_its_whole_id(kid: str) -> None:
    async with JwksServer(serving(key_set(Peer().entry(kid="x"), PEER.entry(kid=kid)))) as server:
        assert await world(server).key(PEER.key_id) == PEER.public


async def test_port_and_host_of_the_id_are_asked_as_they_are() -> None:
    async with JwksServer(serving(b"{}")) as server:
        at = world(server, trust=FederationTrust(("[::1]", "peer.example.com")))
        for peer in (
            Peer("peer.example.com.", port=5379, scheme="http"),
            Peer("[0::1]", scheme="http", port=81),
        ):
            assert await at.key(peer.key_id) is None
        assert at.names.asked == [("peer.example.com", 5379), ("::1", 81)]
        hosts = [line for head in server.hits for line in head.split("\r\n") if line.startswith("Host")]
        assert hosts == ["Host: peer.example.com:5379", "Host: [::1]:81"]


BAD_PLACES: Final = [
    "https://peer.example.com/.well-known/jwks.json",
    "https://peer.example.com/.well-known/jwks.json#",
    "https://peer.example.com/.well-known/jwks.json?a=1#k",
    "https://peer.example.com/.well-known/jwks.json?#k",
    "https://peer.example.com/.well-known/jwks.json#a#k",
    "https://peer.example.com/.well-known/jwks.json/#k",
    "https://peer.example.com/.well-known/../.well-known/jwks.json#k",
    "https://peer.example.com/jwks.json#k",
    "https://peer.example.com#k",
    "https://user@peer.example.com/.well-known/jwks.json#k",
    "ftp://peer.example.com/.well-known/jwks.json#k",
    "#k",
]


@pytest.mark.parametrize("key_id", BAD_PLACES)
@pytest.mark.parametrize("private", [True, False])
async def test_url_of_another_form_is_never_asked(key_id: str, private: bool) -> None:
    async with JwksServer(serving(key_set(PEER.entry(kid="k")))) as server:
        at = world(server, private=private)
        assert await at.key(key_id) is None
        assert at.names.asked == []


@pytest.mark.parametrize(
    ("key_id", "trusted", "asked"),
    [
        ("http://peer.example.com{}", "peer.example.com", False),
        ("https://peer.example.com:8443{}", "peer.example.com", False),
        ("https://peer.example.com:8443{}", "peer.example.com:8443", True),
        ("https://peer.example.com:443{}", "peer.example.com", True),
        ("https://peer.example.com{}", "peer.example.com", True),
    ],
)
async def test_only_https_and_a_port_that_is_usual_or_trusted_by_number_is_asked(
    key_id: str, trusted: str, asked: bool
) -> None:
    async with JwksServer(serving(b"")) as server:
        at = world(server, private=False, trust=FederationTrust((trusted,)))
        at.wire.silent = {PUBLIC}
        assert await at.key(key_id.format(JWKS_PATH + "#k")) is None
        assert bool(at.names.asked) == asked


PRIVATE: Final = ["127.0.0.1", "10.1.2.3", "169.254.169.254", "::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1"]


@pytest.mark.parametrize("address", PRIVATE)
async def test_no_packet_leaves_for_a_host_with_any_private_address(address: str) -> None:
    async with JwksServer(serving(b"")) as server:
        for addresses in ((address,), (PUBLIC, address), (address, PUBLIC)):
            at = world(server, *addresses, private=False)
            assert await at.key(Peer().key_id) is None
            assert len(at.names.asked) == 1
            assert at.wire.dialled == []


async def test_host_that_is_a_private_address_is_not_asked() -> None:
    for host in ("127.0.0.1", "[::1]", "2130706433", "0x7f000001", "127.1"):
        trust = FederationTrust((host,))
        wire = Wire(1)
        keys = PeerKeys(trust, network=wire)  # with the resolver of the system, which knows short forms
        found = keys.look_up(f"https://{host}{JWKS_PATH}#k")
        assert not isinstance(found, bytes)
        with pytest.raises(KeyLookupFailed):
            await found()
        assert wire.dialled == []


async def test_name_is_resolved_once_and_the_address_that_was_looked_at_is_dialled() -> None:
    async with JwksServer(serving(b"")) as server:
        at = world(server, PUBLIC, private=False)
        answers = iter([(PUBLIC,), ("127.0.0.1",)])

        async def rebinding(_host: str, _port: int) -> Sequence[str]:
            return next(answers)

        wire = Wire(server.port)
        network = VettedNetwork(rebinding, any_address=False, connect=wire)
        await (await network.connect_tcp("peer.example.com", 443)).aclose()
        assert wire.dialled == [(PUBLIC, 443)]
        with pytest.raises(FetchRefused):
            await network.connect_tcp("peer.example.com", 443)
        assert len(wire.dialled) == 1
        assert at.wire.dialled == []


async def test_certificate_must_be_the_names_and_of_an_authority_that_is_believed() -> None:
    peer = Peer()
    theirs, believing = self_signed("peer.example.com")
    asked: list[str | None] = []
    theirs.sni_callback = lambda _socket, name, _context: asked.append(name)
    async with JwksServer(serving(key_set(peer.entry())), tls=theirs) as server:
        assert await world(server, private=False, tls=believing).key(peer.key_id) == peer.public
        other = Peer("other.example.com")
        both = FederationTrust((other.host, peer.host))
        assert await world(server, private=False, tls=believing, trust=both).key(other.key_id) is None
        assert await world(server, private=False).key(peer.key_id) is None
        assert asked == ["peer.example.com", "other.example.com", "peer.example.com"]
        assert len(server.hits) == 1


async def test_authority_of_the_environment_is_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    peer = Peer()
    theirs, believing = self_signed("peer.example.com")
    (authority,) = believing.get_ca_certs(binary_form=True)
    bundle = tmp_path / "authorities.pem"
    bundle.write_text(ssl.DER_cert_to_PEM_cert(authority))
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    async with JwksServer(serving(key_set(peer.entry())), tls=theirs) as server:
        assert await world(server, private=False).key(peer.key_id) == peer.public


async def test_addresses_are_tried_in_turn() -> None:
    async with JwksServer(serving(key_set(PEER.entry()))) as server:
        at = world(server, "1.1.1.1", "1.0.0.1")
        at.wire.silent = {"1.1.1.1"}
        assert await at.key(PEER.key_id) == PEER.public
        assert [address for address, _ in at.wire.dialled] == ["1.1.1.1", "1.0.0.1"]


async def test_resolver_of_the_system_gives_each_address_once() -> None:
    assert await system_resolver("127.0.0.1", 80) == ["127.0.0.1"]
    assert await system_resolver("::1", 80) == ["::1"]
    with pytest.raises(OSError, match=r"."):
        await system_resolver("name.invalid", 80)


async def chunked_without_end(_path: str, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(100):
        writer.write(b"1000\r\n" + b" " * 0x1000 + b"\r\n")
        await writer.drain()


FAULTS: Final[dict[str, Callable[[], Answer]]] = {
    "status": lambda: serving(key_set(PEER.entry()), status="404 Not Found"),
    "empty": lambda: serving(key_set(PEER.entry()), status="204 No Content"),
    "redirect": lambda: redirecting("/other", then=serving(key_set(PEER.entry()))),
    "no JSON": lambda: serving(b"<html>"),
    "too many": lambda: serving(key_set(*[PEER.entry(kid=str(n)) for n in range(64)], PEER.entry())),
    "too large": lambda: serving(key_set(PEER.entry()) + b" " * 65_536),
    "no end": lambda: chunked_without_end,
    "encoded": lambda: serving(key_set(PEER.entry()), headers="Content-Encoding: br\r\n"),
    "another key": lambda: serving(key_set(PEER.entry(kid="other"))),
    "another kind": lambda: serving(key_set(PEER.entry(kty="EC"))),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_answer_out_of_bounds_is_no_key(fault: str) -> None:
    async with JwksServer(FAULTS[fault]()) as server:
        assert await world(server).key(PEER.key_id) is None
        assert len(server.hits) == 1


async def test_answer_that_takes_too_long_is_no_key_however_it_dribbles() -> None:
    async def dribbling(_path: str, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n")
        while not writer.is_closing():
            writer.write(b" ")
            await asyncio.sleep(0.01)

    async with JwksServer(dribbling) as server:
        at = world(server, fetch_s=0.3)
        assert await at.key(PEER.key_id) is None
        assert await at.key(PEER.key_id) is None
        assert len(server.hits) == 1


async def test_nobody_there_is_no_key() -> None:
    async with JwksServer(serving(b"")) as server:
        at = world(server)
        at.names.addresses = ()
        assert await at.key(PEER.key_id) is None
    at = world(server)
    assert await at.key(PEER.key_id) is None
    assert len(at.wire.dialled) == 1


async def test_one_fetch_is_shared_and_outlives_who_hangs_up() -> None:
    gate = Gate(serving(key_set(PEER.entry())))
    async with JwksServer(gate) as server:
        at = world(server)
        waiting = [asyncio.create_task(at.key(PEER.key_id)) for _ in range(50)]
        await gate.reached.wait()
        waiting.pop(0).cancel()
        gate.opened.set()
        assert await asyncio.gather(*waiting) == [PEER.public] * 49
        assert len(server.hits) == len(at.wire.dialled) == 1


async def test_unknown_key_asks_again_once_a_minute() -> None:
    async with JwksServer(serving(key_set(PEER.entry()))) as server:
        at, new = world(server), Peer(scheme="http", name="fed-2")
        assert await at.key(PEER.key_id) == PEER.public
        for _ in range(3):
            assert await at.key(new.key_id) is None
        assert len(server.hits) == 2
        server.answer = serving(key_set(PEER.entry(), new.entry()))
        at.clock.now += 59
        assert await at.key(new.key_id) is None
        at.clock.now += 1
        assert await at.key(new.key_id) == new.public
        assert len(server.hits) == 3


async def test_set_is_fetched_again_when_its_time_is_over_and_serves_on_when_it_cannot_be() -> None:
    served = response(key_set(PEER.entry()), headers="Cache-Control: max-age=120\r\n")

    async def answer(_path: str, writer: asyncio.StreamWriter) -> None:
        writer.write(served)

    async with JwksServer(answer) as server:
        at = world(server)
        assert await at.key(PEER.key_id) == PEER.public
        at.clock.now += 121
        server.answer = serving(b"", status="500 Oops")
        for _ in range(3):
            assert await at.key(PEER.key_id) == PEER.public
        assert len(server.hits) == 2
        at.clock.now += 30
        assert await at.key(PEER.key_id) == PEER.public
        assert len(server.hits) == 3
        at.clock.now += 86_400
        assert await at.key(PEER.key_id) is None
        assert len(server.hits) == 4
        server.answer = serving(key_set())
        at.clock.now += 30
        assert await at.key(PEER.key_id) is None


async def test_key_that_is_no_longer_published_is_no_longer_good() -> None:
    async with JwksServer(serving(key_set(PEER.entry()))) as server:
        at = world(server)
        assert await at.key(PEER.key_id) == PEER.public
        server.answer = serving(key_set())
        at.clock.now += 3601
        assert await at.key(PEER.key_id) is None


async def test_number_of_key_sets_is_bounded() -> None:
    async with JwksServer(serving(key_set())) as server:
        at = world(server)
        for port in range(1, 301):
            assert await at.key(Peer(scheme="http", port=port).key_id) is None
        assert len(at.keys) == 256


async def test_key_sets_that_are_being_fetched_are_not_forgotten_for_others() -> None:
    opened = asyncio.Event()

    async def held(_host: str, _port: int) -> Sequence[str]:
        await opened.wait()
        return ()

    keys = PeerKeys(TRUST, private_networks=True, resolver=held)
    found = [keys.look_up(Peer(scheme="http", port=port).key_id) for port in range(1, 258)]
    waits = [asyncio.ensure_future(one()) for one in found if not isinstance(one, bytes)]
    with pytest.raises(KeyLookupFailed):
        await waits[-1]
    assert len(waits) == 257
    assert not any(wait.done() for wait in waits[:-1])
    opened.set()
    assert {type(end) for end in await asyncio.gather(*waits, return_exceptions=True)} == {KeyLookupFailed}


async def test_end_of_the_server_ends_what_is_under_way() -> None:
    gate = Gate(serving(key_set(PEER.entry())))
    async with JwksServer(gate) as server:
        at = world(server)
        waiting = asyncio.create_task(at.key(PEER.key_id))
        await gate.reached.wait()
        await at.keys.aclose()
        assert await waiting is None
        assert await at.key(PEER.key_id) is None
        assert await at.key(Peer(scheme="http", port=1).key_id) is None
        assert len(server.hits) == 1
