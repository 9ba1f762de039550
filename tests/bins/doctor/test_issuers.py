"""The check of issuers, with real servers of key sets."""

import asyncio
import json
import time

import pytest

from less_sync.bins.doctor.findings import Finding
from less_sync.bins.doctor.issuers import look_at_issuers, shown_url
from tests.auth.ruled import RuledIssuer
from tests.bins.doctor.support import FAILED, NONE, OK, WARNING, answering, http
from tests.sync.jwks_server import JwksServer, serving
from tests.wire.issuer import closed_port, new_issuer

KEYS = new_issuer().key_set()
RSA = RuledIssuer("RS256")


async def look(answer: bytes | None, *, timeout_s: float = 5.0) -> Finding:
    async with answering(answer) as port:
        issuers = {"https://accounts.example": f"http://127.0.0.1:{port}/jwks.json"}
        [found] = await look_at_issuers(issuers, time.time, timeout_s=timeout_s)
    assert found.check == "issuer https://accounts.example"
    return found


async def test_a_key_set_is_counted() -> None:
    found = await look(http(KEYS, date_s=0))
    assert (found.state, found.found.startswith("1 usable keys for ES256, fetched in ")) == (OK, True)


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (http(b"<html>"), "key set not fetched: the answer is no key set"),
        (http(b'{"keys": [{"kty": "RSA"}]}'), "the key set has no usable key"),
        (http(b"", status="404 Not Found"), "key set not fetched: status 404"),
        (http(KEYS + b" " * 1_048_576), "key set not fetched: too large"),
        (http(KEYS, more="Content-Encoding: br\r\n"), "key set not fetched: content encoding not known"),
        (http(KEYS, more="Content-Encoding: gzip\r\n"), "key set not fetched: the answer is no key set"),
        (b"SSH-2.0\r\n\r\n", "key set not fetched: "),
    ],
    ids=["no key set", "no usable key", "not found", "too large", "encoded", "not packed", "no HTTP"],
)
async def test_what_is_wrong_with_a_key_set_is_told(answer: bytes, told: str) -> None:
    found = await look(answer)
    assert (found.state, found.found[: len(told)], bool(found.todo)) == (FAILED, told, True)


async def test_a_server_that_is_not_there_or_does_not_answer_is_told() -> None:
    assert (await look(None, timeout_s=0.2)).found == "key set not fetched: no answer within 0.2 s"
    async with closed_port() as port:
        [found] = await look_at_issuers({"https://a.example": f"http://127.0.0.1:{port}/"}, time.time)
    assert (found.state, found.found.startswith("key set not fetched: ")) == (FAILED, True)


async def described(*answers: bytes, keys: bytes = RSA.jwks(), jwks_uri: str = "") -> Finding:
    """What is said of an issuer that is discovered; the document is `answers`, or else the right one."""
    async with JwksServer(serving(keys)) as server:
        issuer = RuledIssuer("RS256", url=server.url.removesuffix("/keys"), keys_url=None)
        document = json.dumps({"issuer": issuer.url, "jwks_uri": jwks_uri or server.url}).encode()

        async def answer(path: str, writer: asyncio.StreamWriter) -> None:
            body = keys if path == "/keys" else (*answers, document)[0]
            await serving(body)(path, writer)

        server.answer = answer
        [found] = await look_at_issuers({}, time.time, ruled=[issuer.rules])
    return found


async def test_an_issuer_that_is_discovered_is_looked_at_by_its_document() -> None:
    found = await described()
    told = "1 usable keys for RS256, found by discovery, fetched in "
    assert (found.state, found.found.startswith(told)) == (OK, True)


@pytest.mark.parametrize(
    ("document", "told"),
    [
        (b"<html>", "the answer is no key set, or no discovery document"),
        (b" " * 1_048_577, "discovery document: too large"),
        (
            b'{"issuer": "https://b.example", "jwks_uri": "https://b.example/keys"}',
            "the discovery document is of another issuer",
        ),
    ],
    ids=["no document", "too large", "another issuer"],
)
async def test_what_is_wrong_with_a_discovery_document_is_told(document: bytes, told: str) -> None:
    found = await described(document)
    assert (found.state, found.found) == (FAILED, f"key set not fetched: {told}")


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1/\x01", "http://xn--a.example/", "http://ä\u200d.example/", "http://a/" + "b" * 70_000],
)
async def test_a_key_set_at_an_address_that_cannot_be_asked_is_told(url: str) -> None:
    found = await described(jwks_uri=url)
    assert (found.state, found.found) == (FAILED, "key set not fetched: its address cannot be used")


async def test_keys_of_other_algorithms_are_not_usable() -> None:
    found = await described(keys=KEYS)
    assert (found.state, found.found) == (FAILED, "the key set has no usable key")
    assert found.todo == "a usable key has a `kid` and is one for RS256: see docs/tokens.md 4.4"


@pytest.mark.parametrize(("date_s", "state"), [(3, OK), (30, WARNING), (-300, FAILED)])
async def test_an_issuers_clock_is_held_against_ours(date_s: float, state: object) -> None:
    found = await look(http(KEYS, date_s=date_s))
    assert (found.state, "its clock is" in found.found) == (state, state is not OK)


async def test_one_issuer_that_fails_leaves_the_others_alone() -> None:
    async with answering(http(KEYS)) as good, answering(http(b"")) as bad:
        issuers = {
            "https://a.example": f"http://127.0.0.1:{bad}/",
            "https://b.example": f"http://127.0.0.1:{good}/",
        }
        found = await look_at_issuers(issuers, time.time)
    assert [one.state for one in found] == [FAILED, OK]


async def test_dev_mode_has_nothing_to_fetch() -> None:
    assert [one.state for one in await look_at_issuers({}, time.time)] == [NONE]


def test_who_logs_in_at_an_address_is_not_shown() -> None:
    assert shown_url("https://me:geheim@a.example:8/x?token=geheim#y") == "https://a.example:8/x"
