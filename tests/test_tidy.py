"""Sizes and habits that a reviewer should not have to check by hand."""

import ast
import re
from pathlib import Path

from tests.sources import statements

ROOT = Path(__file__).resolve().parent.parent
ROOMS = (
    "auth",
    "storage",
    "migrations",
    "sync",
    "federation",
    "client",
    "volume",
    "fleet",
    "validation",
    "bins",
    "tests",
)
GENERATED = set((ROOT / "volume" / "grpc" / "protos").glob("*_pb2.py"))
MODULES = sorted({path for room in ROOMS for path in (ROOT / room).rglob("*.py")} - GENERATED)
SCRIPTS = sorted(
    path
    for folder in ("clients/js/src", "clients/js/tests", "bins/pages", "fleet/ui", "examples")
    for path in (ROOT / folder).rglob("*js")
    if path.is_file()
)
"""JavaScript."""
DEPLOYED = ("Dockerfile*", "compose.yaml", "deploy/*", "deploy/*/*")
TEXTS = sorted(
    path
    for pattern in (
        *("*.md", "docs/*.md", "*.toml", "*.txt", "Makefile", ".ci/*", *DEPLOYED),
        *("clients/js/*.md", "clients/js/*.json", "examples/*/*"),
    )
    for path in ROOT.glob(pattern)
    if path.is_file()
)
FUNCTION_LINES_MAX = 70
MODULE_LINES_MAX = 600
SKIPPING = re.compile(r"\.(?:skip|skipif|xfail|importorskip)\b")
UNFINISHED = ("TO" + "DO", "FIX" + "ME", "X" + "XX", "NotImplemented" + "Error")


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _code_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function without its docstring."""
    body = function.body
    docstring = body[0] if ast.get_docstring(function, clean=False) is not None else None
    hidden = (docstring.end_lineno or 0) - docstring.lineno + 1 if docstring is not None else 0
    return (function.end_lineno or 0) - function.lineno + 1 - hidden


def _unfinished(path: Path) -> list[str]:
    source = path.read_text()
    return [f"{_name(path)}: {word}" for word in UNFINISHED if word in source]


def _undocumented(path: Path) -> list[str]:
    tree = ast.parse(path.read_text())
    public = [
        node
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_")
    ]
    silent = [node.name for node in public if not ast.get_docstring(node)]
    return [f"{_name(path)}: {name}" for name in ([] if ast.get_docstring(tree) else ["the module"]) + silent]


# Trees are looked at one at a time: kept, they cost the collector of cycles more than it takes to parse them.
# One test for each rule and not for each module: a test costs more than what is looked at in it.


def test_modules_and_functions_stay_small() -> None:
    lengths = {path: len(path.read_text().splitlines()) for path in (*MODULES, *SCRIPTS)}
    assert [f"{_name(path)}: {lines}" for path, lines in lengths.items() if lines > MODULE_LINES_MAX] == []
    assert [
        f"{_name(path)}: {node.name}"
        for path in MODULES
        for node in statements(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and _code_lines(node) > FUNCTION_LINES_MAX
    ] == []


def test_nothing_is_left_unfinished_or_skipped() -> None:
    assert [found for path in (*MODULES, *SCRIPTS) for found in _unfinished(path)] == []
    suspects = [path for path in MODULES if SKIPPING.search(path.read_text())]
    assert [
        f"{_name(path)}: {node.attr}"
        for path in suspects
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and SKIPPING.fullmatch(f".{node.attr}")
    ] == []


def test_public_modules_and_functions_say_what_they_do() -> None:
    documented = [
        path for path in MODULES if path.relative_to(ROOT).parts[0] != "tests" and path.stat().st_size
    ]
    assert [found for path in documented for found in _undocumented(path)] == []


def test_texts_name_no_machine() -> None:
    words = ("/wor" + "k/", "/ro" + "ot/", "pypi" + ".org", "python" + "hosted", "registry.npm" + "js")
    assert [f"{_name(path)}: {word}" for path in TEXTS for word in words if word in path.read_text()] == []


def test_no_variable_of_the_makefile_is_a_setting() -> None:
    # One that came from the environment goes on to what make starts, with the value that it has here.
    ours = set(re.findall(r"^([A-Z_]+) [:?]?=", (ROOT / "Makefile").read_text(), re.MULTILINE))
    settings = set(re.findall(r"^\| `([A-Z_]+)`", (ROOT / "docs" / "settings.md").read_text(), re.MULTILINE))
    assert "SPREAD" in ours
    assert "WORKERS" in settings
    assert ours.isdisjoint(settings)
