"""The room's map, and what its page says of every check, are those of the code."""

import re
from pathlib import Path
from pkgutil import iter_modules
from typing import Final

import pytest

from less_sync import validation
from less_sync.validation.catalogue import CATALOGUE
from less_sync.validation.procedure import Looser, Procedure, Value

PAGE: Final = (Path(__file__).parents[2] / "docs" / "validation.md").read_text()
LOOSER: Final = {
    Looser.UP: "more is looser",
    Looser.DOWN: "less is looser",
    Looser.ANY: "any other value is looser",
    Looser.NEVER: "says where to look",
}


def test_every_module_of_the_room_is_on_its_map_once() -> None:
    named = re.findall(r"\b(\w+)\.py\b", (validation.__doc__ or "").partition("What is decided")[2])
    assert sorted(named) == sorted(one.name for one in iter_modules(validation.__path__) if not one.ispkg)


def parameters(procedure: Procedure) -> str:
    """The line of the page about them."""
    told = [
        f"`{name}` {_told(one.default)} ({LOOSER[one.looser]})" for name, one in procedure.parameters.items()
    ]
    return f"| `{procedure.name}` | {', '.join(told)} |\n"


def _told(value: Value) -> str:
    match value:
        case bool():
            return str(value).lower()
        case int():
            return f"{value:,}"
        case _:
            return f"`{value}`" if value else "none"


@pytest.mark.parametrize("name", CATALOGUE)
def test_the_page_has_every_check_its_parameters_defaults_and_which_way_is_looser(name: str) -> None:
    assert f"`{name}`" in PAGE
    if CATALOGUE[name].parameters:
        assert parameters(CATALOGUE[name]) in PAGE
