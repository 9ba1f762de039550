"""What was found about a space of another home is good for a second, and nothing overtakes a look at it."""

import asyncio
import time
from collections.abc import Sequence
from typing import cast
from uuid import UUID, uuid4

import pytest

from less_sync.auth import Identity, Permission
from less_sync.storage import Space, SpacesRead, SpaceStore
from less_sync.sync.access.authority import Authority
from less_sync.sync.access.grants import Access
from less_sync.sync.access.looks import LIFE_S, UCAN_CHARS_MAX, Looks
from less_sync.sync.errors import RpcError
from tests.live import Person

OWNER = Person("owner")
LOOKS_KEPT = 3


class Rows:
    """One row, read as often as somebody asks; while `open` is not set nobody is answered."""

    def __init__(self, home: str | None) -> None:
        self.row = Space(uuid4(), "", OWNER.root_key, 1, 1, 0, 0, None, home)
        self.reads = 0
        self.revoked: set[str] = set()
        self.open = asyncio.Event()
        self.open.set()

    async def read_spaces(self, ids: Sequence[UUID], cids: Sequence[tuple[UUID, str]] = ()) -> SpacesRead:
        self.reads += 1
        await self.open.wait()
        return SpacesRead(
            {self.row.id: self.row}, frozenset((id, cid) for id, cid in cids if cid in self.revoked)
        )


class Desk:
    """Whoever asks, and what is remembered for them."""

    def __init__(self, home: str | None = "home.test") -> None:
        self.rows = Rows(home)
        self.now_s = 100.0
        self.looks = Looks(lambda: self.now_s)
        self._authority = Authority()

    def access(self, person: Person = OWNER, ucan: str | None = None) -> Access:
        space = str(self.rows.row.id)
        return Access(
            self._authority,
            cast(SpaceStore, self.rows),
            Identity("issuer", person.name, "client", did=person.did),
            time.time,
            text=space,
            ucan=OWNER.grant(OWNER, space) if ucan is None else ucan,
            needed=Permission.WRITE,
        )

    async def ask(self, access: Access) -> int:
        """Find out, and return how often the row was read so far."""
        if self.looks.recent(access) is None:
            await self.looks.look(access, cast(SpaceStore, self.rows))
        return self.rows.reads


async def test_it_is_read_again_after_a_second() -> None:
    desk = Desk()
    ucan = desk.access().ucan
    reads = []
    for _ in range(3):
        reads.append(await desk.ask(desk.access(ucan=ucan)))
        desk.now_s += LIFE_S * 0.6
    assert reads == [1, 1, 2]


async def test_what_is_known_is_of_one_caller_and_one_token() -> None:
    desk, other = Desk(), Person("other")
    ucan = desk.access().ucan
    assert await desk.ask(desk.access(ucan=ucan)) == 1
    assert await desk.ask(desk.access()) == 2
    with pytest.raises(RpcError):
        await desk.ask(desk.access(other, ucan))
    assert await desk.ask(desk.access(ucan=ucan)) == 3


async def test_a_space_that_is_at_home_here_is_read_each_time() -> None:
    desk = Desk(home=None)
    ucan = desk.access().ucan
    assert [await desk.ask(desk.access(ucan=ucan)) for _ in range(2)] == [1, 2]


async def test_a_refusal_is_not_remembered() -> None:
    desk = Desk()
    access = desk.access()
    desk.rows.revoked.update(access.cids)
    for _ in range(2):
        with pytest.raises(RpcError):
            await desk.ask(desk.access(ucan=access.ucan))
    assert desk.rows.reads == 2


async def test_nothing_overtakes_a_look_that_is_under_way() -> None:
    desk = Desk()
    ucan = desk.access().ucan
    await desk.ask(desk.access(ucan=ucan))
    desk.rows.open.clear()
    first = asyncio.create_task(desk.ask(desk.access()))
    await asyncio.sleep(0)
    assert desk.looks.recent(desk.access(ucan=ucan)) is None
    desk.rows.open.set()
    await first
    assert desk.looks.recent(desk.access(ucan=ucan)) is not None


async def test_a_long_token_is_read_about_each_time() -> None:
    desk = Desk()
    ucan = desk.access().ucan
    for _ in range(8):
        if len(ucan) > UCAN_CHARS_MAX:
            break
        ucan = OWNER.grant(OWNER, str(desk.rows.row.id), proof=ucan)
    assert len(ucan) > UCAN_CHARS_MAX
    assert [await desk.ask(desk.access(ucan=ucan)) for _ in range(2)] == [1, 2]


async def test_the_longest_unused_is_forgotten() -> None:
    desk = Desk()
    first, *_ = ucans = [desk.access().ucan for _ in range(LOOKS_KEPT + 1)]
    desk.looks = Looks(lambda: desk.now_s, entries_max=LOOKS_KEPT)
    for ucan in ucans:
        await desk.ask(desk.access(ucan=ucan))
    assert desk.looks.recent(desk.access(ucan=first)) is None
    assert all(desk.looks.recent(desk.access(ucan=ucan)) is not None for ucan in ucans[1:])
