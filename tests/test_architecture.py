"""Which room may import which, and what pure rooms may not touch."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MAY_IMPORT: dict[str, set[str]] = {
    "auth": set(),
    "storage": set(),
    "migrations": set(),
    "sync": {"auth", "storage"},
    "federation": {"auth", "storage", "sync"},
    "bins": {"auth", "storage", "migrations", "sync", "federation"},
}
MODULES = sorted(
    path for room in MAY_IMPORT for path in (ROOT / room).rglob("*.py") if "__pycache__" not in path.parts
)
PURE_ROOMS = (ROOT / "sync" / "protocol", ROOT / "auth")
PURE = [path for path in MODULES if set(path.parents) & set(PURE_ROOMS)]
EFFECTS = {"asyncio", "socket", "time", "threading", "ssl", "selectors", "httpx", "uvicorn", "asyncpg", "os"}
KNOW_UVICORN = {"sync/socket.py", "sync/http_protocol.py", "bins/server.py"}


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _imports(path: Path) -> list[tuple[str, list[str]]]:
    """(module, imported names) of every absolute import; a plain `import x` has no names."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    whole = [alias for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    plain = [(alias.name, list[str]()) for alias in whole]
    named = [
        (node.module or "", [alias.name for alias in node.names])
        for node in nodes
        if isinstance(node, ast.ImportFrom) and node.level == 0
    ]
    return plain + named


def _exports(module: Path) -> set[str]:
    for node in ast.parse(module.read_text()).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
            return set(ast.literal_eval(node.value))
    return set()


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_module_imports_only_rooms_below_its_own(path: Path) -> None:
    room = path.relative_to(ROOT).parts[0]
    rooms = {module.split(".")[0] for module, _ in _imports(path)} & MAY_IMPORT.keys()
    assert rooms <= MAY_IMPORT[room] | {room}


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_what_is_taken_from_another_room_is_what_that_room_offers(path: Path) -> None:
    room = path.relative_to(ROOT).parts[0]
    closed = MAY_IMPORT[room] - {"sync", room}  # of sync, bins wires single modules together
    for module, names in _imports(path):
        other = module.split(".")[0]
        if other not in closed:
            continue
        assert module == other, f"{module}: import from the room itself"
        assert set(names) <= _exports(ROOT / other / "__init__.py")


@pytest.mark.parametrize("path", PURE, ids=_name)
def test_pure_module_has_no_loop_socket_or_clock(path: Path) -> None:
    modules = {module.split(".")[0] for module, _ in _imports(path)}
    assert not modules & EFFECTS


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_only_the_socket_and_the_server_know_uvicorn(path: Path) -> None:
    knows = any(module.split(".")[0] == "uvicorn" for module, _ in _imports(path))
    assert not knows or _name(path) in KNOW_UVICORN


def test_the_client_stands_on_the_protocol_alone() -> None:
    parts = sorted((ROOT / "sync").glob("client*.py"))
    assert ROOT / "sync" / "client.py" in parts
    own = {f"sync.{part.stem}" for part in parts}
    modules = {module for part in parts for module, _ in _imports(part)}
    of_sync = {module for module in modules if module.split(".")[0] == "sync"} - own
    assert all(module.startswith("sync.protocol") for module in of_sync)


def test_only_one_file_reads_the_environment() -> None:
    readers = {
        _name(path)
        for path in MODULES
        if any(
            isinstance(node, ast.Attribute) and node.attr in {"environ", "getenv"}
            for node in ast.walk(ast.parse(path.read_text()))
        )
    }
    assert readers <= {"bins/config.py"}
