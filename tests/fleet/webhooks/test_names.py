"""Looking names up with the system's resolver."""

import asyncio

import pytest

from less_sync.fleet.webhooks.names import SystemResolver


async def test_an_address_is_its_own_and_a_name_has_some() -> None:
    resolver = SystemResolver()
    assert await resolver("192.0.2.7", 443) == ["192.0.2.7"]
    assert await resolver("2001:DB8::7", 443) == ["2001:db8::7"]
    assert set(await resolver("localhost", 443)) <= {"127.0.0.1", "::1"}


@pytest.mark.parametrize("name", ["nobody.invalid", "a" * 64, ""])
async def test_name_without_an_address_is_told_as_such(name: str) -> None:
    with pytest.raises(OSError, match=r".") as refused:
        await SystemResolver()(name, 443)
    assert not isinstance(refused.value, UnicodeError)


async def test_who_asks_for_the_same_name_waits_with_the_first_and_may_leave() -> None:
    resolver = SystemResolver()
    first, second = (asyncio.create_task(resolver("localhost", 443)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    assert await second
    with pytest.raises(asyncio.CancelledError):
        await first
    assert await resolver("localhost", 443), "nothing is left behind"
