"""Keys that change while servers speak: by the command, without a restart of whoever signs."""

import signal
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.bins.commands import Finished, run_less_sync
from tests.federation.proxy import Wire
from tests.federation.rig import Node, Rig, Shared, change, kid_of, notice, rig, subscribed
from tests.federation.witnesses import undisturbed
from tests.integration.waiting import until
from tests.live import Client, Person

UNREACHABLE = {"ok": False, "error": "internal"}
FORCED_REFRESH_S = 90.0
"""A key set is fetched anew for an unknown key at most once a minute."""


async def keygen(node: Node, *arguments: str) -> dict[str, str]:
    """Run the command on a server's database, and return what it printed as `name=value`."""
    done: Finished = await run_less_sync(
        "federation-keygen", *arguments, env={"DATABASE_URL": node.database_url}
    )
    assert done.status == 0, done.err
    return dict(line.split("=", 1) for line in done.out.splitlines() if "=" in line)


async def reload(node: Node, told: Callable[[], Awaitable[bool]]) -> None:
    """SIGHUP, and wait until the server shows that it has read its keys."""
    node.running.signal(signal.SIGHUP)
    await until(told)


async def published(node: Node) -> list[str]:
    """The ids in a server's key set."""
    response = await node.get("/.well-known/jwks.json")
    assert response.status_code == 200
    assert response.headers["Cache-Control"] == "public, max-age=3600, stale-while-revalidate=86400"
    return [key["kid"] for key in response.json()["keys"]]


def publishes(node: Node, kids: list[str]) -> Callable[[], Awaitable[bool]]:
    async def told() -> bool:
        return await published(node) == kids

    return told


async def pushes_until(client: Client, shared: Shared, ucan: str, answer: Callable[[Any], bool]) -> Any:
    """Push until an answer is as wanted, and return it."""
    found: Any = None

    async def asked() -> bool:
        nonlocal found
        found = await client.push(change(), space=shared.id, ucan=ucan)
        return answer(found)

    await until(asked, timeout_s=FORCED_REFRESH_S)
    return found


async def test_a_key_is_rolled_over_in_stages(databases: list[str]) -> None:
    async with rig(databases) as r, undisturbed(r.edge1):
        wire, shared, one = r.wire(r.edge1, r.home), await r.share(r.home, r.edge1), Person("one")
        c1, ucan = await subscribed(r.edge1, one, shared), shared.grant(one)
        first, second = kid_of("edge1.test"), kid_of("edge1.test", "k2")
        made = await keygen(r.edge1, "--domain", "edge1.test", "--kid", "k2", "--no-promote")
        assert (made["key_id"], made["promoted_for_signing"]) == (second, "false")
        await reload(r.edge1, publishes(r.edge1, [first, second]))
        wire.cut()
        await r.home.until_counts(r.edge1, 1, 1)
        assert f'keyid="{first}"' in wire.upgrades[-1].header("signature-input")

        # Promoted before its peer knows of it: the open connection is not touched, the next one is refused.
        await keygen(r.edge1, "--promote-kid", "k2")
        r.edge1.running.signal(signal.SIGHUP)
        assert (await c1.push(change(), space=shared.id, ucan=ucan))["ok"] is True
        await r.home.stop()
        await r.start(r.home)
        await wire.until(lambda: wire.upgrades[-1].status == 401)
        assert f'keyid="{second}"' in wire.upgrades[-1].header("signature-input")
        assert await c1.push(change(), space=shared.id, ucan=ucan) == UNREACHABLE
        assert await r.home.counts(r.edge1) == (0, 0)

        known = r.home.settings["FEDERATION_TRUSTED_KEYS"]
        await r.home.stop()
        await r.start(r.home, FEDERATION_TRUSTED_KEYS=f"{known} {made['trusted_keys_entry']}")
        await pushes_until(c1, shared, ucan, lambda answer: answer["ok"] is True)
        await r.home.until_counts(r.edge1, 1, 1)
        await keygen(r.edge1, "--deactivate-kid", "k")
        await reload(r.edge1, publishes(r.edge1, [second]))
        zero = Person("zero")
        at_home = await r.home.join(zero)
        answer = await at_home.push(change(), space=shared.id, ucan=shared.grant(zero))
        while (await notice(c1))["cursor"] < answer["cursor"]:
            pass


async def by_key_set(r: Rig, keys: Wire) -> None:
    """Let the edge be known by a key set that is fetched, and by no key of the home's settings."""
    r.edge1.kid = f"http://127.0.0.2:{keys.port}/.well-known/jwks.json#k"
    await r.edge1.sql("DELETE FROM federation_signing_keys")
    await r.edge1.store_key()
    fetching = {
        "FEDERATION_TRUSTED_KEYS": "",
        "FEDERATION_TRUSTED_DOMAINS": "127.0.0.2",
        "FEDERATION_KEY_DISCOVERY": "jwks",
        "FEDERATION_ALLOW_PRIVATE_NETWORKS": "true",
    }
    await r.start(r.home, **fetching)
    await r.start(r.edge1)
    keys.target = r.edge1.host, r.edge1.port


async def test_a_home_that_fetches_keys_accepts_a_promoted_one_without_a_restart(
    databases: list[str],
) -> None:
    async with Wire("127.0.0.2") as keys, rig(databases, "home", "edge1", started=()) as r:
        await by_key_set(r, keys)
        wire, shared, one = r.wire(r.edge1, r.home), await r.share(r.home, r.edge1), Person("one")
        c1, ucan = await subscribed(r.edge1, one, shared), shared.grant(one)
        assert [upgrade.status for upgrade in keys.upgrades] == [200]
        wire.cut()
        await r.home.until_counts(r.edge1, 1, 1)
        assert len(keys.upgrades) == 1

        domain = f"127.0.0.2:{keys.port}"
        await keygen(r.edge1, "--domain", domain, "--kid", "k2")
        second = kid_of(domain, "k2").replace("https", "http")
        await r.edge1.sql("UPDATE federation_signing_keys SET kid = $1 WHERE kid LIKE '%k2'", second)
        await reload(r.edge1, publishes(r.edge1, [r.edge1.kid, second]))
        wire.cut()
        await pushes_until(c1, shared, ucan, lambda answer: answer["ok"] is True)
        assert f'keyid="{second}"' in wire.upgrades[-1].header("signature-input")
        assert len(keys.upgrades) == 2


@pytest.mark.parametrize("allowed", [False, True])
async def test_keys_are_not_fetched_from_private_addresses_unless_allowed(
    databases: list[str], allowed: bool
) -> None:
    async with Wire("127.0.0.2") as keys, rig(databases, "home", "edge1", started=()) as r:
        await by_key_set(r, keys)
        if not allowed:
            await r.home.stop()
            await r.start(r.home, FEDERATION_ALLOW_PRIVATE_NETWORKS="false")
        shared, one = await r.share(r.home, r.edge1), Person("one")
        c1 = await r.edge1.join(one)
        answer = await c1.push(change(), space=shared.id, ucan=shared.grant(one))
        assert (answer["ok"] is True) == allowed
        assert len(keys.upgrades) == int(allowed)
