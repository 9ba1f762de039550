"""Each room goes by one name, so that each of its classes exists once."""

import importlib
import sys

import pytest

from tests.test_architecture import MAY_IMPORT, ROOT


@pytest.mark.parametrize("room", sorted(MAY_IMPORT))
def test_a_room_refuses_any_other_name(room: str) -> None:
    assert str(ROOT) in sys.path
    with pytest.raises(ImportError, match=f"import less_sync.{room}, not {room}:"):
        importlib.import_module(room)
    assert room not in sys.modules
