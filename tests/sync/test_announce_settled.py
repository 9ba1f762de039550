"""Whoever reads what others have written waits until what this process has written is announced."""

import asyncio
from uuid import UUID

from tests.sync.test_announce import SPACE, House, house, told, turns

__all__ = ["house"]
LONG_S = 30.0


class Others:
    """Nodes that keep what they are told."""

    def __init__(self) -> None:
        self.told: list[tuple[object, ...]] = []

    def committed(self, space: UUID, change: object) -> None:
        self.told.append(("committed", space))

    def found(self, space: UUID, cursor: int) -> None:
        self.told.append(("found", space, cursor))

    def revoked(self, space: UUID, cid: str) -> None:
        self.told.append(("revoked", space, cid))

    def created(self, space: UUID) -> None:
        self.told.append(("created", space))

    def invited(self, mailbox: str, invitation: UUID | None) -> None:
        self.told.append(("invited", mailbox, invitation))


async def test_nobody_waits_where_nothing_is_under_way(house: House) -> None:
    await asyncio.wait_for(house.announce.settled(SPACE, timeout_s=LONG_S), 1)


async def test_pushes_and_direct_writes_under_way_are_waited_for_and_later_ones_are_not(house: House) -> None:
    house.announce.push_begun(SPACE)
    gate, append = house.direct(6)
    await turns()
    settled = asyncio.create_task(house.announce.settled(SPACE, timeout_s=LONG_S))
    await turns()
    house.announce.push_begun(SPACE)
    house.announce.push_ended(SPACE, told(5))
    await turns()
    assert not settled.done()
    gate.set_result(6)
    await append
    assert house.heard == [b"push 5"]
    assert not settled.done()  # the direct write waits for the push that is still under way
    house.announce.push_ended(SPACE, told(7))
    await settled
    assert house.heard == [b"append 6", b"push 7"]


async def test_the_wait_is_bounded_and_leaves_order_as_it_was(house: House) -> None:
    house.announce.push_begun(SPACE)
    await house.announce.settled(SPACE, timeout_s=0.0)
    house.announce.push_ended(SPACE, told(5))
    assert house.heard == [b"push 5"]
    house.announce.push_begun(SPACE)
    house.announce.push_ended(SPACE, told(6))
    assert house.heard == [b"push 6"]


async def test_other_nodes_are_told_of_what_this_one_did_and_not_of_what_it_heard(house: House) -> None:
    others = house.announce.nodes = Others()
    house.announce.push_begun(SPACE)
    house.announce.push_ended(SPACE, told(5))
    house.announce.relay(SPACE, told(6)._replace(clients_only=True))
    house.announce.revoked(SPACE, "cid", exclude=house.ear)
    house.announce.revoked_here(SPACE, ["other"])
    house.announce.created(SPACE)
    house.announce.created_here(SPACE)
    house.announce.invited("mailbox")
    house.rows.cursors[SPACE] = 9
    house.announce.unknown(SPACE)
    await turns()
    assert others.told == [
        ("committed", SPACE),
        ("revoked", SPACE, "cid"),
        ("created", SPACE),
        ("invited", "mailbox", None),
        ("found", SPACE, 9),
    ]
    assert house.heard[0] == b"push 6"
