"""The tables of docs/volume.md 11 list what the server has, no more and no less, and tests that exist."""

import ast
import re
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from less_sync.bins.volume.flags import FLAGS
from less_sync.volume.grpc.table import CALLS
from less_sync.volume.http.static_files import FAVICON, STATIC

ROOT: Final = Path(__file__).resolve().parents[2]
TESTS: Final = ROOT / "tests"
PART_TWO: Final = "part two"


class Line(NamedTuple):
    """A row of one of the tables."""

    what: str
    here: str
    test: str


def _table(heading: str) -> list[Line]:
    page = (ROOT / "docs" / "volume.md").read_text()
    section = page.split(f"### {heading}\n", 1)[1].split("\n#", 1)[0]
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| ")][2:]
    return [Line(*(cell.strip("| ") for cell in (*row, "")[:3])) for row in rows]


FLAG_LINES: Final = _table("11.1 Flags")
REQUEST_LINES: Final = _table("11.2 Requests")
CALL_LINES: Final = _table("11.3 Calls")


def test_every_flag_has_its_line() -> None:
    assert [line.what.strip("`") for line in FLAG_LINES] == [flag.name for flag in FLAGS]
    without_effect = {line.what.strip("`") for line in FLAG_LINES if line.here == "no effect"}
    assert without_effect == {flag.name for flag in FLAGS if flag.ignored}


def test_every_call_has_its_line_and_says_whether_it_is_served() -> None:
    assert [line.what.strip("`") for line in CALL_LINES] == [call.name for call in CALLS]
    assert [line.here == PART_TWO for line in CALL_LINES] == [call.handler is None for call in CALLS]


def test_every_route_has_its_line() -> None:
    listed = {path for line in REQUEST_LINES for path in re.findall(r"`(/[^`]*)`", line.what)}
    assert listed == {*_pages(), FAVICON, f"{STATIC}/", "/metrics"}


def _pages() -> set[str]:
    """The exact paths that the listeners are given handlers for."""
    tree = ast.parse((ROOT / "volume" / "http" / "server.py").read_text())
    texts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    return {text for text in texts if isinstance(text, str) and re.fullmatch(r"/[a-z/.]+", text)}


@cache
def _functions(path: Path) -> set[str]:
    nodes = ast.walk(ast.parse(path.read_text()))
    return {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


@pytest.mark.parametrize("line", [*FLAG_LINES, *REQUEST_LINES, *CALL_LINES], ids=lambda line: line.what)
def test_what_is_there_names_a_test_that_is_there(line: Line) -> None:
    if not line.test:
        assert line.here == PART_TWO
        return
    file, _, function = line.test.strip("`").partition("::")
    names = _functions(TESTS / file)
    assert any(name.startswith("test_") for name in names)
    assert not function or function in names
