"""What is pulled, held against what was pushed: each difference has its reason."""

from dataclasses import replace
from typing import Final
from uuid import UUID

import pytest

from less_sync.sync.protocol.messages import PullBegin, PullCommit, PullRecord, PushResult
from less_sync.validation.judge import judge
from less_sync.validation.measured import Measured
from less_sync.validation.outcome import PASSED, Faulty, Outcome
from less_sync.validation.procedure import Same
from less_sync.validation.spaces import Pulled, Space, measure_pull, measure_records, read, record

SPACE: Final = Space(UUID(int=7))
WANTED: Final = [
    record(SPACE, UUID(int=2), b"two", 1, dek=b"k" * 44),
    record(SPACE, UUID(int=1), b"one", 2),
    record(SPACE, UUID(int=3), None, 2),
    record(SPACE, UUID(int=4), b"", 3),
]


def judged(seen: list[PullRecord], *, ties: bool = True) -> Outcome:
    """What becomes of a check that measures this alone."""
    measured = Measured()
    measure_records(measured, "records", WANTED[::-1], seen, ties=ties)
    return judge((Same("records"),), {}, measured)


def with_third(**fields: object) -> list[PullRecord]:
    """All of them, one of them otherwise."""
    values = {name: getattr(WANTED[3], name) for name in PullRecord.__struct_fields__}
    return [*WANTED[:3], PullRecord(**{**values, **fields})]


def test_what_had_to_come_passes() -> None:
    assert judged(WANTED) == PASSED


@pytest.mark.parametrize(
    ("seen", "reason"),
    [
        (WANTED[:3], "missing"),
        ([*WANTED, record(SPACE, UUID(int=9), b"nine", 3)], "unexpected"),
        ([*WANTED, WANTED[3]], "twice"),
        (with_third(cursor=4), "cursor"),
        (with_third(deleted=True), "deleted"),
        (with_third(blob=b"\0"), "bytes"),
        (with_third(blob=None), "bytes"),
        (with_third(dek=b"k" * 44), "dek"),
        ([WANTED[0], WANTED[2], WANTED[1], WANTED[3]], "order"),
        ([WANTED[1], WANTED[0], WANTED[2], WANTED[3]], "order"),
    ],
)
def test_each_difference_has_its_reason(seen: list[PullRecord], reason: str) -> None:
    assert judged(seen).reason == reason


def test_existing_servers_promise_no_order_at_one_cursor() -> None:
    assert judged([WANTED[0], WANTED[2], WANTED[1], WANTED[3]], ties=False) == PASSED
    assert judged([WANTED[1], WANTED[0], WANTED[2], WANTED[3]], ties=False).reason == "order"


PULLED: Final = Pulled(
    0,
    PullBegin(space=str(SPACE.id), prev=0, cursor=3, key_generation=1),
    PullCommit(space=str(SPACE.id), prev=0, cursor=3, count=1),
    (("pull.record", {"space": str(SPACE.id), "id": WANTED[3].id, "blob": b"", "cursor": 3}),),
    3,
)


@pytest.mark.parametrize(
    "pulled",
    [
        replace(PULLED, announced=2),
        replace(PULLED, announced="3"),
        replace(PULLED, begin=PullBegin(space=str(SPACE.id), prev=1, cursor=3, key_generation=1)),
        replace(PULLED, commit=PullCommit(space=str(SPACE.id), prev=0, cursor=2, count=1)),
        replace(PULLED, commit=PullCommit(space=str(SPACE.id), prev=0, cursor=3, count=0)),
        replace(PULLED, chunks=(*PULLED.chunks, ("pull.other", {}))),
    ],
)
def test_what_a_pull_says_of_itself_has_to_be_so(pulled: Pulled) -> None:
    outcomes = []
    for one in (PULLED, pulled):
        measured = Measured()
        measure_pull(measured, "pull", [WANTED[3]], 3, one)
        outcomes.append(judge((Same("pull"),), {}, measured))
    assert outcomes[0] == PASSED
    assert outcomes[1].reason == "count"


@pytest.mark.parametrize("value", [None, {}, {"ok": 1}, {"ok": True, "cursor": "1"}, [True]])
def test_an_answer_of_another_shape_is_a_fault_of_the_server(value: object) -> None:
    with pytest.raises(Faulty, match="shape:push"):
        read(PushResult, value, "push")
