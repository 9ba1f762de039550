"""What a server tells its master, and how it obeys it: against a master in this process, over real gRPC."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import pytest

from less_sync.volume.counters import Counters
from less_sync.volume.engine.reports import DiskReport, VolumeReport
from less_sync.volume.grpc.protos import master_pb2 as pb
from less_sync.volume.master.channels import Channels
from less_sync.volume.master.digest import report_hash
from less_sync.volume.master.heartbeat import DuplicateDirectories, Heartbeat, Pace
from less_sync.volume.master.masters import Masters
from less_sync.volume.master.messages import HeartbeatMessages
from less_sync.volume.master.reports import Change
from less_sync.volume.options import DirectoryOptions, Options
from tests.volume.master.fake_master import FakeMaster, running
from tests.volume.master.test_digest import EMPTY

NEVER = 1000.0
SLOW = Pace(pulse_s=NEVER, before_leader_s=0.01, after_duplicates_s=(0.01, 0.02, 0.03))
QUICK = Pace(pulse_s=0.02, before_leader_s=0.01, after_duplicates_s=(0.01, 0.02, 0.03))
ONE = EMPTY._replace(id=1, size=8, modified_s=1_700_000_000)
TWO = EMPTY._replace(id=2, size=8, collection="c", ttl=771, disk_type="ssd", disk_id=1)


class Came(NamedTuple):
    volume_id: int
    added: bool = True
    collection: str = "c"
    placement: int = 1
    version: int = 3
    ttl: int = 771
    disk_type: str = ""
    disk_id: int = 0


@dataclass
class Told:
    """The store as a heartbeat sees it; a test changes what it says."""

    volumes: list[VolumeReport] = field(default_factory=list)
    limits: list[tuple[int, bool]] = field(default_factory=list)
    limits_matter: bool = False
    tell: Callable[[Change], None] = lambda _: None

    def reports(self) -> list[VolumeReport]:
        return list(self.volumes)

    def disk_reports(self) -> list[DiskReport]:
        return [
            DiskReport(0, "", ("a", "b"), 8, 8, 1000, 400, "first", max_file_key=70),
            DiskReport(1, "ssd", (), 4, 1, 2000, 100, "second", max_file_key=9),
            DiskReport(2, "ssd", (), 4, 4, 2000, 100, "third", healthy=False),
        ]

    def take_limits(self, volume_bytes_max: int, preallocate: bool) -> bool:
        self.limits.append((volume_bytes_max, preallocate))
        return self.limits_matter

    def watch(self, told: Callable[[Change], None]) -> None:
        self.tell = told


@asynccontextmanager
async def reporting(
    told: Told, *masters: FakeMaster, pace: Pace = SLOW
) -> AsyncIterator[tuple[Masters, "asyncio.Task[None]"]]:
    options = Options(
        directories=(DirectoryOptions(Path("d")),),
        ip="127.0.0.9",
        port=81,
        grpc_port=82,
        public_url="public:1",
        data_centre="dc",
        rack="r",
        masters=tuple(one.address for one in masters),
    )
    channels, counters = Channels(), Counters()
    own = Masters(options.masters, channels, options.ip, options.port)
    task = asyncio.create_task(Heartbeat(options, own, channels, told, counters, pace=pace).run())
    try:
        yield own, task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await channels.close()


def is_volumes(message: pb.Heartbeat) -> bool:
    return message.HasField("volume_digest")


async def test_a_stream_starts_with_all_volumes_and_then_says_that_no_shards_are_there() -> None:
    async with running(FakeMaster()) as master, reporting(Told([ONE, TWO]), master):
        first, second = await master.next(), await master.next()
    assert second == pb.Heartbeat(has_no_ec_shards=True)
    assert (first.ip, first.port, first.grpc_port, first.public_url) == ("127.0.0.9", 81, 82, "public:1")
    assert (first.id, first.data_center, first.rack) == ("127.0.0.9:81", "dc", "r")
    assert dict(first.max_volume_counts) == {"": 8, "ssd": 1}
    assert dict(first.disk_total_bytes) == {"": 1000, "ssd": 4000}
    assert dict(first.disk_free_bytes) == {"": 400, "ssd": 200}
    assert (first.max_file_key, list(first.location_uuids)) == (70, ["first", "second", "third"])
    assert [(tag.disk_id, list(tag.tags), tag.type, tag.max_volume_count) for tag in first.disk_tags] == [
        (0, ["a", "b"], "", 8),
        (1, [], "ssd", 4),
        (2, [], "ssd", 4),
    ]
    assert [(one.id, one.size, one.collection, one.ttl, one.disk_id) for one in first.volumes] == [
        (1, 8, "", 0, 0),
        (2, 8, "c", 771, 1),
    ]
    assert first.volume_digest == report_hash(ONE) ^ report_hash(TWO)
    assert not first.has_no_volumes
    assert first.has_no_ec_shards


async def test_only_a_full_list_ever_says_that_there_are_no_volumes() -> None:
    told = Told()
    async with running(FakeMaster()) as master, reporting(told, master, pace=QUICK):
        first = await master.next()
        assert first.has_no_volumes
        assert first.HasField("volume_digest")
        assert first.volume_digest == 0
        later = await master.next(lambda message: is_volumes(message) and not message.has_no_volumes)
    assert (list(later.volumes), list(later.changed_volumes)) == ([], [])


async def test_changes_go_out_at_once_in_their_order_and_never_mixed() -> None:
    told = Told()
    async with running(FakeMaster()) as master, reporting(told, master):
        await master.next()
        await master.next()
        for change in (Came(1), Came(2), Came(1, added=False), Came(3)):
            told.tell(change)
        messages = [await master.next() for _ in range(3)]
    assert [[one.id for one in message.new_volumes] for message in messages] == [[1, 2], [], [3]]
    assert [[one.id for one in message.deleted_volumes] for message in messages] == [[], [1], []]
    assert messages[0].new_volumes[0] == pb.VolumeShortInformationMessage(
        id=1, collection="c", replica_placement=1, version=3, ttl=771
    )
    assert [(one.ip, one.port, one.data_center, one.rack) for one in messages] == [
        ("127.0.0.9", 81, "dc", "r")
    ] * 3


async def test_more_changes_than_fit_are_told_by_a_full_list() -> None:
    told = Told()
    async with running(FakeMaster()) as master, reporting(told, master):
        await master.next()
        await master.next()
        told.volumes.append(ONE)
        for number in range(3000):
            told.tell(Came(number))
        full = await master.next(is_volumes)
    assert [one.id for one in full.volumes] == [1]


async def test_a_master_that_knows_digests_hears_of_what_changed_alone() -> None:
    told = Told([ONE, TWO])
    async with running(FakeMaster()) as master, reporting(told, master, pace=QUICK):
        quiet = await master.next(lambda message: is_volumes(message) and not message.volumes)
        assert not quiet.changed_volumes
        told.volumes[0] = ONE._replace(size=96, file_count=1)
        changed = await master.next(lambda message: bool(message.changed_volumes))
        assert [(one.id, one.size) for one in changed.changed_volumes] == [(1, 96)]
        assert changed.volume_digest == report_hash(told.volumes[0]) ^ report_hash(TWO)
        del told.volumes[1]
        gone = await master.next(lambda message: bool(message.deleted_volumes))
        assert [one.id for one in gone.deleted_volumes] == [2]
        assert gone.volume_digest == report_hash(told.volumes[0])
        master.say(pb.HeartbeatResponse(resend_full_volume_list=True))
        full = await master.next(lambda message: bool(message.volumes))
        assert [one.id for one in full.volumes] == [1]
        after = await master.next(is_volumes)
        assert not after.volumes


async def test_a_volume_that_moved_to_another_disk_is_not_told_as_gone() -> None:
    told = Told([ONE])
    async with running(FakeMaster()) as master, reporting(told, master, pace=QUICK):
        await master.next(lambda message: is_volumes(message) and not message.volumes)
        told.volumes[0] = ONE._replace(disk_id=1)
        moved = await master.next(lambda message: bool(message.changed_volumes))
    assert [one.disk_id for one in moved.changed_volumes] == [1]
    assert not moved.deleted_volumes


async def test_a_master_that_knows_no_digests_hears_everything_every_time() -> None:
    master = FakeMaster(greeting=pb.HeartbeatResponse(volume_size_limit=1))
    async with running(master), reporting(Told([ONE]), master, pace=QUICK):
        for _ in range(3):
            assert [one.id for one in (await master.next(is_volumes)).volumes] == [1]


async def test_limits_that_change_what_a_disk_may_hold_are_answered_at_once() -> None:
    told = Told(limits_matter=True)
    async with running(FakeMaster()) as master, reporting(told, master):
        await master.next(is_volumes)
        await master.next(is_volumes)
        assert told.limits == [(32 << 20, False)]


async def test_a_master_that_sends_no_message_is_left_for_the_next_one() -> None:
    liar = FakeMaster(greeting=b"\xff\xff")
    async with (
        running(liar),
        running(FakeMaster()) as master,
        reporting(Told([ONE]), liar, master, pace=QUICK),
    ):
        assert [one.id for one in (await master.next()).volumes] == [1]
        assert liar.streams == 1


def test_no_more_volumes_are_offered_than_the_protocol_can_say() -> None:
    disks = [DiskReport(number, "", (), 1 << 40, 1 << 40, 1, 1, "u") for number in range(2)]
    message = HeartbeatMessages(Options(directories=())).volumes([], disks, full=True)
    assert message.max_volume_counts == {"": (1 << 32) - 1}


async def test_a_leader_is_followed() -> None:
    async with running(FakeMaster()) as leader:
        follower = FakeMaster(
            greeting=pb.HeartbeatResponse(leader=f"{leader.address.http}.{leader.address.grpc_port}")
        )
        async with running(follower), reporting(Told([ONE]), follower) as (masters, _):
            assert [one.id for one in (await leader.next()).volumes] == [1]
            assert masters.current == leader.address
            leader.say(pb.HeartbeatResponse(leader=leader.address.http))
            leader.say(pb.HeartbeatResponse(resend_full_volume_list=True))
            assert follower.streams == leader.streams == 1


async def test_directories_that_another_server_reports_end_the_task_at_the_fourth_refusal() -> None:
    master = FakeMaster(greeting=pb.HeartbeatResponse(duplicated_uuids=["first"]), ends_after_greeting=True)
    async with running(master), reporting(Told(), master) as (_, task):
        with pytest.raises(DuplicateDirectories):
            await asyncio.wait_for(task, 10)
        assert master.streams == 4


async def test_a_stream_that_breaks_is_opened_anew_with_a_full_list() -> None:
    told = Told([ONE])
    dead = FakeMaster()
    async with running(FakeMaster()) as master, reporting(told, dead, master, pace=QUICK):
        await master.next()
        master.say(None)
        while master.streams < 2:
            assert master.heard.qsize() < 1000
            await asyncio.sleep(0.005)
        while await master.heard.get() is not None:
            pass
        assert [one.id for one in (await master.next()).volumes] == [1]


async def test_a_master_that_takes_nothing_is_given_up_and_tried_again() -> None:
    class Deaf(FakeMaster):
        async def _read(self, stream: object) -> None:
            await asyncio.Event().wait()

    # It knows no digests, so that every message is a full list.
    deaf = Deaf(pb.HeartbeatResponse())
    many = Told([ONE._replace(id=id_, collection="c" * 1000) for id_ in range(1_000)])
    async with running(deaf), reporting(many, deaf, pace=replace(QUICK, send_s_max=0.1)) as (_, task):
        async with asyncio.timeout(10):
            while deaf.streams < 2:  # noqa: ASYNC110, the master has nobody to tell
                await asyncio.sleep(0.01)
        assert not task.done()


async def test_leaving_says_farewell_and_ends_the_stream_and_the_task() -> None:
    async with running(FakeMaster()) as master, reporting(Told([ONE]), master) as (masters, task):
        await master.next()
        await master.next()
        masters.leave()
        masters.leave()
        last = await master.next()
        await asyncio.wait_for(task, 10)
        assert await asyncio.wait_for(master.heard.get(), 10) is None
    assert last == pb.Heartbeat(
        ip="127.0.0.9", port=81, public_url="public:1", data_center="dc", rack="r", has_no_volumes=True
    )
    assert not masters.heartbeating


async def test_leaving_without_a_master_ends_the_task() -> None:
    dead = FakeMaster()
    async with reporting(Told([ONE]), dead) as (masters, task):
        await asyncio.sleep(0.02)
        assert masters.current == dead.address
        masters.leave()
        await asyncio.wait_for(task, 10)
