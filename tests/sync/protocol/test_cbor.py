"""Heads, integers and texts written by hand are those of cbor2."""

import pytest
from cbor2 import dumps
from hypothesis import given
from hypothesis import strategies as st

from less_sync.sync.protocol.cbor import ARRAY, BYTES, MAP, TEXT, head, integer, text

EDGES = [
    edge
    for power in (0, 8, 16, 32)
    for edge in (2**power - 1, 2**power, 2**power + 1, -(2**power), -(2**power) - 1)
] + [22, 23, 24, 25, -24, -25, 2**63 - 1, 2**64 - 1, -(2**63), -(2**64)]


@given(st.integers(-(2**64), 2**64 - 1) | st.sampled_from(EDGES))
def test_integers_are_written_shortest(value: int) -> None:
    assert integer(value) == dumps(value)


@given(st.text(max_size=300))
def test_texts_carry_their_length_in_bytes(value: str) -> None:
    assert text(value) == dumps(value)


@pytest.mark.parametrize("length", [0, 1, 23, 24, 255, 256, 65_535, 65_536])
def test_heads_are_those_of_strings_and_containers(length: int) -> None:
    for major, value in (
        (BYTES, bytes(length)),
        (TEXT, "x" * length),
        (ARRAY, [0] * length),
        (MAP, {str(key): 0 for key in range(length)}),
    ):
        assert dumps(value).startswith(head(major, length))
        if not length:
            assert dumps(value) == head(major, length)
