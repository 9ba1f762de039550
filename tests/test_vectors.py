"""The copies of the vectors shared with other implementations are those others test with."""

import json
from pathlib import Path

import pytest

VECTORS = Path(__file__).parent / "vectors"
SHARED = Path(__file__).parents[2] / "shared" / "vectors"


@pytest.mark.parametrize("name", ["auth.json", "wire.json", "volume_http.json", "volume_grpc.json"])
def test_copy_of_the_shared_vectors_is_exact_where_they_can_be_seen(name: str) -> None:
    copy = (VECTORS / name).read_bytes()
    original = SHARED / name
    assert json.loads(copy)["format"] in {1, "volume-grpc-vectors/1"}
    if original.exists():
        assert copy == original.read_bytes(), f"{name} differs from the shared one: copy it again"


def test_copies_of_the_recorded_volumes_are_exact_where_they_can_be_seen() -> None:
    copies = {path.relative_to(VECTORS) for path in (VECTORS / "volume_files").rglob("*") if path.is_file()}
    assert len(copies) > 100
    if (SHARED / "volume_files").exists():
        originals = {
            path.relative_to(SHARED) for path in (SHARED / "volume_files").rglob("*") if path.is_file()
        }
        assert copies == originals
        assert [
            name for name in copies if (VECTORS / name).read_bytes() != (SHARED / name).read_bytes()
        ] == []
