"""Sizes and habits that a reviewer should not have to check by hand."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("auth", "storage", "migrations", "sync", "federation", "client", "volume", "bins", "tests")
GENERATED = set((ROOT / "volume" / "grpc" / "protos").glob("*_pb2.py"))
MODULES = sorted({path for room in ROOMS for path in (ROOT / room).rglob("*.py")} - GENERATED)
DEPLOYED = ("Dockerfile*", "compose.yaml", "deploy/*", "deploy/*/*")
TEXTS = sorted(
    path
    for pattern in ("*.md", "docs/*.md", "*.toml", "*.txt", "Makefile", ".ci/*", *DEPLOYED)
    for path in ROOT.glob(pattern)
    if path.is_file()
)
FUNCTION_LINES_MAX = 70
MODULE_LINES_MAX = 600
UNFINISHED = ("TO" + "DO", "FIX" + "ME", "X" + "XX", "NotImplemented" + "Error")


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _code_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function without its docstring."""
    body = function.body
    docstring = body[0] if ast.get_docstring(function, clean=False) is not None else None
    hidden = (docstring.end_lineno or 0) - docstring.lineno + 1 if docstring is not None else 0
    return (function.end_lineno or 0) - function.lineno + 1 - hidden


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_modules_and_functions_stay_small(path: Path) -> None:
    source = path.read_text()
    assert len(source.splitlines()) <= MODULE_LINES_MAX
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert _code_lines(node) <= FUNCTION_LINES_MAX, node.name


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_nothing_is_left_unfinished_or_skipped(path: Path) -> None:
    source = path.read_text()
    assert not [word for word in UNFINISHED if word in source]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute):
            assert node.attr not in {"skip", "skipif", "xfail", "importorskip"}


@pytest.mark.parametrize("path", [path for path in MODULES if path.parts[-2] != "tests"], ids=_name)
def test_public_modules_classes_and_functions_say_what_they_do(path: Path) -> None:
    if path.relative_to(ROOT).parts[0] == "tests" or path.stat().st_size == 0:
        return
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree), "module docstring"
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), node.name


@pytest.mark.parametrize("path", TEXTS, ids=_name)
def test_texts_name_no_machine(path: Path) -> None:
    text = path.read_text()
    assert not [
        word for word in ("/wor" + "k/", "/ro" + "ot/", "pypi" + ".org", "python" + "hosted") if word in text
    ]
