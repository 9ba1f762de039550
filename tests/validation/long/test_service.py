"""Lane `service`: each check passes on real servers, and turns red for its fault, with its reason."""

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from less_sync.auth import encode_did_key
from less_sync.validation.checks import service
from less_sync.validation.context import Context
from less_sync.validation.engine import Engine
from less_sync.validation.matrix import NO_TARGET
from less_sync.validation.outcome import PASSED, Outcome, Status
from less_sync.validation.people import Person
from less_sync.validation.procedure import Procedure, Same, Value
from tests.integration.waiting import until
from tests.validation.certificates import Authority
from tests.validation.proxy import FaultProxy, Reply
from tests.validation.rig import IDENTITY_HASH_KEY, Rig, check_of, procedure_named
from tests.validation.stubs import script

VERSION: Final = {"CANDIDATE_VERSION": "9.9.9"}
IMAGE: Final = f"sha256:{'0a' * 32}"
HSTS: Final = "strict-transport-security"
QUICK: Final[Mapping[str, Value]] = {"times": 2}


def failed(reason: str) -> Outcome:
    """A row that is red for this."""
    return Outcome(Status.FAILED, reason)


@dataclass(frozen=True, slots=True)
class Fault:
    """What is done to a proxy, and what becomes of one check."""

    procedure: str
    make: Callable[[FaultProxy], object]
    outcome: Outcome
    target: str = "staging"
    parameters: Mapping[str, Value] = field(default_factory=dict)
    run: Mapping[str, Any] = field(default_factory=dict)


KEY: Final = {
    "kid": "https://a.example/.well-known/jwks.json#k",
    "kty": "OKP",
    "alg": "EdDSA",
    "use": "federation",
    "crv": "Ed25519",
    "x": "A" * 43,
}


def _keys(*keys: object) -> Callable[[FaultProxy], None]:
    """Have other keys published than the server has."""
    body = json.dumps({"keys": keys}).encode()
    return lambda proxy: proxy.rewrite_body("/.well-known/jwks.json", lambda _: body)


def _public_health(proxy: FaultProxy) -> None:
    proxy.asks.append(
        lambda asked: Reply(200, body=b"") if asked.path == "/health/" and asked.method == "GET" else None
    )


def _date_off(seconds: float) -> Callable[[FaultProxy], None]:
    def make(proxy: FaultProxy) -> None:
        proxy.replies.append(
            lambda asked, reply: reply.with_header("Date", formatdate(time.time() + seconds, usegmt=True))
        )

    return make


def _close_long_heads(proxy: FaultProxy) -> None:
    proxy.head_bytes_max, proxy.long_head_status = 16 * 1024, None


def _cap_heads(proxy: FaultProxy) -> None:
    proxy.head_bytes_max = 16 * 1024


