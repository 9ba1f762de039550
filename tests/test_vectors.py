"""The copies of the vectors shared with other implementations are those others test with."""

import json
from pathlib import Path

import pytest

VECTORS = Path(__file__).parent / "vectors"
SHARED = Path(__file__).parents[2] / "shared" / "vectors"


@pytest.mark.parametrize("name", ["auth.json", "wire.json"])
def test_copy_of_the_shared_vectors_is_exact_where_they_can_be_seen(name: str) -> None:
    copy = (VECTORS / name).read_bytes()
    original = SHARED / name
    assert json.loads(copy)["format"] == 1
    if original.exists():
        assert copy == original.read_bytes(), f"{name} differs from the shared one: copy it again"
