"""The first app: its page shows the code that runs, and its backend opens nothing to who is not signed in."""

import asyncio
import json
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key

from less_sync.auth import encode_did_key
from less_sync.bins.dev import dev_mailbox_id
from less_sync.bins.listening import bound_address, open_listeners
from less_sync.bins.settings.parts import ListenAddress
from tests.sync.raw_http import Response, connected

ROOT: Final = Path(__file__).resolve().parent.parent
EXAMPLE: Final = ROOT / "examples" / "first-app"
SHOWN: Final = re.compile(r"<!-- code: (\S+) -->\n```js\n(.*?)```", re.DOTALL)
DID: Final = encode_did_key(generate_private_key(SECP256R1()).public_key())
SERVER: Final = "http://127.0.0.1:5379"


def test_the_code_on_the_page_is_that_of_the_app_in_its_order() -> None:
    shown = SHOWN.findall((ROOT / "docs" / "first-app.md").read_text())
    assert len(shown) == 4
    places = [(name, (EXAMPLE / "app" / name).read_text().find(code)) for name, code in shown]
    assert places == sorted(set(places))
    assert all(place > 0 for _, place in places)


@pytest.fixture
async def port(tmp_path: Path) -> AsyncIterator[int]:
    """Where the backend answers, with a data directory of its own behind it."""
    (listener,) = open_listeners(ListenAddress("127.0.0.1", 0))
    found = bound_address(listener).port
    listener.close()
    arguments = [str(EXAMPLE / "backend.py"), f"127.0.0.1:{found}", SERVER]
    process = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, cwd=tmp_path, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(30):
            assert await process.stdout.readline() == f"the app is at http://127.0.0.1:{found}\n".encode()
        yield found
    finally:
        process.kill()
        await process.wait()


async def asked(port: int, path: str, question: object, session: str = "") -> tuple[int, Any]:
    body = question if isinstance(question, bytes) else json.dumps(question).encode()
    async with connected(port) as connection:
        head = f"POST {path} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {session}\r\n"
        connection.send(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        answer: Response = await connection.receive()
    return answer.status, json.loads(answer.body)


async def test_who_knows_a_password_gets_tokens_in_their_own_name_and_finds_others(port: int) -> None:
    status, welcome = await asked(port, "/sign-in", {"name": "alice", "password": "rabbit"})
    assert (status, welcome["server"]) == (200, SERVER)
    session = welcome["session"]
    assert await asked(port, "/person", {"name": "alice"}, session) == (
        404,
        {"error": "nobody has signed in under that name yet"},
    )
    _, told = await asked(port, "/token", {"did": DID}, session)
    claims = jwt.decode(told["token"], options={"verify_signature": False})
    assert (claims["sub"], claims["did"]) == ("alice", DID)
    found = {"did": DID, "mailbox": dev_mailbox_id("alice")}
    assert await asked(port, "/person", {"name": "alice"}, session) == (200, found)


async def test_who_is_not_signed_in_gets_nothing_and_no_question_breaks_it(port: int) -> None:
    for question, status in (
        ({"name": "alice", "password": "Rabbit"}, 401),
        ({"name": "alice", "password": ""}, 401),
        ({"name": "carol", "password": ""}, 401),
        ({"name": "alice", "password": None}, 400),
        ({"name": ["alice"], "password": "rabbit"}, 400),
        ({"name": "alice"}, 400),
        ([], 400),
        (b"{", 400),
        (b"\xff", 400),
        (b"[" * 4096, 400),
        (b" " * 4097, 413),
        (b"", 413),
    ):
        assert (await asked(port, "/sign-in", question))[0] == status, question
    for path in ("/token", "/person", "/elsewhere"):
        assert (await asked(port, path, {"did": DID, "name": "alice"}))[0] == 401
        assert (await asked(port, path, {"did": DID, "name": "alice"}, "x" * 43))[0] == 401
    _, welcome = await asked(port, "/sign-in", {"name": "bob", "password": "hatter"})
    for did in ("--ttl=9d", "did:key:z --data-dir=x", "did:web:x", "", None, DID + "\n"):
        assert (await asked(port, "/token", {"did": did}, welcome["session"]))[0] == 400, did
    assert (await asked(port, "/elsewhere", {}, welcome["session"]))[0] == 404


async def test_the_files_of_the_app_are_served_and_the_backend_s_own_are_not(port: int) -> None:
    async with connected(port) as connection:
        page = await connection.request("GET", "/app.js")
    assert page.body == (EXAMPLE / "app" / "app.js").read_bytes()
    for path in ("/backend.py", "/../backend.py", "/%2e%2e/backend.py", "/app/../../backend.py"):
        async with connected(port) as connection:
            assert (await connection.request("GET", path)).status == 404, path
