"""Who is not let in, and what they are told: upgrades at a home that runs."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

import pytest
from websockets.http11 import Response

from less_sync.auth import SignatureHeaders
from tests.federation.rig import BOTH_NAMES, PEER_PATH, Node, Rig, dial, kid_of, rig
from tests.live import Client
from tests.wire.client import Closed, Refused, open_socket

NAMES: Final = ("betterbase-rpc-v1",)


async def refusal(
    node: Node,
    headers: Mapping[str, str] = {},
    *,
    path: str = PEER_PATH,
    subprotocols: Sequence[str] = NAMES,
) -> tuple[int, str]:
    """Status and body of the refusal of an upgrade."""
    with pytest.raises(Refused) as caught:
        await open_socket(
            node.host, node.port, path=path, subprotocols=subprotocols, headers=list(headers.items())
        )
    response: Response = caught.value.response
    body = bytes(response.body or b"").decode()
    if body:
        assert response.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert response.headers["X-Protocol-Version"] == "1"
    return response.status_code, body


def as_headers(signed: SignatureHeaders) -> dict[str, str]:
    return {"Signature-Input": signed.signature_input, "Signature": signed.signature}


def now() -> int:
    return int(time.time())


UNVERIFIED: Final = (401, "signature verification failed")


async def test_every_fault_of_a_signature_is_answered_alike(databases: list[str]) -> None:
    async with rig(databases, started=("home",)) as r:
        good = r.edge1.sign(r.home, created=now())
        faults = {
            "none": {},
            "unknown key": as_headers(
                replace(r.edge1, kid=kid_of(r.edge1.domain, "other")).sign(r.home, created=now())
            ),
            "old": as_headers(r.edge1.sign(r.home, created=now() - 301)),
            "from the future": as_headers(r.edge1.sign(r.home, created=now() + 302)),
            "other host": as_headers(r.edge1.sign(r.home, created=now(), host="home.test")),
            "other key id": as_headers(replaced(good, "jwks.json#k", "jwks.json#K")),
            "other time": as_headers(replaced(good, "created=1", "created=2")),
            "other bit": as_headers(SignatureHeaders(good.signature_input, flipped(good.signature))),
            "algorithm": as_headers(replaced(good, 'alg="ed25519"', 'alg="rsa"')),
            "label": as_headers(replaced(good, "sig=", "sig1=")),
            "host not covered": as_headers(replaced(good, ' "host"', "")),
            "order of parameters": as_headers(reordered(good)),
            "other path": as_headers(r.edge1.sign(r.home, created=now(), path="/api/v1/ws")),
            "other query": as_headers(r.edge1.sign(r.home, created=now(), path=f"{PEER_PATH}?x=1")),
        }
        told = {name: await refusal(r.home, headers) for name, headers in faults.items()}
        assert told == dict.fromkeys(faults, UNVERIFIED)
        assert await r.home.counts(r.edge1) == (0, 0)


def replaced(signed: SignatureHeaders, old: str, new: str) -> SignatureHeaders:
    assert old in signed.signature_input
    return SignatureHeaders(signed.signature_input.replace(old, new), signed.signature)


def flipped(signature: str) -> str:
    """With one other character in the middle."""
    other = "A" if signature[20] != "A" else "B"
    return signature[:20] + other + signature[21:]


def reordered(signed: SignatureHeaders) -> SignatureHeaders:
    covered, key_id, algorithm, created = signed.signature_input.split(";")
    return SignatureHeaders(";".join((covered, created, key_id, algorithm)), signed.signature)


async def test_a_protocol_that_is_not_spoken_is_refused_before_the_signature(databases: list[str]) -> None:
    async with rig(databases, started=("home",)) as r:
        signed = as_headers(r.edge1.sign(r.home, created=now()))
        assert await refusal(r.home, signed, subprotocols=()) == (400, "")
        assert await refusal(r.home, signed, subprotocols=("chat",)) == (400, "")


async def test_either_name_of_the_protocol_is_spoken(databases: list[str]) -> None:
    old, new = "betterbase-rpc-v1", "less-rpc-v1"
    chosen = {new: new, old: old, f"{new}, {old}": old, BOTH_NAMES: old}
    async with rig(databases, started=("home",)) as r:
        for offered, name in chosen.items():
            peer = await dial(r.edge1, r.home, subprotocols=(offered,))
            assert peer.socket.subprotocol == name
            assert await peer.call("subscribe", {"spaces": []}) == {"spaces": []}
            await gone(r, peer)


async def test_without_trusted_keys_there_is_no_such_route(databases: list[str]) -> None:
    alone = {"home": {"FEDERATION_TRUSTED_KEYS": ""}}
    async with rig(databases, started=("home",), settings=alone) as r:
        assert await refusal(r.home, as_headers(r.edge1.sign(r.home, created=now()))) == (404, "")
        status = await r.home.get(f"/api/v1/federation/status/{r.edge1.domain}", token=r.home.token("u"))
        assert (status.status_code, status.content) == (404, b"")
        assert "federation" not in (await r.home.get("/health")).json()


async def test_a_peer_may_have_signed_for_any_of_four_schemes_and_up_to_the_limit_of_age(
    databases: list[str],
) -> None:
    async with rig(databases, started=("home",)) as r:
        for scheme in ("ws", "wss", "https", "http"):
            peer = await dial(r.edge1, r.home, headers=r.edge1.sign(r.home, created=now(), scheme=scheme))
            await gone(r, peer)
        for skew in (-295, 295):
            peer = await dial(r.edge1, r.home, headers=r.edge1.sign(r.home, created=now() + skew))
            await gone(r, peer)


async def gone(r: Rig, peer: Client) -> None:
    """Hang up, and wait until the home counts it no longer."""
    await peer.socket.hangup(30)
    await r.home.until_counts(r.edge1, 0, 0)


async def test_a_signature_for_another_server_is_refused_where_the_own_name_is_known(
    databases: list[str],
) -> None:
    async with rig(databases, started=("home",), settings={"home": {"FEDERATION_DOMAIN": "home.test"}}) as r:
        # Signed for this address, as a server that was dialled there would replay it.
        assert await refusal(r.home, as_headers(r.edge1.sign(r.home, created=now()))) == UNVERIFIED


async def test_a_connection_too_many_is_closed_behind_its_upgrade_and_a_place_comes_back(
    databases: list[str],
) -> None:
    async with rig(databases, started=("home",)) as r:
        peers = [await dial(r.edge1, r.home) for _ in range(3)]
        extra = await dial(r.edge1, r.home)
        assert await extra.closed() == Closed(4003, "too many federation connections")
        assert await r.home.counts(r.edge1) == (3, 0)
        await peers[0].socket.hangup(30)
        await r.home.until_counts(r.edge1, 2, 0)
        another = await dial(r.edge1, r.home)
        assert await another.call("subscribe", {"spaces": []}) == {"spaces": []}
