"""The life of a connection that a peer opened: frames byte for byte, closes, deadlines, what it may say."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Final
from uuid import UUID

import cbor2
import pytest

from less_sync.auth import peer_identity
from less_sync.federation.inbound.peers import Inbound, domain_of
from less_sync.federation.inbound.registry import peer_table
from less_sync.federation.inbound.sessions import QUEUE_BYTES, QUEUE_FRAMES
from less_sync.federation.quotas import QuotaTracker, Usage
from less_sync.federation.settings import FederationSettings, PeerQuotas
from less_sync.sync.limits import Limits
from less_sync.sync.protocol.frames import encode_request
from less_sync.sync.rpc.registry import METHODS
from tests.federation.inbound.peer_client import (
    EDGE1,
    EDGE2,
    KEYS,
    SECRET,
    Home,
    change,
    entry,
    home_server,
    subscribe,
)
from tests.live import TIMEOUT_S, Client
from tests.wire.client import Closed, Message, Socket

SPACE: Final = "6dfe56d8-7987-439f-b044-ea19e633ef46"
SUBSCRIBE: Final = bytes.fromhex(
    "a4647479706500626964656665642d31666d6574686f646973756273637269626566706172616d73a16673706163657381a3"
    "626964782436646665353664382d373938372d343339662d623034342d6561313965363333656634366573696e6365006574"
    "6f6b656e6154"
)
SUBSCRIBED: Final = bytes.fromhex(
    "a3647479706501626964656665642d3166726573756c74a16673706163657381a5626964782436646665353664382d373938"
    "372d343339662d623034342d65613139653633336566343666637572736f72182a6e6b65795f67656e65726174696f6e036c"
    "7265777261705f65706f63680265746f6b656e6154"
)
REFUSED: Final = Closed(4003, "too many federation connections")
OK: Final = bytes.fromhex("a3647479706501626964656665642d3266726573756c74a1626f6bf5")
OVER: Final = bytes.fromhex(
    "a3647479706501626964656665642d33656572726f72a264636f64656c726174655f6c696d69746564676d65737361676578"
    "1a7265636f726420707573682071756f7461206578636565646564"
)
NO_CHUNKS: Final = bytes.fromhex("a3647479706501626964656665642d3466726573756c74a1675f6368756e6b7300")
UNSUBSCRIBE: Final = bytes.fromhex(
    "a3647479706502666d6574686f646b756e73756273637269626566706172616d73a166737061636573817824366466653536"
    "64382d373938372d343339662d623034342d656131396536333365663436"
)


@pytest.fixture
async def home(database_url: str) -> AsyncIterator[Home]:
    async with home_server(database_url) as running:
        yield running


async def raw(peer: Client, data: bytes) -> bytes:
    """Send one message and return the next that comes."""
    peer.socket.send(data)
    event = await peer.socket.receive(TIMEOUT_S)
    assert isinstance(event, Message), event
    return event.data


async def test_frames_are_byte_for_byte_those_of_existing_servers(database_url: str) -> None:
    async with home_server(database_url, quotas=PeerQuotas(records_per_hour=1)) as home:
        shared = await home.share()
        await home.sql("DELETE FROM spaces WHERE id = $1", UUID(shared.id))
        await home.sql(
            "INSERT INTO spaces (id, client_id, root_public_key, cursor, key_generation, rewrap_epoch) "
            "VALUES ($1, '', $2, 42, 3, 2)",
            UUID(SPACE),
            shared.owner.root_key,
        )
        shared.id = SPACE
        until = int(home.live.services.now()) + 60
        token = KEYS.make(
            space_id=UUID(SPACE), peer_domain=EDGE1, expires_at=until, nonce=bytes(8), leaf_tag=bytes(8)
        )
        peer = await home.peer()
        # The vectors have a token of one letter, which ours never are.
        request = SUBSCRIBE.replace(b"etoken\x61T", b"etoken\x78\x8c" + token.encode())
        answer = await raw(peer, request)
        renewed = answer[-140:]
        assert answer.replace(b"\x78\x8c" + renewed, b"\x61T") == SUBSCRIBED
        assert KEYS.verify(renewed.decode(), peer_domain=EDGE1, now=0).expires_at == until
        peer.socket.send(UNSUBSCRIBE)
        ucan = shared.ucan()
        pull = {"spaces": [{"id": SPACE, "since": 0}]}
        assert await raw(peer, encode_request("fed-4", "pull", pull)) == NO_CHUNKS
        assert home.usage().spaces == 0
        pushes = [{"space": SPACE, "ucan": ucan, "changes": [change()] * count} for count in (0, 2)]
        assert await raw(peer, encode_request("fed-3", "push", pushes[1])) == OVER
        await home.sql("UPDATE spaces SET cursor = 0 WHERE id = $1", UUID(SPACE))
        assert await raw(peer, encode_request("fed-2", "push", pushes[0])) == OK


async def test_the_first_message_may_be_a_request_and_an_auth_frame_is_nothing(home: Home) -> None:
    shared, peer = await home.share(), await home.peer()
    assert (await subscribe(peer, entry(shared.id, ucan=shared.ucan())))["spaces"]
    peer.notify("auth", {"token": "whatever"})
    for ignored in (b"\xf6", cbor2.dumps({"type": 1, "id": "x", "result": 1}), cbor2.dumps({"type": 77})):
        peer.socket.send(ignored)
    peer.socket.send(cbor2.dumps({"type": 0, "method": "?", "params": {}}))
    response, _ = await peer.response("")
    assert response.error is not None
    assert (response.error.code, response.error.message) == ("method_not_found", "unknown method: ?")


async def test_what_clients_alone_may_ask_is_no_method(home: Home) -> None:
    peer = await home.peer()
    served = set(peer_table(home.live.services, Inbound(QuotaTracker(PeerQuotas()))).methods)
    assert served == {"subscribe", "push", "pull", "fed.invitation"}
    for method in ({*METHODS, "fed.subscribe", "invitation"} - served) | {""}:
        assert await peer.error(method, {}) == ("method_not_found", f"unknown method: {method}")


CLOSES: Final[list[tuple[Callable[[Socket], None], int, str]]] = [
    (lambda socket: socket.send_text(b"text"), 4005, "expected binary rpc frame"),
    (lambda socket: socket.send(b""), 4005, "empty binary frame"),
    (lambda socket: socket.send(b"\xff"), 4005, "invalid cbor frame"),
    (lambda socket: socket.send(cbor2.dumps({"type": "0"})), 4005, "invalid cbor frame"),
    (lambda socket: socket.send(cbor2.dumps({"type": 0, "id": 1})), 4005, "invalid cbor frame"),
    (lambda socket: socket.send(cbor2.dumps({"type": 2, "method": 1})), 4005, "invalid cbor frame"),
    (lambda socket: socket.send(bytes(4 * 1024 * 1024 + 1)), 1009, "message too big"),
]


@pytest.mark.parametrize("number", range(len(CLOSES)))
async def test_what_breaks_the_protocol_ends_the_connection_and_gives_all_back(
    home: Home, number: int
) -> None:
    send, code, reason = CLOSES[number]
    shared, peer = await home.share(), await home.peer()
    await subscribe(peer, entry(shared.id, ucan=shared.ucan()))
    assert home.usage() == Usage(connections=1, spaces=1)
    send(peer.socket)
    assert await peer.closed() == Closed(code, reason)
    assert home.usage() == Usage()


async def test_a_message_of_four_mebibytes_is_read(home: Home) -> None:
    peer = await home.peer()
    frame = encode_request("r1", "?", {"x": b""})
    room = 4 * 1024 * 1024 - len(frame) - 4
    frame = encode_request("r1", "?", {"x": bytes(room)})
    assert len(frame) == 4 * 1024 * 1024
    peer.socket.send(frame)
    assert (await peer.response("r1"))[0].error is not None


async def test_a_connection_beyond_the_quota_is_closed_after_the_upgrade(database_url: str) -> None:
    # The bound for clients has nothing to do with it.
    limits, quotas = Limits(connections_per_mailbox=1), PeerQuotas(connections=3)
    async with home_server(database_url, quotas=quotas, limits=limits) as home:
        peers = [await home.peer() for _ in range(3)]
        fourth = await home.peer()
        assert await fourth.closed() == REFUSED
        assert home.usage().connections == 3
        await home.live.settled(await home.peer(EDGE2))
        await peers[0].socket.hangup(TIMEOUT_S)
        again = await home.peer()
        await home.live.settled(again)
        assert home.quotas.connections == 4


async def test_a_connection_becomes_an_hour_old_more_or_less(database_url: str) -> None:
    async with home_server(database_url, limits=Limits(lifetime_s=0.05)) as home:
        peer = await home.peer()
        assert await peer.closed() == Closed(4001, "connection timeout")
        assert home.usage() == Usage()


async def test_a_peer_that_says_nothing_is_kept_and_hears_keepalives(database_url: str) -> None:
    limits = Limits(keepalive_interval_s=0.01, silence_timeout_s=0.02)
    async with home_server(database_url, limits=limits) as home:
        peer = await home.peer()
        peer.socket.stop_reading()  # no pong is sent
        await asyncio.sleep(0.3)
        peer.socket.resume_reading()
        for _ in range(20):
            assert await peer.socket.receive_any(TIMEOUT_S) == Message(b"\xf6", binary=True)
        await home.live.settled(peer)


async def test_a_lost_connection_makes_room_for_a_new_one_of_its_peer(database_url: str) -> None:
    limits = Limits(keepalive_interval_s=0.02, silence_timeout_s=0.06)
    async with home_server(database_url, limits=limits, quotas=PeerQuotas(connections=2)) as home:
        shared = await home.share()
        lost, living = await home.peer(), await home.peer()
        await subscribe(lost, entry(shared.id, ucan=shared.ucan()))
        await home.live.settled(living)
        lost.socket.stop_reading()
        async with asyncio.timeout(TIMEOUT_S):
            # Whoever comes before it has been silent for long enough is refused.
            while (await (new := await home.peer()).socket.receive_any(TIMEOUT_S)) == REFUSED:
                pass
        assert home.usage() == Usage(connections=2)
        await home.live.settled(new)
        await home.live.settled(living)
        lost.socket.resume_reading()
        assert await lost.closed() == REFUSED
        # Both speak: nothing is given up for another one.
        assert await (await home.peer()).closed() == REFUSED


async def test_an_orderly_stop_says_1001(home: Home) -> None:
    peer = await home.peer()
    await home.live.settled(peer)
    stopping = asyncio.create_task(home.live.services.sessions.shutdown(1))
    assert await peer.closed() == Closed(1001, "server shutting down")
    await stopping


async def flood(home: Home, slow: Client, blob: bytes, *, at_once: int = 1, linger_s: float = 0) -> int:
    """Let somebody write until this peer is closed; how many notifications it was sent at most.

    Args:
        linger_s: a pause once it has some that it does not read.
    """
    shared = await home.share()
    ucan = shared.owner.grant(shared.owner, shared.id)
    await subscribe(slow, entry(shared.id, ucan=shared.ucan()))
    other, member = await home.peer(EDGE2), await home.member(shared)
    await subscribe(other, entry(shared.id, ucan=shared.ucan()))
    slow.socket.stop_reading()
    pushed = 0
    while home.usage().connections:
        params = {"space": shared.id, "ucan": ucan}
        sent = [member.send("push", {**params, "changes": [change(blob)]}) for _ in range(at_once)]
        answers = [(await member.response(id))[0].result for id in sent]
        assert all(isinstance(one, dict) and one["ok"] for one in answers)
        pushed += at_once
        assert await other.methods_heard() == ["sync"] * at_once
        if linger_s and pushed * len(blob) > QUEUE_BYTES // 2:
            await asyncio.sleep(linger_s)
            assert home.usage().connections, "it has no deadline"
            linger_s = 0
    assert home.usage() == Usage()
    slow.socket.resume_reading()
    assert await slow.closed() == Closed(4006, "slow consumer")
    return pushed


async def test_a_peer_that_reads_no_notifications_has_eight_mebibytes_and_no_deadline(
    database_url: str,
) -> None:
    async with home_server(database_url, limits=Limits(write_timeout_s=0.3)) as home:  # of the others too
        blob = bytes(512 * 1024)
        slow = await home.peer()
        assert await flood(home, slow, blob, linger_s=0.7) * len(blob) > QUEUE_BYTES


async def test_a_peer_that_reads_no_notifications_has_a_thousand_of_them(database_url: str) -> None:
    async with home_server(database_url) as home:
        assert await flood(home, await home.peer(), bytes(5000), at_once=16) > QUEUE_FRAMES


async def test_a_peer_that_does_not_read_its_answer_is_dropped_at_the_deadline(database_url: str) -> None:
    async with home_server(database_url, limits=Limits(write_timeout_s=0.1)) as home:
        peer = await home.peer()
        peer.socket.stop_reading()
        request = encode_request("x" * 256, "m" * 128, {})
        async with asyncio.timeout(TIMEOUT_S):
            while home.usage().connections:
                for _ in range(2000):
                    peer.socket.send(request)
                await asyncio.sleep(0.01)


def test_a_peer_is_known_by_its_domain() -> None:
    for domain in ("peer.example", "::1", "localhost"):
        assert domain_of(peer_identity(domain)) == domain


def test_settings_become_what_sessions_work_with() -> None:
    quotas = QuotaTracker(PeerQuotas())
    assert Inbound.of(FederationSettings(), quotas).fst_keys is None
    settings = FederationSettings(fst_secret="new", fst_previous_secret=SECRET, fst_life_s_max=60)
    inbound = Inbound.of(settings, quotas)
    assert inbound.fst_keys is not None
    assert inbound.fst_keys.previous == KEYS.primary
    assert inbound.fst_life_s_max == 60
