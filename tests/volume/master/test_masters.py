"""Calls to masters, and what is kept of their answers: against a master in this process, over real gRPC."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import grpc.aio
import pytest

from less_sync.volume.grpc.protos import master_pb2 as pb
from less_sync.volume.master.channels import Channels, go_error_text
from less_sync.volume.master.lookup import KEPT_S, Lookup, LookupFailed, Place
from less_sync.volume.master.masters import Mark, MasterFailed, Masters
from less_sync.volume.options import Address
from tests.volume.master.fake_master import NOWHERE, FakeMaster, running

MARK = Mark(7, "c", 1, 771, "ssd")


@asynccontextmanager
async def masters_of(*addresses: Address) -> AsyncIterator[Masters]:
    channels = Channels()
    try:
        yield Masters(addresses, channels, "127.0.0.9", 81, current=addresses[0])
    finally:
        await channels.close()


async def test_a_volume_is_looked_up_once_in_ten_minutes() -> None:
    now = [0.0]
    async with running(FakeMaster()) as master, masters_of(master.address) as masters:
        master.places["7"] = [pb.Location(url="a:1", public_url="b:2", grpc_port=3)]
        lookup = Lookup(masters, masters.channels, monotonic=lambda: now[0])
        assert await lookup.find(7) == [Place("a:1", "b:2", 3)]
        now[0] = KEPT_S - 1
        assert await lookup.find(7) == [Place("a:1", "b:2", 3)]
        assert master.looked_up == [["7"]]
        now[0] = KEPT_S
        assert await lookup.find(7) == [Place("a:1", "b:2", 3)]
        lookup.forget(7)
        await lookup.find(7)
        assert master.looked_up == [["7"]] * 3


async def test_that_a_volume_is_nowhere_is_not_remembered() -> None:
    async with running(FakeMaster()) as master, masters_of(master.address) as masters:
        lookup = Lookup(masters, masters.channels)
        assert await lookup.find(7) == []
        master.places["7"] = [pb.Location(url="a:1", public_url="b:2")]
        assert await lookup.find(7) == [Place("a:1", "b:2", 0)]


async def test_a_master_that_cannot_be_asked_is_a_failed_lookup() -> None:
    async with masters_of(NOWHERE) as masters:
        lookup = Lookup(masters, masters.channels)
        with pytest.raises(LookupFailed, match=r"^rpc error: code = Unavailable desc = "):
            await lookup.find(7)
        masters.current = None
        with pytest.raises(LookupFailed, match="no master is known yet"):
            await lookup.find(7)


async def test_places_that_nobody_can_be_sent_to_are_left_out() -> None:
    good = pb.Location(url="127.0.0.1:80", public_url="[::1]:81", grpc_port=9)
    bad = [
        ("", ""),
        ("host", ""),
        (":80", ""),
        ("h:99999", ""),
        ("h:80.9", ""),
        ("h i:80", ""),
        ("h:80", "p\r\nX: y"),
    ]
    places = [good, *(pb.Location(url=url, public_url=public) for url, public in bad)]
    places.append(pb.Location(url="h:80", grpc_port=70_000))
    async with running(FakeMaster(places={"7": places})) as master, masters_of(master.address) as masters:
        lookup = Lookup(masters, masters.channels)
        assert await lookup.find(7) == [Place("127.0.0.1:80", "[::1]:81", 9)]


async def test_a_channel_is_kept_while_it_works_and_dropped_after_a_failure() -> None:
    channels = Channels()
    request, answer = pb.GetMasterConfigurationRequest(), pb.GetMasterConfigurationResponse
    method = "/master_pb.Seaweed/GetMasterConfiguration"
    first = FakeMaster()
    async with running(first):
        for _ in range(3):
            assert (await channels.call(first.address.grpc, method, request, answer)).leader == ""
        assert len(channels) == 1
        for number in range(3):
            with pytest.raises(grpc.aio.AioRpcError):
                await channels.call(f"127.0.0.1:{number + 1}", method, request, answer, timeout_s=5)
        assert len(channels) == 1
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await channels.call(first.address.grpc, method, request, answer)
    assert failed.value.code() is grpc.StatusCode.UNAVAILABLE
    assert len(channels) == 0
    async with running(FakeMaster(configuration_raw=b"\xff")) as liar:
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await channels.call(liar.address.grpc, method, request, answer)
    assert failed.value.code() is grpc.StatusCode.INTERNAL
    assert len(channels) == 0
    await channels.close()


async def test_only_so_many_channels_are_kept_and_those_used_last() -> None:
    channels = Channels(channels_max=2)
    request, answer = pb.GetMasterConfigurationRequest(), pb.GetMasterConfigurationResponse
    async with running(FakeMaster()) as one, running(FakeMaster()) as two, running(FakeMaster()) as three:
        for master in (one, two, one, three, one):
            method = "/master_pb.Seaweed/GetMasterConfiguration"
            await channels.call(master.address.grpc, method, request, answer)
        assert set(channels) == {one.address.grpc, three.address.grpc}
        await channels.close()
        assert len(channels) == 0


async def test_the_error_of_a_call_reads_as_existing_servers_print_it() -> None:
    async with (
        running(FakeMaster(refuses_marks="no such node")) as master,
        masters_of(master.address) as masters,
    ):
        with pytest.raises(MasterFailed) as refused:
            await masters.mark_read_only(MARK, True)
    assert str(refused.value) == (
        f"grpc VolumeMarkReadonly with master {master.address.http}: "
        "set volume 7 to read only on master: rpc error: code = Unknown desc = no such node"
    )
    cancelled = grpc.aio.AioRpcError(
        grpc.StatusCode.DEADLINE_EXCEEDED, grpc.aio.Metadata(), grpc.aio.Metadata(), details="late"
    )
    assert go_error_text(cancelled) == "rpc error: code = DeadlineExceeded desc = late"


async def test_a_mark_goes_to_the_current_master_with_all_that_names_the_volume() -> None:
    async with running(FakeMaster()) as master, masters_of(master.address) as masters:
        await masters.mark_read_only(MARK, True)
        await masters.mark_read_only(MARK, False)
    expected = pb.VolumeMarkReadonlyRequest(
        ip="127.0.0.9",
        port=81,
        volume_id=7,
        collection="c",
        replica_placement=1,
        ttl=771,
        disk_type="ssd",
        is_readonly=True,
    )
    assert master.marked[0] == expected
    expected.is_readonly = False
    assert master.marked[1] == expected


async def test_a_mark_that_a_follower_refuses_goes_to_the_leader() -> None:
    async with running(FakeMaster()) as leader:
        follower = FakeMaster(
            refuses_marks="Not current leader", leader=f"{leader.address.http}.{leader.address.grpc_port}"
        )
        async with running(follower), masters_of(follower.address) as masters:
            await masters.mark_read_only(MARK, True)
            assert len(follower.marked) == len(leader.marked) == 1
            follower.leader = ""
            with pytest.raises(MasterFailed, match="rejected mark-readonly and leader lookup failed"):
                await masters.mark_read_only(MARK, True)


async def test_the_configuration_comes_from_the_first_master_that_answers() -> None:
    async with running(FakeMaster()) as master, masters_of(NOWHERE, master.address) as masters:
        assert (await asyncio.wait_for(masters.configuration(), 10)).metrics_interval_s == 15


async def test_only_known_masters_are_pinged_by_name_and_one_that_is_away_is_an_error() -> None:
    async with running(FakeMaster()) as master, masters_of(NOWHERE, master.address) as masters:
        target = f"{master.address.http}.{master.address.grpc_port}"
        assert masters.knows(target)
        assert masters.knows(master.address.http)
        assert not masters.knows("127.0.0.1:9")
        assert not masters.knows("words")
        assert await masters.ping(target) == 7
        with pytest.raises(MasterFailed, match=r"^ping master 127.0.0.1:1.1: rpc error: code = Unavailable"):
            await masters.ping("127.0.0.1:1.1")
        with pytest.raises(MasterFailed, match=r"^ping master : "):
            await masters.ping("")


def test_a_place_s_grpc_address_is_the_told_port_or_the_usual_one() -> None:
    assert Place("h:8080", "h:8080", 0).grpc_address == "h:18080"
    assert Place("h:8080", "h:8080", 99).grpc_address == "h:99"
