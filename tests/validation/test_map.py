"""The map of the room is whole."""

import re
from pkgutil import iter_modules

from less_sync import validation


def test_every_module_of_the_room_is_on_its_map_once() -> None:
    named = re.findall(r"\b(\w+)\.py\b", (validation.__doc__ or "").partition("What is decided")[2])
    assert sorted(named) == sorted(one.name for one in iter_modules(validation.__path__) if not one.ispkg)