FAULTS: Final[Mapping[str, Fault]] = {
    "health answers late": Fault(
        "health",
        lambda proxy: proxy.delay(0.6, path="/health"),
        failed("deadline"),
        parameters={"deadline_ms": 300},
    ),
    "one byte of health's body changed": Fault(
        "health",
        lambda proxy: proxy.rewrite_body("/health", lambda body: body.replace(b"y", b"i")),
        failed("body"),
    ),
    "a blank in health's body": Fault(
        "health",
        lambda proxy: proxy.rewrite_body("/health", lambda body: body.replace(b":", b": ")),
        failed("body"),
    ),
    "health is no JSON by its header": Fault(
        "health",
        lambda proxy: proxy.set_header("Content-Type", "text/plain", path="/health"),
        failed("body"),
    ),
    "one of health's answers is a proxy's": Fault(
        "health", lambda proxy: proxy.fail(502, every=2, times=1), failed("status:502")
    ),
    "a header left out of 401 alone": Fault(
        "headers",
        lambda proxy: proxy.leave_out("X-Protocol-Version", status=401),
        failed("header:x-protocol-version"),
    ),
    "a header set twice": Fault(
        "headers",
        lambda proxy: proxy.set_header("Access-Control-Allow-Origin", "*, *", status=404),
        failed("header:access-control-allow-origin"),
    ),
    "a header that must not come": Fault(
        "headers", lambda proxy: proxy.set_header("Vary", "Origin", status=200), failed("header:vary")
    ),
    "a proxy's own preflight": Fault(
        "preflight",
        lambda proxy: proxy.preflight("Authorization", "Content-Type"),
        failed("not-allowed:x-ucan"),
    ),
    "preflights refused": Fault(
        "preflight", lambda proxy: proxy.answer(Reply(403), method="OPTIONS"), failed("status:403")
    ),
    "keys without a time": Fault(
        "jwks",
        lambda proxy: proxy.leave_out("Cache-Control", path="/.well-known/jwks.json"),
        failed("cache-control"),
    ),
    "one key twice": Fault("jwks", _keys(KEY, KEY), failed("key:2")),
    "a key that is cut off": Fault("jwks", _keys(KEY | {"x": "A" * 42}), failed("key:1")),
    "a key of other letters": Fault("jwks", _keys(KEY | {"x": "/" * 43}), failed("key:1")),
    "a private key": Fault("jwks", _keys(KEY | {"d": "A" * 43}), failed("key:1")),
    "a text among the keys": Fault("jwks", _keys(KEY, "key"), failed("key:2")),
    "no keys but a page": Fault(
        "jwks",
        lambda proxy: proxy.rewrite_body("/.well-known/jwks.json", lambda _: b"<html>"),
        failed("body"),
    ),
    "a public path more": Fault("routes", _public_health, failed("row:4")),
    "heads capped": Fault("request-head", _cap_heads, failed("proxy-limit")),
    "connections with long heads cut": Fault("request-head", _close_long_heads, failed("proxy-limit")),
    "its clock is off": Fault("clock", _date_off(40), failed("skew")),
    "its clock is late": Fault("clock", _date_off(-40), failed("skew")),
    "answers without a date": Fault("clock", lambda proxy: proxy.leave_out("Date"), failed("no-date")),
    "another kind of server": Fault("version", FaultProxy.play_existing, failed("wrong-server:rust")),
    "an older build": Fault(
        "version", lambda proxy: None, failed("version-differs"), run={"inputs": VERSION}
    ),
    "files kept silent": Fault(
        "features", lambda proxy: None, failed("undeclared:files"), run={"features": {"files": False}}
    ),
    "federation declared and absent": Fault(
        "features", lambda proxy: None, failed("missing:federation"), run={"features": {"federation": True}}
    ),
    "federation kept silent": Fault(
        "features",
        lambda proxy: proxy.rewrite_body(
            "/health",
            lambda _: b'{"status":"healthy","federation":{"enabled":true,"peer_count":1,"connections":0}}',
        ),
        failed("undeclared:federation"),
    ),
}
FAULTED: Final = frozenset(one.procedure for one in FAULTS.values()) | {
    "tls",
    "hsts",
    "distinct",
    "canonical-host",
}


SIMPLE: Final = ("health", "headers", "preflight", "jwks", "routes", "request-head", "clock", "features")
ALSO: Final = frozenset(
    {
        ("answers without a date", "clock"),
        ("its clock is off", "clock"),
        ("its clock is late", "clock"),
        ("preflights refused", "features"),
        ("preflights refused", "headers"),
        ("preflights refused", "routes"),
    }
)
"""What a fault takes along because two checks look at the same answer."""


@pytest.mark.parametrize("name", FAULTS)
async def test_its_check_turns_red_for_a_fault_and_no_other(rig: Rig, name: str) -> None:
    fault = FAULTS[name]
    fault.make(rig.proxy(fault.target))
    row = await rig.row(fault.procedure, target=fault.target, parameters=fault.parameters, **fault.run)
    assert row.outcome == fault.outcome, row.lines
    others = [one for one in SIMPLE if one != fault.procedure and (name, one) not in ALSO]
    rows = await asyncio.gather(
        *(
            rig.row(other, target=fault.target, parameters=QUICK if other == "health" else {})
            for other in others
        )
    )
    for row in rows:
        assert row.outcome == PASSED, (row.check.id, row.lines)


