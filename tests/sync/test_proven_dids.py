"""DIDs that devices prove beside tokens of derived identities (docs/tokens.md 11), on every way in."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import cbor2
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from structlog.testing import capture_logs

from less_sync.auth import (
    PERSONAL_SPACE_ROOTS,
    Permission,
    TokenPolicy,
    make_did_proof,
    parse_issuers_file,
    personal_space_id,
    server_mailbox_id,
)
from less_sync.storage.objects.memory import MemoryBlobs
from tests.bins.commands import run_less_sync
from tests.live import CLIENT_ID, ISSUER, Client, Live, Person, live_server
from tests.sync.file_requests import b64, dek, path, request, told
from tests.wire.issuer import AUDIENCE, served_key_set

LOGIN: Final = "https://login.example"
MAILBOX_KEY: Final = bytes(range(32))
EXP: Final = int(time.time()) + 3600
WRITE: Final = Permission.WRITE


@pytest.fixture
async def live(database_url: str) -> AsyncIterator[Live]:
    """A server that derives the identities of `LOGIN`, beside an issuer whose claims it believes."""
    async with AsyncExitStack() as stack:
        policy = TokenPolicy(mailbox_key=MAILBOX_KEY)
        server = live_server(database_url, policy=policy, blobs=MemoryBlobs())
        running = await stack.enter_async_context(server)
        keys = await stack.enter_async_context(served_key_set(running.issuer))
        rules = f"""
        [issuers.login]
        issuer = "{LOGIN}"
        keys = "{keys}"
        audiences = ["{AUDIENCE}"]
        identity = "derived"
        """
        running.services.authenticator.trust({}, set(), parse_issuers_file(rules.encode()))
        yield running


def token(live: Live, user: str = "alice", **changes: Any) -> str:
    """What the provider issues: it knows nothing of this server."""
    claims = {"iss": LOGIN, "sub": user, "client_id": CLIENT_ID, "scope": "openid sync files", "exp": EXP}
    return live.issuer.token(claims | changes)


def proof(person: Person, token: str, *, exp: int = EXP) -> str:
    return make_did_proof(person.key, token, exp)


async def connect(live: Live, token: str, did_proof: object = None) -> Client:
    socket = await live.open()
    socket.send(
        cbor2.dumps({"type": 2, "method": "auth", "params": {"token": token, "did_proof": did_proof}})
    )
    return Client(socket, space_of(LOGIN, "alice"))


def space_of(issuer: str, user: str) -> str:
    return str(personal_space_id(PERSONAL_SPACE_ROOTS["betterbase"], issuer, user, CLIENT_ID))


async def did_of(client: Client) -> str:
    did = (await client.call("session.info", {}))["did"]
    assert isinstance(did, str)
    return did


async def test_a_session_is_told_what_no_token_says(live: Live) -> None:
    claimed = {"personal_space_id": str(uuid4()), "mailbox_id": "m", "did": "did:key:z"}
    phone, text = Person("phone"), token(live, **claimed)
    client = await connect(live, text, proof(phone, text))
    info = await client.call("session.info", {})
    assert info == {
        "space": client.space,
        "mailbox": server_mailbox_id(MAILBOX_KEY, LOGIN, "alice"),
        "did": phone.did,
        "scopes": ["sync", "files"],
        "expires_at": EXP,
    }
    assert list(info) == ["space", "mailbox", "did", "scopes", "expires_at"]
    change = {"id": str(uuid4()), "blob": b"mine", "expected_cursor": 0}
    assert (await client.push(change))["ok"]


async def test_devices_that_share_a_token_have_each_their_own_did(live: Live) -> None:
    phone, laptop, text = Person("phone"), Person("laptop"), token(live)
    for _ in range(2):  # the second time the token is remembered, and the proofs are
        assert await did_of(await connect(live, text, proof(phone, text))) == phone.did
        assert await did_of(await connect(live, text)) == ""
        assert await did_of(await connect(live, text, proof(laptop, text))) == laptop.did


async def test_identities_of_claims_take_no_proof(live: Live) -> None:
    phone = Person("phone")
    text = live.token("carol", did="did:key:zClaimed", exp=EXP)
    for shown in (proof(phone, text), "no proof", "x" * 5000):
        client = await connect(live, text, shown)
        assert await client.call("session.info", {}) == {
            "space": space_of(ISSUER, "carol"),
            "mailbox": "6361726f6c".ljust(64, "0"),
            "did": "did:key:zClaimed",
            "scopes": ["sync", "files"],
            "expires_at": EXP,
        }


async def test_a_session_without_space_scope_or_end_says_so(live: Live) -> None:
    live.services.authenticator = type(live.services.authenticator)(
        live.services.authenticator.keys, policy=TokenPolicy(require_exp=False)
    )
    text = live.token("dave", personal_space_id="", scope="sync", exp=None, mailbox_id="")
    client = await connect(live, text)
    assert await client.call("session.info", {}) == {
        "space": "",
        "mailbox": CLIENT_ID,
        "did": "",
        "scopes": ["sync"],
        "expires_at": 0,
    }
    # More than a JSON number of every client can hold.
    far = await connect(live, live.token("dave", exp=2**63))
    assert (await far.call("session.info", {}))["expires_at"] == 2**53 - 1


async def test_a_bad_proof_is_refused_like_a_bad_token_and_the_log_names_the_check(live: Live) -> None:
    phone, text = Person("phone"), token(live)
    bad = {
        "did proof for another token": proof(phone, token(live)),
        "expired did proof": proof(phone, text, exp=int(time.time()) - 5),
        "did proof too long": "x" * 4097,
        "unreadable did proof": "x",
    }
    good = await connect(live, text, proof(phone, text))
    with capture_logs() as lines:
        for shown in bad.values():
            end = await (await connect(live, text, shown)).closed()
            assert (end.code, end.reason) == (4000, "invalid auth token")
            refreshed = await good.call("token.refresh", {"token": text, "did_proof": shown})
            assert refreshed == {"ok": False, "error": "invalid auth token"}
            fields = {"authorization": f"Bearer {text}", "x-did-proof": shown}
            answer = await request(live, "GET", path(good.space, uuid4()), fields)
            assert told(answer) == (401, "invalid token")
    checks = [line["check"] for line in lines if line["event"] == "token refused"]
    assert checks == [check for check in bad for _ in range(3)]
    assert await did_of(good) == phone.did


async def test_the_proven_did_opens_the_shared_spaces_it_was_let_into_and_no_other_does(live: Live) -> None:
    owner, phone, thief = Person("owner"), Person("phone"), Person("thief")
    text = token(live)
    alice = await connect(live, text, proof(phone, text))
    space = await alice.create_space(owner)
    ucan = owner.grant(phone, space, WRITE)
    change = {"id": str(uuid4()), "blob": b"ours", "expected_cursor": 0}
    assert (await alice.push(change, space=space, ucan=ucan))["ok"]
    for other in (await connect(live, text), await connect(live, text, proof(thief, text))):
        refused = await other.push(change, space=space, ucan=ucan)
        assert (refused["ok"], refused["error"]) == (False, "forbidden")


async def test_a_refresh_keeps_subscriptions_with_the_same_did_only(live: Live) -> None:
    owner, phone, laptop = Person("owner"), Person("phone"), Person("laptop")
    text, fresh = token(live), token(live)
    client = await connect(live, text, proof(phone, text))
    space = await client.create_space(owner)
    ucan = owner.grant(phone, space, WRITE)
    writer = await connect(live, text, proof(phone, text))
    for shown, heard in ((proof(phone, fresh), ["sync"]), (proof(laptop, fresh), []), (None, [])):
        again = await client.call("token.refresh", {"token": text, "did_proof": proof(phone, text)})
        assert again == {"ok": True}
        assert len((await client.subscribe(space, ucan=ucan))["spaces"]) == 1
        assert await client.call("token.refresh", {"token": fresh, "did_proof": shown}) == {"ok": True}
        change = {"id": str(uuid4()), "blob": b"new", "expected_cursor": 0}
        assert (await writer.push(change, space=space, ucan=ucan))["ok"]
        assert await client.methods_heard() == heard


async def test_files_of_shared_spaces_take_the_proof_as_a_header(live: Live) -> None:
    owner, phone, text = Person("owner"), Person("phone"), token(live)
    client = await connect(live, text, proof(phone, text))
    space = await client.create_space(owner)
    ucan = owner.grant(phone, space, WRITE)
    record = str(uuid4())
    assert (await client.push({"id": record, "blob": b"r", "expected_cursor": 0}, space=space, ucan=ucan))[
        "ok"
    ]
    fields = {
        "authorization": f"Bearer {text}",
        "x-ucan": ucan,
        "x-record-id": record,
        "x-wrapped-dek": b64(dek()),
    }
    target = path(space, uuid4())
    assert told(await request(live, "PUT", target, fields, b"content")) == (401, "authorization required")
    shown = fields | {"X-DID-Proof": proof(phone, text)}
    assert (await request(live, "PUT", target, shown, b"content")).status == 201
    assert (await request(live, "GET", target, shown)).body == b"content"


async def test_the_commands_believe_the_server_and_not_what_a_token_claims(
    live: Live, tmp_path: Path
) -> None:
    phone, stranger = Person("phone"), Person("stranger")
    pem = phone.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    key_file = tmp_path / "did.pem"
    key_file.touch(mode=0o600)
    key_file.write_bytes(pem)
    claimed = {"personal_space_id": str(uuid4()), "mailbox_id": "m", "did": stranger.did}
    environment = {
        "LESS_SYNC_SERVER": f"http://127.0.0.1:{live.port}",
        "LESS_SYNC_TOKEN": token(live, **claimed),
        "LESS_SYNC_DID_KEY_FILE": str(key_file),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
    }
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "a.txt").write_text("mine")
    commands = [("push", str(folder)), ("space", "create", str(tmp_path / "shared"))]
    for done in await asyncio.gather(*(run_less_sync(*words, env=environment) for words in commands)):
        assert done.status == 0, done.err
    mine = await connect(live, token(live))
    assert [name for name, _ in await mine.pull()].count("pull.record") == 1
