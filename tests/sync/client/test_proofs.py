"""The clients prove their DID for each token, and ask the server who they are (docs/tokens.md 11)."""

from datetime import UTC, datetime, timedelta

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from less_sync.auth import InvalidToken, encode_did_key, verify_did_proof
from less_sync.sync.client import ClientLimits, ErrorCode, RequestFailed, SessionInfo, SyncClient
from less_sync.sync.client.tokens import PROOF_LIFE_S, DidProofs
from less_sync.sync.protocol.frames import decode_auth
from tests.sync.scripted_server import Peer, hold, scripted

KEY = ec.generate_private_key(ec.SECP256R1())
DID = encode_did_key(KEY.public_key())
NOW = 1_800_000_000
QUICK = ClientLimits(request_timeout_s=20.0, close_timeout_s=0.2)


def clock() -> datetime:
    return datetime.fromtimestamp(NOW, UTC)


async def at_once(_seconds: float) -> None:
    """Wait for nothing before the next attempt."""


def token(**claims: object) -> str:
    return jwt.encode({"sub": "alice", **claims}, ec.generate_private_key(ec.SECP256R1()), algorithm="ES256")


def test_a_proof_lives_as_long_as_its_token() -> None:
    text = token(exp=NOW + 5)
    proof = DidProofs(KEY, clock).of(text)
    assert verify_did_proof(proof, text, NOW + 5) == DID
    with pytest.raises(InvalidToken):
        verify_did_proof(proof, text, NOW + 6)


@pytest.mark.parametrize("text", [token(), token(exp="soon"), token(exp=True), "no token"])
def test_a_proof_for_a_token_that_does_not_say_when_it_ends_is_made_anew_for_a_day(text: str) -> None:
    now = datetime.fromtimestamp(NOW, UTC)
    proofs = DidProofs(KEY, lambda: now)
    proof = proofs.of(text)
    assert verify_did_proof(proof, text, NOW + PROOF_LIFE_S) == DID
    now += timedelta(seconds=PROOF_LIFE_S + 1)
    with pytest.raises(InvalidToken):
        verify_did_proof(proof, text, now.timestamp())
    assert verify_did_proof(proofs.of(text), text, now.timestamp()) == DID


def test_the_same_token_has_the_same_proof_and_without_a_key_there_is_none() -> None:
    proofs, first, second = DidProofs(KEY, clock), token(exp=NOW), token(exp=NOW)
    assert proofs.of(first) == proofs.of(first)
    assert verify_did_proof(proofs.of(second), second, NOW) == DID
    assert DidProofs(None, clock).of(first) == ""


def test_a_token_without_end_has_a_new_proof_before_the_former_one_ends() -> None:
    now_s = [float(NOW)]
    proofs, text = DidProofs(KEY, lambda: datetime.fromtimestamp(now_s[0], UTC)), token()
    for _ in range(4):
        assert verify_did_proof(proofs.of(text), text, now_s[0]) == DID
        now_s[0] += PROOF_LIFE_S / 2 - 1


async def test_each_connection_and_each_refresh_brings_a_proof_for_its_token() -> None:
    tokens = [token(jti=str(number), exp=NOW) for number in range(3)]
    asked = iter(tokens)
    shown: list[tuple[str, str]] = []

    async def source() -> str:
        return next(asked)

    async def act(peer: Peer) -> None:
        auth = decode_auth(await peer.receive())
        shown.append((auth.token, auth.did_proof))
        await peer.answer(await peer.request("subscribe"), {"spaces": []})
        if len(shown) == 1:
            return  # hang up: the client comes again, with the next token
        refresh = await peer.request("token.refresh")
        assert isinstance(refresh.params, dict)
        shown.append((refresh.params["token"], refresh.params["did_proof"]))
        await peer.answer(refresh, {"ok": True})
        await hold(peer)

    async with (
        scripted(act) as server,
        SyncClient(server.url, source, did_key=KEY, limits=QUICK, sleep=at_once) as client,
    ):
        while len(shown) < 2:
            await client.next_notice()
        assert (await client.refresh()).ok
    assert [text for text, _ in shown] == tokens
    assert [verify_did_proof(proof, text, NOW) for text, proof in shown] == [DID] * 3


async def test_without_a_key_the_first_message_is_what_it_always_was() -> None:
    seen: list[bytes] = []

    async def source() -> str:
        return "t"

    async def act(peer: Peer) -> None:
        seen.append(await peer.receive())
        await peer.answer(await peer.request("subscribe"), {"spaces": []})
        await hold(peer)

    async with scripted(act) as server, SyncClient(server.url, source, limits=QUICK):
        pass
    assert seen == [b"\xa3dtype\x02fmethoddauthfparams\xa1etokenat"]


async def test_the_server_tells_who_we_are_or_that_it_does_not() -> None:
    info = {"space": "s", "mailbox": "m", "did": "d", "scopes": ["sync"], "expires_at": 7}

    async def source() -> str:
        return "t"

    async def act(peer: Peer) -> None:
        await peer.welcome()
        request = await peer.request("session.info")
        assert request.params == {}
        await peer.answer(request, info)
        await peer.refuse(await peer.request("session.info"), "method_not_found")
        await hold(peer)

    async with scripted(act) as server, SyncClient(server.url, source, limits=QUICK) as client:
        assert await client.info() == SessionInfo("s", "m", "d", ["sync"], 7)
        with pytest.raises(RequestFailed) as caught:
            await client.info()
        assert caught.value.code == ErrorCode.METHOD_NOT_FOUND
