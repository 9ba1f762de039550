"""What is shown to members: signed, sealed, fresh."""

from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from less_sync.client.sharing.presence import AGE_S_MAX, Shown, open_shown, seal_shown
from tests.client.sharing.members import new_person

SPACE = UUID("3c36a3a8-6a0c-4d5c-9ab3-6a1f34a40f0e")
KEYS = {1: bytes(32), 2: bytes(range(32))}
NOW_S = 1_800_000_000
ALICE, BOB = new_person(), new_person()
SHOWN = Shown(ALICE.did, NOW_S, "here")
SEALED = seal_shown(SHOWN, ALICE, SPACE, KEYS)


def test_members_see_who_shows_what_and_others_nothing() -> None:
    assert open_shown(SEALED, SPACE, KEYS, now_s=NOW_S) == SHOWN
    assert open_shown(SEALED, SPACE, {1: KEYS[1]}, now_s=NOW_S) is None
    assert open_shown(SEALED, UUID(int=7), KEYS, now_s=NOW_S) is None
    assert ALICE.did.encode() not in SEALED
    assert len(SEALED) < 1024


def test_nobody_speaks_for_somebody_else_and_nothing_is_played_again() -> None:
    assert open_shown(seal_shown(SHOWN, BOB, SPACE, KEYS), SPACE, KEYS, now_s=NOW_S) is None
    for age_s, seen in ((AGE_S_MAX, True), (AGE_S_MAX + 1, False), (-AGE_S_MAX - 1, False)):
        assert (open_shown(SEALED, SPACE, KEYS, now_s=NOW_S + age_s) is not None) is seen


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_no_bytes_break_it(data: bytes) -> None:
    assert open_shown(data, SPACE, KEYS, now_s=NOW_S) is None


@settings(deadline=None)
@given(st.integers(min_value=0, max_value=len(SEALED) - 1), st.integers(min_value=1, max_value=255))
def test_altered_it_is_nothing(place: int, flip: int) -> None:
    altered = bytearray(SEALED)
    altered[place] ^= flip
    assert open_shown(bytes(altered), SPACE, KEYS, now_s=NOW_S) is None
