"""What one peer may use: the exact limit is reached, one more is refused, and an hour ends by the clock."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Final

import pytest

from less_sync.federation.quotas import WINDOW_S, Quota, QuotaTracker, Usage
from less_sync.federation.settings import PeerQuotas
from less_sync.sync.metrics import Recorder

PEER, OTHER = "peer.example", "other.example"
QUOTAS: Final = PeerQuotas(
    spaces=3, records_per_hour=10, bytes_per_hour=100, invitations_per_hour=2, connections=2
)


@dataclass
class Rig:
    """A tracker and its clock, which the test moves."""

    now_s: float = 1000.0
    quotas: QuotaTracker = field(init=False)

    def __post_init__(self) -> None:
        self.quotas = QuotaTracker(QUOTAS, clock=lambda: self.now_s)

    def push(self, records: int, payload_bytes: int, peer: str = PEER) -> bool:
        charge = self.quotas.take_push(peer, records=records, payload_bytes=payload_bytes)
        return charge is not None


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_connections_reach_their_limit_and_come_back(rig: Rig) -> None:
    quotas = rig.quotas
    assert [quotas.take_connection(PEER) for _ in range(3)] == [True, True, False]
    assert quotas.take_connection(OTHER)
    assert quotas.connections == 3
    quotas.give_connection_back(PEER)
    assert quotas.take_connection(PEER)
    assert not quotas.take_connection(PEER)


def test_spaces_are_counted_together_or_not_at_all(rig: Rig) -> None:
    quotas = rig.quotas
    assert quotas.take_spaces(PEER, 2)
    assert not quotas.take_spaces(PEER, 2)
    assert quotas.usage(PEER).spaces == 2
    assert quotas.take_spaces(PEER, 1)
    assert not quotas.take_spaces(PEER, 1)
    assert quotas.take_spaces(PEER, 0)
    quotas.give_spaces_back(PEER, 1)
    assert quotas.take_spaces(PEER, 1)


def test_gauges_stop_at_nothing(rig: Rig) -> None:
    quotas = rig.quotas
    quotas.give_spaces_back(PEER, 5)
    quotas.give_connection_back(PEER)
    assert quotas.usage(PEER) == Usage()
    assert quotas.take_spaces(PEER, 3)
    assert not quotas.take_spaces(PEER, 1)


def test_a_push_takes_records_and_bytes_or_neither(rig: Rig) -> None:
    assert rig.push(9, 0)
    assert not rig.push(2, 1)
    assert rig.quotas.usage(PEER) == Usage(records_this_hour=9)
    assert not rig.push(1, 101)
    assert rig.quotas.usage(PEER) == Usage(records_this_hour=9)
    assert rig.push(1, 100)
    assert rig.push(0, 0)
    assert not rig.push(0, 1)
    assert not rig.push(1, 0)
    assert rig.push(10, 100, OTHER)


def test_invitations_reach_their_limit(rig: Rig) -> None:
    assert [rig.quotas.take_invitation(PEER) for _ in range(3)] == [True, True, False]
    assert rig.quotas.take_invitation(OTHER)


TAKES: Final[dict[str, Callable[[Rig], bool]]] = {
    "records": lambda rig: rig.push(10, 0),
    "bytes": lambda rig: rig.push(0, 100),
    "invitations": lambda rig: rig.quotas.take_invitation(PEER) and rig.quotas.take_invitation(PEER),
}


@pytest.mark.parametrize("what", TAKES)
def test_a_window_ends_an_hour_after_its_beginning_and_not_before(rig: Rig, what: str) -> None:
    take = TAKES[what]
    assert take(rig)
    rig.now_s += WINDOW_S - 0.001
    assert not take(rig)
    rig.now_s += 0.001
    assert take(rig)
    assert not take(rig)


def test_windows_begin_by_themselves(rig: Rig) -> None:
    assert rig.push(10, 0)
    rig.now_s += WINDOW_S / 2
    assert rig.quotas.take_invitation(PEER)
    rig.now_s += WINDOW_S / 2
    # All three began with the peer's first use; each begins anew at its own next use.
    assert rig.push(1, 1)
    rig.now_s += WINDOW_S / 2
    assert rig.quotas.take_invitation(PEER)
    assert rig.quotas.usage(PEER) == Usage(records_this_hour=1, bytes_this_hour=1, invitations_this_hour=1)
    rig.now_s += WINDOW_S / 2
    assert rig.quotas.usage(PEER) == Usage(invitations_this_hour=1)


def test_a_push_that_is_given_back_counts_nothing(rig: Rig) -> None:
    charge = rig.quotas.take_push(PEER, records=10, payload_bytes=100)
    assert charge is not None
    rig.quotas.give_push_back(charge)
    assert rig.quotas.usage(PEER) == Usage()
    assert rig.push(10, 100)


def test_a_push_of_the_last_hour_is_not_given_back_to_this_one(rig: Rig) -> None:
    charge = rig.quotas.take_push(PEER, records=10, payload_bytes=100)
    assert charge is not None
    rig.now_s += WINDOW_S
    assert rig.push(4, 40)
    rig.quotas.give_push_back(charge)
    assert rig.quotas.usage(PEER) == Usage(records_this_hour=4, bytes_this_hour=40)


def test_nothing_is_kept_of_a_peer_that_was_asked_about_or_uses_nothing(rig: Rig) -> None:
    quotas = rig.quotas
    assert quotas.usage(PEER) == Usage()
    assert len(quotas) == 0
    assert quotas.take_connection(PEER)
    assert quotas.take_spaces(PEER, 2)
    quotas.give_connection_back(PEER)
    assert len(quotas) == 1
    quotas.give_spaces_back(PEER, 2)
    assert len(quotas) == 0


def test_a_peer_that_is_gone_is_kept_until_its_hour_is_over(rig: Rig) -> None:
    quotas = rig.quotas
    assert quotas.take_connection(PEER)
    assert rig.push(10, 100)
    quotas.give_connection_back(PEER)
    assert quotas.take_connection(OTHER)
    assert not rig.push(1, 0)
    rig.now_s += WINDOW_S
    assert quotas.take_connection("third.example")
    assert quotas.usages() == {OTHER: Usage(connections=1), "third.example": Usage(connections=1)}


def test_many_peers_that_come_and_go_leave_nothing_behind(rig: Rig) -> None:
    for number in range(1000):
        peer = f"{number}.example"
        rig.now_s += WINDOW_S / 10
        assert rig.quotas.take_connection(peer)
        assert rig.push(1, 1, peer)
        rig.quotas.give_connection_back(peer)
    assert len(rig.quotas) == 10


def test_a_listener_can_ask_for_use_and_refusals(rig: Rig) -> None:
    recorder = Recorder()
    rig.quotas.measure(recorder)
    rig.push(1, 7)
    assert not rig.push(10, 0)
    assert not rig.quotas.take_spaces(OTHER, 4)
    measured = recorder.measured()
    assert measured["peer_records_this_hour"] == {PEER: 1, OTHER: 0}
    assert measured["peer_bytes_this_hour"] == {PEER: 7, OTHER: 0}
    assert measured["peer_refusals"] == {"connections": 0, "spaces": 1, "push": 1, "invitations": 0}
    assert set(measured) == {*(f"peer_{field}" for field in Usage._fields), "peer_refusals"}
    assert rig.quotas.refused[Quota.PUSH] == 1


def test_the_page_tells_the_defaults() -> None:
    page = (Path(__file__).parents[2] / "docs" / "federation.md").read_text()
    told = re.findall(r"\| (\d+) \| `FEDERATION_MAX_([A-Z_]+)`", page)
    assert {name: int(value) for value, name in told} == {
        field.name.upper(): field.default for field in fields(PeerQuotas)
    }