async def test_without_a_fault_all_pass_on_every_target(rig: Rig) -> None:
    run = rig.run(inputs={"CANDIDATE_VERSION": await rig.build_version()})
    for target in ("staging", "incumbent", "production", "candidate"):
        for procedure in service.PROCEDURES:
            if procedure.name in ("hsts", "canonical-host", "distinct"):
                continue  # of addresses with TLS, and of no target
            row = await rig.row(
                procedure, target=target, run=run, parameters=QUICK if procedure.name == "health" else {}
            )
            assert row.outcome == PASSED, (target, procedure.name, row.lines)
            assert row.evidence
    assert (await rig.row("distinct", target=NO_TARGET, run=run)).outcome == PASSED


async def test_where_nothing_may_be_written_nothing_else_is_asked(rig: Rig) -> None:
    for procedure in service.PROCEDURES:
        await rig.row(procedure, target="production")
    assert {one.method for one in rig.proxy("production").asked} == {"GET", "HEAD", "OPTIONS"}


async def test_an_existing_server_is_judged_by_its_own_contract(rig: Rig) -> None:
    proxy = rig.proxy("incumbent")
    proxy.play_existing()
    allowed = "Content-Type, Content-Length, Authorization, X-UCAN, X-Wrapped-DEK, X-Record-ID"
    proxy.set_header("Access-Control-Allow-Headers", allowed)
    specs = {"incumbent": {"server": "rust"}}
    for name in ("headers", "preflight", "routes", "request-head"):
        assert await rig.outcome(name, target="incumbent", specs=specs) == PASSED
        # The same answers, of a server that is declared as one of ours.
    assert await rig.outcome("headers", target="incumbent") == failed("header:access-control-allow-headers")
    version = await rig.outcome("version", target="incumbent", specs=specs, without=["metrics"])
    assert version == Outcome(Status.BLOCKED, "no-data")  # the kind is right, and nothing tells the build


async def test_a_stopped_database_fails_health(rig: Rig, database_url: str) -> None:
    async with rig.beside("staging", database_url=database_url) as server:
        assert await rig.outcome("health") == PASSED
        async with server.without_database():

            async def stopped() -> bool:  # an answer of the database is good for a second
                return await rig.outcome("health", parameters=QUICK) == failed("status:503")

            await until(stopped)


async def test_nobody_there_is_said_as_such(rig: Rig) -> None:
    proxy = rig.proxy()
    outcome = await rig.outcome("health", addresses={"staging": "http://127.0.0.1:9"})
    assert outcome == failed("unreachable:connect")
    proxy.target, port = None, proxy.target
    assert await rig.outcome("health") == failed("cut")
    proxy.target = port


def _clock(off_s: float) -> float:
    return time.time() + off_s


async def test_this_machines_clock_is_found_to_be_the_wrong_one(rig: Rig) -> None:
    for seconds in (-40, 40):
        run = rig.run(without=["database"])
        run.wall_clock_s = partial(_clock, seconds)
        row = await rig.row("clock", run=run)
        assert row.outcome == Outcome(Status.ERROR, "own-clock"), row.lines


async def test_one_target_alone_cannot_tell_whose_clock_is_wrong(rig: Rig) -> None:
    nobody = dict.fromkeys(("incumbent", "production", "candidate"), "")
    for without in (["database"], []):  # a server and its database are no two witnesses
        run = rig.run(without=without, addresses=nobody)
        run.wall_clock_s = partial(_clock, 40)
        assert await rig.outcome("clock", run=run) == failed("skew")


# By TLS.


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@asynccontextmanager
async def with_tls(
    rig: Rig, authority: Authority, *names: str, days: float = 90, make: Callable[[FaultProxy], object] = id
) -> AsyncIterator[dict[str, Any]]:
    """Staging behind TLS: what a run is made of to look at it."""
    shown = authority.serve(*(names or ("127.0.0.1",)), days=days)
    async with FaultProxy(rig.server().port, tls=shown) as proxy:
        make(proxy)
        yield {"addresses": {"staging": proxy.url}, "tls": {"staging": authority.trust}}


