"""Lane `auth`: each check passes on real servers, and turns red for its fault, with its reason."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

import cbor2
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from less_sync.auth import Permission, b64url_decode, parse_ucan
from less_sync.validation.checks import auth
from less_sync.validation.checks.auth_tokens import UNTRUSTED, key_of
from less_sync.validation.context import Run
from less_sync.validation.generated import Stream
from less_sync.validation.outcome import PASSED, Blocked, Outcome, Status
from less_sync.validation.people import SCRATCH_ISSUER, Minter, People, Person, served_key_set
from less_sync.validation.procedure import Value
from tests.federation.proxy import Way
from tests.integration.waiting import until
from tests.validation.proxy import Asked, FaultProxy, Frame, Reply
from tests.validation.rig import Rig

STAGING: Final = tuple(one.name for one in auth.PROCEDURES)
QUICK: Final[Mapping[str, Value]] = {"within_ms": 200}
READ_ONLY: Final = ("token-ways", "http-refusals")


def failed(reason: str) -> Outcome:
    """A row that is red for this."""
    return Outcome(Status.FAILED, reason)


@dataclass(frozen=True, slots=True)
class Fault:
    """What is done to a proxy, and what becomes of one check; `also` turn red with it."""

    procedure: str
    make: Callable[[FaultProxy, Run], object]
    outcome: Outcome
    also: Sequence[str] = ()
    parameters: Mapping[str, Value] = field(default_factory=dict)


def _text(status: int, before: bytes, after: bytes) -> Callable[[FaultProxy, Run], None]:
    def make(proxy: FaultProxy, run: Run) -> None:
        proxy.replies.append(
            lambda asked, reply: (
                reply.with_body(reply.body.replace(before, after)) if reply.status == status else None
            )
        )

    return make


def _any_refresh(proxy: FaultProxy, run: Run) -> None:
    proxy.alter(
        Way.DOWN,
        "token.refresh:result",
        lambda value: value | {"result": {"ok": True}},
    )


def _audience_not_compared(proxy: FaultProxy, run: Run) -> None:
    """As a server that does not look for whom a UCAN was made: one for another is as good."""
    owner, member = (run.people.person("staging", name) for name in ("owner", "member"))

    def good(ucan: str, space: UUID) -> str:
        if not ucan or parse_ucan(ucan).audience == member.did or member.did in ucan:
            return ucan
        return owner.grant(member, space, Permission.WRITE, stream=Stream(run.id, "proxy"))

    def rule(frame: Frame) -> Sequence[bytes] | None:
        if frame.seen.way is not Way.UP or frame.name != "push" or "ucan-refusals" not in _who(frame.upgrade):
            return None
        value = cbor2.loads(frame.seen.payload)
        value["params"]["ucan"] = good(value["params"].get("ucan", ""), UUID(value["params"]["space"]))
        return (cbor2.dumps(value),)

    proxy.frames.append(rule)


def _who(asked: Asked) -> str:
    return asked.header("user-agent")


def _tells_that_it_exists(proxy: FaultProxy, run: Run) -> None:
    seen = list[str]()

    def rule(asked: Asked, reply: Reply) -> Reply | None:
        if "isolation" in _who(asked) and reply.status == 404:
            seen.append(asked.path)
            if len(seen) == 1:
                return reply.with_body(b'{"error":"space is somebody else\'s"}')
        return None

    proxy.replies.append(rule)


FAULTS: Final[Mapping[str, Fault]] = {
    "one text changed": Fault(
        "http-refusals",
        _text(401, b"untrusted token issuer", b"untrusted issuer"),
        failed("refusal:issuer"),
        also=["token-refusals"],
    ),
    "a proxy's own 401": Fault(
        "http-refusals",
        lambda proxy, run: proxy.set_header("Content-Type", "text/plain", status=401),
        failed("refusal:missing"),
    ),
    "another reason of a close": Fault(
        "token-refusals",
        lambda proxy, run: proxy.reclose(4000, 4000, "no"),
        failed("token:empty"),
    ),
    "another close code": Fault(
        "token-refusals", lambda proxy, run: proxy.reclose(4000, 4001), failed("token:empty")
    ),
    "a refresh that takes anybody": Fault("refresh", _any_refresh, failed("refresh:another")),
    "another code for too many": Fault(
        "connection-limit", lambda proxy, run: proxy.reclose(4003, 1013), failed("closed:1013")
    ),
    "revocations that nobody hears of": Fault(
        "revoke", lambda proxy, run: proxy.lose(Way.DOWN, "revoked"), failed("not-told"), parameters=QUICK
    ),
    "UCANs for anybody": Fault("ucan-refusals", _audience_not_compared, failed("ucan:audience")),
    "a space that is told to exist": Fault("isolation", _tells_that_it_exists, failed("told-apart")),
    "bytes changed on their way": Fault(
        "share",
        lambda proxy, run: proxy.alter(
            Way.DOWN, "pull.record", lambda value: value | {"data": value["data"] | {"blob": b"other"}}
        ),
        failed("bytes"),
    ),
}
FAULTED: Final = frozenset(one.procedure for one in FAULTS.values()) | {"token-ways", "production-token"}


@pytest.mark.parametrize("name", FAULTS)
async def test_its_check_turns_red_for_a_fault_and_no_other(rig: Rig, name: str) -> None:
    fault, run = FAULTS[name], rig.run()
    fault.make(rig.proxy(), run)
    row = await rig.row(fault.procedure, run=run, parameters=fault.parameters)
    assert row.outcome == fault.outcome, row.lines
    for other in STAGING:
        if other not in (fault.procedure, *fault.also):
            row = await rig.row(
                other, run=run, target="candidate" if other == "production-token" else "staging"
            )
            assert row.outcome == PASSED, (row.check.id, row.lines)


async def test_without_a_fault_all_pass(rig: Rig) -> None:
    run = rig.run()
    for name in STAGING:
        target = "candidate" if name == "production-token" else "staging"
        row = await rig.row(name, run=run, target=target)
        assert row.outcome == PASSED, (name, row.lines)
        assert row.evidence
    for name in READ_ONLY:
        for target in ("production", "candidate"):
            assert await rig.outcome(name, run=run, target=target) == PASSED
    assert {one.method for one in rig.proxy("production").asked} <= {"GET", "HEAD", "OPTIONS"}
    assert {one.name for one in rig.proxy("production").passed if one.seen.way is Way.UP} == {
        "auth",
        "?",
        "close",
    }


async def test_without_files_all_pass(rig: Rig) -> None:
    async with rig.beside("staging", FILE_STORAGE_BACKEND="none"):
        for name in ("revoke", "ucan-refusals", "isolation", "share"):
            assert await rig.outcome(name, features={"files": False}) == PASSED


async def test_a_way_whose_token_has_expired(rig: Rig) -> None:
    minter, key = rig.minter(b"w" * 16), ec.generate_private_key(ec.SECP256R1())

    def person(name: str, **claims: Any) -> Person:
        async def token() -> str:
            return minter.token(minter.claims(name, did="") | claims)

        return Person(name, token, key)

    good = {("staging", "owner"): person("owner")}
    assert await rig.outcome("token-ways", given=good) == PASSED
    printed = good | {("staging", "member"): person("member", exp=int(time.time()) - 60)}
    assert await rig.outcome("token-ways", given=printed) == failed("http:member:401")
    unable = good | {("staging", "member"): person("member", scope="files")}
    assert await rig.outcome("token-ways", given=unable) == failed("socket:member:closed:4000")
    assert await rig.outcome("token-ways", given={}) == Outcome(Status.BLOCKED, "identity:owner:token")

    async def prints_nothing() -> str:
        raise Blocked("identity", "member", "token")

    given = good | {("staging", "member"): Person("member", prints_nothing)}
    assert await rig.outcome("token-ways", given=given) == Outcome(Status.BLOCKED, "identity:member:token")
    refusals = await rig.outcome("token-refusals", given=good)
    assert refusals == Outcome(Status.BLOCKED, "identity:issuer:mint")


async def test_production_has_another_audience_than_the_candidate_takes(rig: Rig) -> None:
    async with rig.beside("staging", AUDIENCES="another"):
        assert await rig.outcome("production-token", target="candidate") == failed("http:owner:401")
    given = {("candidate", "owner"): rig.run().people.person("candidate", "owner")}
    without = await rig.outcome("production-token", target="candidate", given=given)
    assert without == Outcome(Status.BLOCKED, "identity:owner:token")


async def test_audiences_are_not_looked_at(rig: Rig) -> None:
    async with rig.beside("staging", AUDIENCES=""):
        assert await rig.outcome("token-refusals") == failed("token:audience")
        assert await rig.outcome("http-refusals") == PASSED


async def test_a_second_issuers_key_is_trusted(rig: Rig) -> None:
    run_id = b"second issuer 16"
    other = key_of(Stream(run_id, "auth-staging-token-refusals"))
    second = Minter(UNTRUSTED, "1", other)
    async with served_key_set(second) as url:
        trusted = f"{SCRATCH_ISSUER}={rig.key_set_url} {UNTRUSTED}={url}"
        async with rig.beside("staging", TRUSTED_ISSUERS=trusted):
            assert await rig.outcome("token-refusals", run_id=run_id) == failed("token:issuer")


async def test_expiry_is_not_looked_at(rig: Rig) -> None:
    """The proxy shows the server a good token in the place of each that has expired."""
    run = rig.run()
    minter, member = run.people.minter("staging"), run.people.person("staging", "member")
    good = minter.token(minter.claims("member", did=member.did))

    def renewed(value: Any) -> Any:
        token = value["params"]["token"]
        return value | {"params": {"token": good if _expired(token) else token}}

    rig.proxy().alter(Way.UP, "auth", renewed)
    assert await rig.outcome("token-refusals", run=run) == failed("token:expired")


def _expired(token: str) -> bool:
    try:
        expiry = json.loads(b64url_decode(token.split(".")[1]))["exp"]
    except (ValueError, IndexError, KeyError):
        return False
    return int(expiry) < time.time()


@pytest.mark.parametrize(
    ("setting", "outcome"),
    [("17", failed("admitted")), ("15", failed("closed:4003"))],
)
async def test_another_limit_of_connections_than_declared(rig: Rig, setting: str, outcome: Outcome) -> None:
    async with rig.beside("staging", LIMIT_CONNECTIONS_PER_MAILBOX=setting):
        assert await rig.outcome("connection-limit") == outcome


async def test_places_are_not_given_back(rig: Rig) -> None:
    """The server is not told that clients have gone, so it counts them on."""
    specs = {"staging": {"connections_per_mailbox": 2}}
    async with rig.beside("staging", LIMIT_CONNECTIONS_PER_MAILBOX="2"):
        assert await rig.outcome("connection-limit", specs=specs) == PASSED
        rig.proxy().lingers = True
        outcome = await rig.outcome("connection-limit", specs=specs, parameters={"again_ms": 300})
        assert outcome == failed("not-admitted")
        await rig.mend()


@asynccontextmanager
async def trigger(rig: Rig, table: str) -> AsyncIterator[None]:
    """Take every row out of a table again, as soon as it is in."""
    server = rig.server()
    await server.sql(
        "CREATE FUNCTION emptied() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN DELETE FROM {table}; RETURN NULL; END $$"
    )
    await server.sql(f"CREATE TRIGGER emptied AFTER INSERT ON {table} EXECUTE FUNCTION emptied()")
    try:
        yield
    finally:
        await server.sql("DROP FUNCTION emptied CASCADE")


async def test_revocations_are_forgotten(rig: Rig) -> None:
    async with trigger(rig, "revocations"):
        assert await rig.outcome("revoke") == failed("push:ok")
        for other in ("share", "ucan-refusals"):
            assert await rig.outcome(other) == PASSED


async def test_revocations_take_effect_late(rig: Rig) -> None:
    """By the time that somebody is told of one it holds, and until then it does not."""
    server = rig.server()
    await server.sql("CREATE TABLE held (LIKE revocations)")
    await server.sql(
        "CREATE FUNCTION held() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN INSERT INTO held SELECT NEW.*; DELETE FROM revocations; RETURN NULL; END $$"
    )
    await server.sql("CREATE TRIGGER held AFTER INSERT ON revocations FOR EACH ROW EXECUTE FUNCTION held()")

    async def revoked() -> bool:
        return bool(await server.sql("SELECT FROM held"))

    async def take_effect() -> None:
        await until(revoked)
        await asyncio.sleep(2.0)
        await server.sql("DROP TRIGGER held ON revocations")
        await server.sql("INSERT INTO revocations SELECT * FROM held")

    rig.proxy().frame_delay_s = lambda frame: 3.0 if frame.name == "revoked" else 0.0
    late = asyncio.create_task(take_effect())
    try:
        assert await rig.outcome("revoke") == failed("push:ok")
    finally:
        late.cancel()
        await asyncio.wait([late])
        await server.sql("DROP FUNCTION held CASCADE")
        await server.sql("DROP TABLE held")


async def test_revocations_are_told_late(rig: Rig) -> None:
    rig.proxy().frame_delay_s = lambda frame: 0.4 if frame.name == "revoked" else 0.0
    assert await rig.outcome("revoke", parameters={"within_ms": 300}) == failed("late")


async def test_a_strangers_token_names_the_owners_personal_space(rig: Rig) -> None:
    class Confused(Minter):
        """Of an issuer that gives a stranger the owner's space."""

        def claims(self, user: str, *, did: str) -> dict[str, Any]:
            claims = super().claims(user, did=did)
            if user.startswith("stranger"):
                owner = super().claims(user.replace("stranger", "owner"), did=did)
                claims["personal_space_id"] = owner["personal_space_id"]
            return claims

    run = rig.run()
    real = run.people.minter("staging")
    confused = Confused(real.issuer, real.kid, real.key)
    run.people = People({"staging": confused}, {})
    assert await rig.outcome("isolation", run=run) == failed("let-in:subscribe")
