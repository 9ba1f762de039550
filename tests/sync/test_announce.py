"""The one door out: order of cursors, unknown outcomes, writes that nobody cuts in two."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from random import Random
from typing import cast
from uuid import UUID, uuid4

import cbor2
import pytest

from less_sync.storage import Space, SpaceStore, StorageError, Unavailable
from less_sync.sync import announce
from less_sync.sync.announce import Announcer, Change, Notice
from less_sync.sync.limits import Limits
from less_sync.sync.live.broker import Broker, Granted, Hold
from less_sync.sync.live.mailboxes import Mailboxes
from less_sync.sync.live.presence import Presence
from less_sync.sync.protocol.codes import ACCESS_UNCERTAIN, Close

SPACE = uuid4()
OTHER = uuid4()


class Ear:
    """A subscriber that keeps what it hears."""

    def __init__(self, name: str = "ear") -> None:
        self.connection_id = name
        self.is_peer = False
        self.heard: list[bytes] = []
        self.ended: list[Close] = []

    def deliver(self, frame: bytes) -> None:
        self.heard.append(frame)

    def deliver_soon(self, frame: bytes) -> None:
        self.deliver(frame)

    def overflow(self) -> None:
        raise AssertionError("nothing overflows here")

    def end(self, close: Close) -> None:
        self.ended.append(close)


class Rows:
    """Rows of spaces that the test sets; `away` while the database does not answer."""

    def __init__(self) -> None:
        self.cursors: dict[UUID, int] = {}
        self.away = False
        self.asked = 0

    async def get_spaces(self, ids: Sequence[UUID]) -> dict[UUID, Space]:
        self.asked += 1
        await asyncio.sleep(0)
        if self.away:
            raise Unavailable
        return {space: row(space, self.cursors[space]) for space in ids if space in self.cursors}


def row(space: UUID, cursor: int) -> Space:
    return Space(
        id=space,
        client_id="client",
        root_public_key=None,
        cursor=cursor,
        key_generation=3,
        min_key_generation=1,
        rewrap_epoch=None,
        metadata_version=0,
        home_server=None,
    )


class House:
    """An announcer with one listener who was told cursor 4 of both spaces."""

    def __init__(self, looks_s: Sequence[float] = announce.LOOKS_S) -> None:
        self.broker = Broker(lambda payload: payload)
        self.rows = Rows()
        limits = Limits()
        self.presence = Presence(limits)
        mailboxes = Mailboxes(limits, Random(1), frame=lambda payload: payload)
        spaces = cast(SpaceStore, self.rows)  # the announcer reads cursors and nothing else
        self.announce = Announcer(self.broker, self.presence, mailboxes, spaces, looks_s=looks_s)
        self.ear = Ear()
        self.listen(self.ear, SPACE)
        self.listen(self.ear, OTHER)

    def listen(self, ear: Ear, space: UUID, hold: Hold | None = None) -> None:
        self.broker.confirm(self.broker.prepare(ear, {space: str(space)}), {space: Granted(4, hold)})

    def direct(self, cursor: int, space: UUID = SPACE) -> "tuple[asyncio.Future[int], asyncio.Task[int]]":
        """A direct write under way, and what its statement waits for."""
        gate: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        write = self.announce.write(space, gate, lambda cursor: told(cursor, b"append"))
        return gate, asyncio.create_task(write)

    @property
    def heard(self) -> list[bytes]:
        heard, self.ear.heard = self.ear.heard, []
        return heard


def told(cursor: int, kind: bytes = b"push", payload_bytes: int = 1) -> Change:
    return Change(cursor, (Notice(lambda text: b"%b %d" % (kind, cursor)),), payload_bytes)


@pytest.fixture
async def house() -> AsyncIterator[House]:
    made = House()
    yield made
    await made.announce.aclose(0)


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_a_push_is_announced_at_once_while_nothing_else_is_under_way(house: House) -> None:
    house.announce.push_begun(SPACE)
    house.announce.push_begun(SPACE)
    house.announce.push_ended(SPACE, told(5))
    assert house.heard == [b"push 5"]
    house.announce.push_ended(SPACE, None)
    assert house.heard == []
    assert house.broker.cursor(SPACE) == 5


async def test_a_push_waits_for_the_direct_write_that_was_under_way_when_it_was_answered(
    house: House,
) -> None:
    gate, append = house.direct(5)
    await turns()
    house.announce.push_begun(SPACE)
    house.announce.push_ended(SPACE, told(6))
    assert house.heard == []
    gate.set_result(5)
    assert await append == 5
    assert house.heard == [b"append 5", b"push 6"]


async def test_a_direct_write_waits_for_the_pushes_that_were_under_way_when_it_was_answered(
    house: House,
) -> None:
    house.announce.push_begun(SPACE)
    house.announce.push_begun(SPACE)
    gate, append = house.direct(7)
    await turns()
    gate.set_result(7)
    await append
    house.announce.push_begun(SPACE)
    house.announce.push_ended(SPACE, told(5))
    assert house.heard == [b"push 5"]
    house.announce.push_ended(SPACE, told(6))
    assert house.heard == [b"push 6", b"append 7"]
    house.announce.push_ended(SPACE, told(8))
    assert house.heard == [b"push 8"]


async def test_nothing_waits_for_a_write_that_began_after_it_was_answered_or_to_another_space(
    house: House,
) -> None:
    elsewhere, other = house.direct(5, OTHER)
    await turns()
    house.announce.push_begun(SPACE)
    house.announce.push_ended(SPACE, told(5))
    assert house.heard == [b"push 5"]
    first, one = house.direct(9)
    await turns()
    house.announce.push_begun(SPACE)
    house.announce.push_ended(SPACE, told(7))
    second, two = house.direct(6)
    await turns()
    first.set_result(9)
    await one
    assert house.heard == [b"push 7"]  # it waited for the first alone
    second.set_result(6)
    elsewhere.set_result(5)
    await asyncio.gather(two, other)
    assert house.heard == [b"append 6", b"append 9", b"append 5"]


@pytest.mark.parametrize("fault", [StorageError("no"), Unavailable()], ids=["refused", "unknown"])
async def test_a_failed_direct_write_holds_nothing_up(house: House, fault: StorageError) -> None:
    gate, append = house.direct(5)
    await turns()
    house.announce.push_begun(SPACE)
    house.announce.push_ended(SPACE, told(6))
    gate.set_exception(fault)
    with pytest.raises(StorageError):
        await append
    assert house.heard == [b"push 6"]


@pytest.mark.parametrize("count", [1, 3])
async def test_what_waits_is_bounded_and_what_is_dropped_is_told_as_pull(house: House, count: int) -> None:
    gate, append = house.direct(5)
    await turns()
    for cursor in range(6, 6 + count):
        house.announce.push_begun(SPACE)
        house.announce.push_ended(SPACE, told(cursor, payload_bytes=announce.WAITING_BYTES_MAX))
    house.rows.cursors[SPACE] = 5 + count
    gate.set_result(5)
    await append
    await turns(20)
    first, *others = house.heard
    assert first == b"push 6"  # the rest found no room, the lowest cursor included
    assert [pull_of(frame) for frame in others] == [5 + count]


def pull_of(frame: bytes) -> int:
    """The cursor of a `sync` that says: pull."""
    notice = cbor2.loads(frame)
    assert notice["method"] == "sync"
    params = notice["params"]
    assert params["prev"] == params["cursor"]
    assert params["records"] == []
    cursor: int = params["cursor"]
    return cursor


async def test_after_an_unknown_outcome_everybody_is_told_to_pull_if_the_cursor_moved(house: House) -> None:
    house.rows.cursors = {SPACE: 6, OTHER: 4}
    house.announce.unknown(SPACE)
    house.announce.unknown(OTHER)
    house.announce.unknown(uuid4())  # nobody listens there
    await turns(20)
    [frame] = house.heard
    assert pull_of(frame) == 6
    assert cbor2.loads(frame)["params"]["key_generation"] == 3


async def test_being_told_to_pull_waits_for_own_writes_whose_cursors_may_have_been_read(
    house: House,
) -> None:
    gate, append = house.direct(5)
    await turns()
    house.announce.push_begun(SPACE)
    house.announce.push_begun(SPACE)
    house.rows.cursors[SPACE] = 7
    house.announce.unknown(SPACE)
    await turns(20)
    assert house.rows.asked == 1
    assert house.heard == []
    gate.set_result(5)
    await append
    house.announce.push_ended(SPACE, told(6))
    assert house.heard == []
    house.announce.push_ended(SPACE, None)
    append_5, push_6, pull = house.heard
    assert (append_5, push_6, pull_of(pull)) == (b"append 5", b"push 6", 7)


async def test_who_comes_late_and_reads_a_cursor_tells_the_others_nothing(house: House) -> None:
    gate, append = house.direct(5)
    await turns()
    late = house.broker.prepare(Ear("late"), {SPACE: str(SPACE)})
    house.broker.confirm(late, {SPACE: Granted(5)})  # it was committed, though the answer is not there
    house.rows.cursors[SPACE] = 5
    gate.set_exception(Unavailable())
    with pytest.raises(Unavailable):
        await append
    await turns(20)
    assert [pull_of(frame) for frame in house.heard] == [5]


async def test_being_told_to_pull_never_falls_behind_what_those_being_let_in_were_told_meanwhile(
    house: House,
) -> None:
    space, ear = uuid4(), Ear()
    arriving = house.broker.prepare(ear, {space: str(space)})
    house.rows.cursors[space] = 1
    house.announce.unknown(space)
    house.announce.push_begun(space)
    while not house.rows.asked:  # noqa: ASYNC110  nothing to wait for but the first look
        await asyncio.sleep(0)
    house.announce.push_ended(space, told(3))  # while what was read is on its way
    await turns(20)
    house.broker.confirm(arriving, {space: Granted(0)})
    push_3, pull = ear.heard
    assert (push_3, pull_of(pull)) == (b"push 3", 3)


async def test_the_cursor_is_read_once_the_database_is_back(house: House) -> None:
    house.rows.cursors[SPACE] = 5
    house.rows.away = True
    house.announce.unknown(SPACE)
    while house.rows.asked < 2:  # noqa: ASYNC110  nothing to wait for but the second look
        await asyncio.sleep(0.01)
    assert house.heard == []
    house.rows.away = False
    while not house.ear.heard:  # noqa: ASYNC110  as above
        await asyncio.sleep(0.01)
    assert [pull_of(frame) for frame in house.heard] == [5]


async def test_who_subscribes_after_an_unknown_outcome_hears_of_what_is_committed_later_still(
    house: House,
) -> None:
    space, ear = uuid4(), Ear()
    house.announce.unknown(space)
    await turns(20)
    assert house.rows.asked == 0  # nobody listens there
    house.listen(ear, space)
    house.rows.cursors[space] = 5
    while house.rows.asked < 1:  # noqa: ASYNC110  nothing to wait for but the second look
        await asyncio.sleep(0.01)
    await turns()
    assert [pull_of(frame) for frame in ear.heard] == [5]


async def test_spaces_that_nobody_listens_to_are_looked_after_within_a_bound(house: House) -> None:
    for _ in range(announce.UNKNOWN_SPACES_MAX):
        house.announce.unknown(uuid4())
    unheard, ear = uuid4(), Ear()
    house.announce.unknown(unheard)
    house.announce.unknown(SPACE)
    house.listen(ear, unheard)
    house.rows.cursors = {SPACE: 5, unheard: 5}
    while not house.ear.heard:  # noqa: ASYNC110  nothing to wait for but the look
        await asyncio.sleep(0.01)
    assert [pull_of(frame) for frame in house.heard] == [5]
    assert ear.heard == []


async def test_a_cut_off_statement_that_commits_late_is_found_by_a_later_look(house: House) -> None:
    house.rows.cursors[SPACE] = 4
    house.announce.unknown(SPACE)
    await turns(20)
    assert (house.heard, house.rows.asked) == ([], 1)
    house.rows.cursors[SPACE] = 5
    house.announce.push_begun(SPACE)
    house.announce.push_ended(SPACE, told(6))  # what came after it was announced meanwhile
    assert house.heard == [b"push 6"]
    house.rows.cursors[SPACE] = 6
    while house.rows.asked < 2:  # noqa: ASYNC110  nothing to wait for but the second look
        await asyncio.sleep(0.01)
    await turns()
    assert [pull_of(frame) for frame in house.heard] == [6]


async def test_a_revocation_of_unknown_outcome_ends_the_connections_that_rest_on_the_token(
    house: House,
) -> None:
    resting, free = Ear("resting"), Ear("free")
    house.listen(resting, SPACE, Hold(frozenset({"a", "b"}), 1))
    house.listen(free, SPACE, Hold(frozenset({"c"}), 1))
    arriving = house.broker.prepare(Ear(), {SPACE: str(SPACE)})
    house.announce.maybe_revoked(SPACE, "b")
    assert (resting.ended, free.ended, house.ear.ended) == ([ACCESS_UNCERTAIN], [], [])
    assert arriving.doubted == {(SPACE, "b")}
    assert free.heard == []


async def test_who_comes_back_before_a_revocation_is_committed_is_sent_away_again() -> None:
    house = House(looks_s=(0.0, 0.05))
    house.announce.maybe_revoked(SPACE, "b")
    house.announce.maybe_revoked(SPACE, "b")
    back, other = Ear("back"), Ear("other")
    house.listen(back, SPACE, Hold(frozenset({"a", "b"}), 1))
    house.listen(other, SPACE, Hold(frozenset({"c"}), 1))
    while not back.ended:  # noqa: ASYNC110  nothing to wait for but the end of the doubt
        await asyncio.sleep(0.01)
    assert (back.ended, other.ended) == ([ACCESS_UNCERTAIN], [])
    house.announce.maybe_revoked(SPACE, "b")
    assert len(back.ended) == 2
    await house.announce.aclose(0)
    await asyncio.sleep(0.1)
    assert len(back.ended) == 2


async def test_what_is_cut_off_by_the_end_begins_nothing_anew(house: House) -> None:
    _, append = house.direct(5)
    house.announce.own(lambda: swallow(append))
    await turns()
    await house.announce.aclose(0)
    assert append.cancelled()
    assert [task.get_name() for task in asyncio.all_tasks() if task.get_name() == "unknown outcomes"] == []


async def swallow(task: "asyncio.Task[int]") -> None:
    await task


async def test_a_write_goes_on_without_the_session_that_began_it_and_the_end_waits_for_it(
    house: House,
) -> None:
    gate: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    done: list[str] = []

    async def work() -> None:
        await gate
        done.append("announced")

    house.announce.own(work)
    assert house.announce.writes_under_way == 1
    closing = asyncio.create_task(house.announce.aclose(10))
    await turns()
    assert not closing.done()
    gate.set_result(None)
    await closing
    assert done == ["announced"]
    assert house.announce.writes_under_way == 0


async def test_the_end_waits_no_longer_than_it_is_told(house: House) -> None:
    house.announce.own(asyncio.Event().wait)  # type: ignore[arg-type]  # its result is not looked at
    await house.announce.aclose(0)
    assert house.announce.writes_under_way == 0