async def test_tls_and_its_faults(rig: Rig, authority: Authority) -> None:
    async with with_tls(rig, authority) as run:
        row = await rig.row("tls", **run)
        assert row.outcome == PASSED, row.lines
        assert row.measured.shown["certificate_days"] == 89
        untrusted = await rig.outcome("tls", addresses=run["addresses"])
        assert untrusted == failed("untrusted")
    async with with_tls(rig, authority, days=3) as run:
        assert await rig.outcome("tls", **run) == failed("expires")
        assert await rig.outcome("tls", parameters={"valid_days": 2}, **run) == PASSED
    async with with_tls(rig, authority, days=-1) as run:
        assert await rig.outcome("tls", **run) == failed("expires")
    async with with_tls(rig, authority, "other.example") as run:
        assert await rig.outcome("tls", **run) == failed("host-mismatch")
    elsewhere = Reply(308, (("Location", "https://elsewhere.example/health"), ("Content-Length", "0")))
    async with with_tls(rig, authority, make=lambda proxy: proxy.answer(elsewhere, path="/health")) as run:
        assert await rig.outcome("tls", **run) == failed("redirect")
    async with with_tls(
        rig, authority, make=lambda proxy: proxy.answer(Reply(403), path="/api/v1/ws")
    ) as run:
        assert await rig.outcome("tls", **run) == failed("upgrade:403")


async def test_plain_http_is_for_this_machine(rig: Rig) -> None:
    assert await rig.outcome("tls") == PASSED
    beyond = rig.proxy().url.replace("127.0.0.1", "beyond.invalid")
    assert (await rig.outcome("tls", addresses={"staging": beyond})) == failed("plaintext")
    allowed = {"allow_plain_http": True}
    outcome = await rig.outcome("tls", addresses={"staging": beyond}, parameters=allowed)
    assert outcome == failed("unreachable:dns")  # that far it came


@pytest.mark.parametrize(
    ("value", "outcome"),
    [
        (None, failed("absent")),
        ("max-age=15552000; includeSubDomains", PASSED),
        ('includeSubDomains; Max-Age="31536000"', PASSED),
        ("max-age=15551999", failed("too-short")),
        ("includeSubDomains", failed("too-short")),
    ],
)
async def test_hsts(rig: Rig, value: str | None, outcome: Outcome) -> None:
    rig.proxy().set_header(HSTS, value, path="/health")
    assert await rig.outcome("hsts") == outcome


async def test_the_official_name(rig: Rig, authority: Authority) -> None:
    local = {"staging": {"canonical_host": "localhost"}}
    async with with_tls(rig, authority, "127.0.0.1", "localhost") as run:
        row = await rig.row("canonical-host", specs=local, **run)
        assert row.outcome == PASSED, row.lines
        elsewhere = {"staging": {"canonical_host": "official.invalid"}}
        assert await rig.outcome("canonical-host", specs=elsewhere, **run) == failed("not-mapped")
    async with with_tls(rig, authority, "127.0.0.1") as run:
        outcome = await rig.outcome("canonical-host", specs=local, **run)
        assert outcome == failed("not-mapped:host-mismatch")
    assert await rig.outcome("canonical-host", specs=local) == failed("not-mapped:plaintext")


# Which system.


async def test_two_systems_by_their_databases(rig: Rig) -> None:
    assert await rig.outcome("distinct", target=NO_TARGET) == PASSED
    async with rig.one_for_both():
        assert await rig.outcome("distinct", target=NO_TARGET) == failed("same-target")


async def test_two_systems_by_their_processes(rig: Rig) -> None:
    run = {"without": ["database"]}
    assert await rig.outcome("distinct", target=NO_TARGET, **run) == PASSED
    async with rig.one_for_both():
        assert await rig.outcome("distinct", target=NO_TARGET, **run) == failed("same-target")


