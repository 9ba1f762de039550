"""The rig and its proxies do what they say, and nothing else."""

from typing import Final

from less_sync.sync.protocol.frames import Response
from less_sync.validation.context import Context
from less_sync.validation.outcome import PASSED, Outcome, Status
from less_sync.validation.procedure import Procedure, Same
from tests.federation.proxy import Way
from tests.validation.proxy import Reply
from tests.validation.rig import Rig


async def _looks(context: Context) -> None:
    owner = context.run.people.person(context.target.name, "owner")
    context.measured.same("status", 200, (await context.request("GET", "/health")).status, "status")
    answer = await context.request("GET", "/nothing", person=owner)
    context.measured.same("status", 404, answer.status, "token")
    async with context.converse(owner) as conversation:
        await conversation.barrier()
        space = str(await owner.personal_space())
        await conversation.call("subscribe", {"spaces": [{"id": space, "since": 0}]})


LOOKS: Final = Procedure("looks", "service", _looks, "looks", (Same("status"),))


async def test_every_target_is_a_server_that_takes_the_runs_tokens(rig: Rig) -> None:
    for target in rig.proxies:
        row = await rig.row(LOOKS, target=target)
        assert row.outcome == PASSED, row.lines
        assert [one.path for one in rig.proxy(target).asked] == ["/health", "/nothing", "/api/v1/ws"]
        assert {one.name for one in rig.proxy(target).passed} >= {
            *("auth", "?", "?:error", "subscribe", "subscribe:result")
        }


async def test_faults_of_http(rig: Rig) -> None:
    proxy = rig.proxy()
    proxy.answer(Reply(500), path="/health")
    assert await rig.outcome(LOOKS) == Outcome(Status.FAILED, "status")
    proxy.mend()
    proxy.fail(503, every=2, times=1)
    assert await rig.outcome(LOOKS) == Outcome(Status.FAILED, "token")
    assert await rig.outcome(LOOKS) == PASSED
    proxy.target = None
    assert await rig.outcome(LOOKS) == Outcome(Status.FAILED, "cut")
    proxy.target = rig.server().port


async def _asks_twice(context: Context) -> None:
    async with context.converse(context.run.people.person(context.target.name, "owner")) as conversation:
        ids = [await conversation.send("?", {}) for _ in range(2)]
        seen = [await conversation.next() for _ in range(2)]
        context.measured.same("order", ids, [one.id for one in seen if isinstance(one, Response)], "order")


ASKS_TWICE: Final = Procedure("asks-twice", "service", _asks_twice, "asks twice", (Same("order"),))


async def test_faults_of_frames(rig: Rig) -> None:
    proxy = rig.proxy()
    assert await rig.outcome(ASKS_TWICE) == PASSED
    proxy.swap(Way.DOWN, "?:error")
    assert await rig.outcome(ASKS_TWICE) == Outcome(Status.FAILED, "order")
    proxy.mend()
    proxy.double(Way.DOWN, "?:error")
    assert await rig.outcome(ASKS_TWICE) == Outcome(Status.FAILED, "order")
    proxy.mend()
    proxy.lose(Way.UP, "?", every=2)
    proxy.double(Way.DOWN, "?:error")
    assert await rig.outcome(ASKS_TWICE) == Outcome(Status.FAILED, "order")
    proxy.mend()
    proxy.alter(Way.DOWN, "?:error", lambda value: value | {"error": {"code": "internal", "message": ""}})
    assert await rig.outcome(LOOKS) == Outcome(Status.FAILED, "barrier")


async def test_another_server_beside(rig: Rig) -> None:
    async with rig.beside("staging", FILE_STORAGE_BACKEND="none"):
        assert await rig.outcome(LOOKS) == PASSED
    assert await rig.outcome(LOOKS) == PASSED
