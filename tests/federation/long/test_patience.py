"""What takes a minute: a dead connection that nobody ended, and a space that nobody wants any more."""

from tests.federation.proxy import Way
from tests.federation.rig import change, notice, rig, subscribed
from tests.federation.witnesses import undisturbed
from tests.live import Person

NOTICED_S = 150.0
LINGER_S = 100.0


async def test_a_dead_connection_is_noticed_and_a_space_that_nobody_wants_is_given_back(
    databases: list[str],
) -> None:
    async with rig(databases, "home", "edge1", "edge2") as r, undisturbed(r.home):
        shared, one, two = await r.share(r.home, r.edge1, r.edge2), Person("one"), Person("two")
        dead, leaving = r.wire(r.edge1, r.home), r.wire(r.edge2, r.home)
        c1, c2 = await subscribed(r.edge1, one, shared), await subscribed(r.edge2, two, shared)
        dead.swallow()
        await c2.socket.hangup(30)
        await leaving.until(lambda: leaving.kinds(Way.UP, "unsubscribe") != [], timeout_s=LINGER_S)
        (left,) = leaving.frames(Way.UP, "unsubscribe")
        assert left.value["params"] == {"spaces": [shared.id]}
        await r.home.until_counts(r.edge2, 1, 0)
        await dead.until(lambda: len(dead.frames(Way.UP, "subscribe")) > 1, timeout_s=NOTICED_S)
        await r.home.until_counts(r.edge1, 1, 1)
        zero = Person("zero")
        at_home = await r.home.join(zero)
        assert (await at_home.push(change(), space=shared.id, ucan=shared.grant(zero)))["cursor"] == 1
        assert (await notice(c1))["cursor"] == 1
        assert leaving.kinds(Way.DOWN, "sync") == []