async def test_two_systems_by_a_space(rig: Rig) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    minter = rig.minter(b"d" * 16)
    claims = minter.claims("owner", did=encode_did_key(key.public_key()))

    async def token() -> str:
        return minter.token(claims)

    person = Person("owner", token, key)
    run: dict[str, Any] = {
        "without": ["database", "metrics"],
        "given": {("staging", "owner"): person, ("production", "owner"): person},
    }
    row = await rig.row("distinct", target=NO_TARGET, **run)
    assert row.outcome == PASSED, row.lines
    assert {"push", "space.create"} & {one.name for one in rig.proxy("production").passed} == set()
    async with rig.one_for_both():
        assert await rig.outcome("distinct", target=NO_TARGET, **run) == failed("same-target")


async def test_without_any_proof_nothing_is_claimed(rig: Rig) -> None:
    nothing = await rig.outcome("distinct", target=NO_TARGET, without=["database", "metrics"])
    assert nothing == Outcome(Status.BLOCKED, "no-data")


async def test_an_older_build_behind_the_address(rig: Rig) -> None:
    run = rig.run(inputs={"CANDIDATE_VERSION": await rig.build_version()})
    assert await rig.outcome("version", run=run) == PASSED
    unsaid = rig.run()
    assert await rig.outcome("version", run=unsaid) == Outcome(Status.BLOCKED, "no-data")
    unsaid.version = await rig.build_version()
    assert await rig.outcome("version", run=unsaid) == PASSED
    async with FaultProxy(rig.server().admin_port) as metrics:
        older = re.compile(rb'(less_sync_build_info\{[^}]*version=)"[^"]*"')
        metrics.rewrite_body("/metrics", lambda body: older.sub(rb'\1"0.0.1"', body))
        run.targets["staging"].metrics_url = f"{metrics.url}/metrics"
        assert await rig.outcome("version", run=run) == failed("version-differs")


async def test_images(rig: Rig, tmp_path: Path) -> None:
    run = {"without": ["metrics"]}
    given = {"CANDIDATE_IMAGE": IMAGE, "IMAGE_PROBE_COMMAND": script(tmp_path, f'{{"image": "{IMAGE}"}}')}
    assert await rig.outcome("version", inputs=given, **run) == PASSED
    other = given | {"CANDIDATE_IMAGE": IMAGE.replace("0a", "0b")}
    assert await rig.outcome("version", inputs=other, **run) == failed("image-differs")
    broken = given | {"IMAGE_PROBE_COMMAND": script(tmp_path, "no such service")}
    assert await rig.outcome("version", inputs=broken, **run) == Outcome(
        Status.ERROR, "command-output:service"
    )
    missing = given | {"IMAGE_PROBE_COMMAND": "/nowhere/probe"}
    assert await rig.outcome("version", inputs=missing, **run) == Outcome(Status.ERROR, "command-not-found")


async def _invites_often(context: Context) -> None:
    owner = context.run.people.person(context.target.name, "owner")
    params = {"mailbox_id": await owner.mailbox(), "payload": "p"}
    async with context.converse(owner) as conversation:
        for _ in range(11):
            await conversation.call("invitation.create", params)


INVITES_OFTEN: Final = Procedure("invites-often", "service", _invites_often, "-", (Same("never"),))


async def test_hourly_limits_kept_silent(rig: Rig) -> None:
    async with rig.beside("staging", IDENTITY_HASH_KEY=IDENTITY_HASH_KEY):
        for declared, outcome in ((True, PASSED), (False, failed("undeclared:rate_limits"))):
            run = rig.run(features={"rate_limits": declared})
            # Whichever check it is that meets the limit, and wherever its row stands.
            checks = [check_of(one, "staging") for one in (procedure_named("features"), INVITES_OFTEN)]
            engine = Engine(run, checks, jobs=1, preset=lambda _check: None, hear=lambda _row: None)
            seen = [row.outcome for row in await engine.rows()]
            assert seen == [outcome, Outcome(Status.BLOCKED, "rate-limited")]
