"""CBOR for tests: well-formed items of every kind, and readers that differ from the code under test."""

import math
from io import BytesIO
from typing import Any

import cbor2
from cbor2 import CBORSimpleValue, CBORTag, undefined
from hypothesis import strategies as st


class CountedBytes(bytes):
    """Bytes that count how many of them were looked at, one by one or in slices."""

    visited = 0

    def __getitem__(self, key: Any) -> Any:
        value = super().__getitem__(key)
        self.visited += 1 if isinstance(value, int) else len(value)
        return value


def _indefinite(value: Any) -> bytes:
    """`value` with every container of indefinite length."""
    with BytesIO() as out:
        cbor2.CBOREncoder(out, indefinite_containers=True).encode(value)
        return out.getvalue()


_scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**64), 2**64 - 1)
    | st.floats(width=32)
    | st.text(max_size=40)
    | st.binary(max_size=40)
    | st.just(undefined)
    | st.integers(32, 255).map(CBORSimpleValue)
)
_keys = st.text(max_size=4) | st.binary(max_size=4)
plain = st.recursive(
    _scalars,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(_keys, inner, max_size=5),
    max_leaves=15,
)
"""Values that strict cbor2 reads too."""

odd = st.recursive(
    _scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(_keys | st.integers() | st.none(), inner, max_size=4)
        | st.builds(CBORTag, st.just(64) | st.integers(301, 2**64 - 1), inner)
    ),
    max_leaves=12,
)
"""Values with tags and with keys of other types."""

encoded_plain = plain.map(cbor2.dumps) | plain.map(_indefinite)
encoded_odd = odd.map(cbor2.dumps) | odd.map(_indefinite)
mutated = st.builds(
    lambda data, at, junk: (
        data[: at % (len(data) + 1)] + junk + data[at % (len(data) + 1) :][len(junk) // 2 :]
    ),
    encoded_plain | encoded_odd,
    st.integers(0, 2000),
    st.binary(max_size=4),
)
anything = st.binary(max_size=60) | encoded_plain | encoded_odd | mutated


def nested(depth: int, inner: bytes = b"\x00") -> bytes:
    """`inner` within `depth` arrays."""
    return b"\x81" * depth + inner


def same(left: Any, right: Any) -> bool:
    """Equal in type and value, NaN equal to itself."""
    if type(left) is not type(right):
        return False
    if isinstance(left, list):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict):
        return list(left) == list(right) and all(same(left[key], right[key]) for key in left)
    if isinstance(left, float) and math.isnan(left):
        return math.isnan(right)
    return bool(left == right)
