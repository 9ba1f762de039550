"""Which room may import which, and what pure rooms may not touch."""

import ast
from functools import cache
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parent.parent
MAY_IMPORT: Final[dict[str, set[str]]] = {
    "auth": set(),
    "storage": set(),
    "migrations": set(),
    "sync": {"auth", "storage"},
    "client": {"auth", "sync"},
    "federation": {"auth", "storage", "sync"},
    "volume": set(),
    "fleet": {"auth", "migrations", "storage"},
    "validation": {"auth", "client", "migrations", "sync"},
    "bins": {
        "auth",
        "storage",
        "migrations",
        "sync",
        "client",
        "federation",
        "validation",
        "volume",
        "fleet",
    },
}
BINS_MAY_IMPORT: Final[dict[str, set[str]]] = {
    "postgres": set(),
    "settings": {"postgres"},
    "nats": {"settings"},
    "pages": set(),
    "profiler": {"settings"},
    "backup": {"settings", "postgres"},
    "admin": {"settings", "backup", "pages", "workers"},
    "reporting": {"settings", "backup", "admin"},
    "doctor": {"settings", "postgres", "backup", "admin", "nats"},
    "workers": {"settings", "postgres", "nats"},
    "volume": {"settings", "reporting"},
    "commands": {"settings", "postgres", "backup", "doctor", "reporting", "volume"},
}
"""The folders of `bins`. The server starts `admin` and `profiler`; nobody but a command starts a server."""
NAMED_BY_MODULE: Final = ("sync", "client", "federation", "volume", "validation", "fleet")
"""Rooms that `bins` wires: of these, single modules may be named."""
CLIENT_MAY_IMPORT: Final = ("less_sync.sync.client", "less_sync.sync.protocol")
"""Of `sync`, what the room `client` and the library `sync/client/` stand on."""
FLEET_MAY_TAKE: Final = frozenset(
    {
        *("StorageError", "Unavailable", "translate"),
        *("LOCK_NOT_AVAILABLE", "QUERY_CANCELED", "REPEATABLE", "UNIQUE_VIOLATION"),
        *("Query", "load_queries"),
    }
)
"""Of `storage`, what the fleet plane stands on: what errors mean, and how named SQL is read."""
MODULES: Final = sorted(
    path for room in MAY_IMPORT for path in (ROOT / room).rglob("*.py") if "__pycache__" not in path.parts
)
PURE_ROOMS: Final = (ROOT / "sync" / "protocol", ROOT / "auth", ROOT / "volume" / "format")
PURE: Final = [path for path in MODULES if set(path.parents) & set(PURE_ROOMS)]
EFFECTS: Final = {
    *(
        "asyncio",
        "socket",
        "time",
        "threading",
        "ssl",
        "selectors",
        "httpx",
        "httpcore",
        "uvicorn",
        "asyncpg",
    ),
    "os",
}
KNOW_NATS: Final = {"sync/live/nats_link.py"}
KNOW_UVICORN: Final = {"sync/http/socket.py", "sync/http/http1.py", "bins/http_server.py"}


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@cache
def _imported(path: Path) -> list[tuple[str, list[str]]]:
    """What a module imports, as `_imports` tells it."""
    return _imports(path.read_text())


def _imports(source: str) -> list[tuple[str, list[str]]]:
    """(module, imported names) of every absolute import; a plain `import x` has no names."""
    nodes = list(ast.walk(ast.parse(source)))
    whole = [alias for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    plain = [(alias.name, list[str]()) for alias in whole]
    named = [
        (node.module or "", [alias.name for alias in node.names])
        for node in nodes
        if isinstance(node, ast.ImportFrom) and node.level == 0
    ]
    # `from less_sync import auth` means the room.
    return [
        pair
        for module, names in plain + named
        for pair in (
            [(f"less_sync.{name}", []) for name in names] if module == "less_sync" else [(module, names)]
        )
    ]


def _room_of(module: str) -> str | None:
    """The room a module name belongs to, by its only name or by one that must not be used."""
    parts = module.split(".")
    if parts[0] == "less_sync":
        return parts[1] if len(parts) > 1 and parts[1] in MAY_IMPORT else None
    return parts[0] if parts[0] in MAY_IMPORT else None


def _exports(module: Path) -> set[str]:
    for node in ast.parse(module.read_text()).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
            return set(ast.literal_eval(node.value))
    return set()


def _faults(place: str, imported: list[tuple[str, list[str]]]) -> list[str]:
    """What the imports of one module do that they may not."""
    room = place.split("/")[0]
    found: list[str] = []
    for module, names in imported:
        other = _room_of(module)
        if other is None:
            continue
        if not module.startswith("less_sync."):
            found.append(f"{module}: rooms have one name, less_sync.{other}")
        elif other != room and other not in MAY_IMPORT[room]:
            found.append(f"{module}: {room} may not import {other}")
        elif room == "client" and other == "sync" and not module.startswith(CLIENT_MAY_IMPORT):
            found.append(f"{module}: the client stands on the library and the protocol alone")
        elif room == "fleet" and other == "storage" and not {*names} <= FLEET_MAY_TAKE:
            found.append(f"{module}: the plane takes what errors mean and how SQL is read, no store")
        elif other not in {room, *NAMED_BY_MODULE} and (
            module != f"less_sync.{other}" or not set(names) <= _exports(ROOT / other / "__init__.py")
        ):
            found.append(f"{module}: take what the room exports, from the room itself")
    return found


# One test for each rule and not for each module: a test costs more than what is looked at in it.


def test_modules_import_what_their_rooms_may() -> None:
    assert [
        f"{_name(path)}: {fault}" for path in MODULES for fault in _faults(_name(path), _imported(path))
    ] == []


def test_the_folders_of_bins_stand_on_each_other_in_one_direction() -> None:
    folders = {path.parent.name for path in (ROOT / "bins").glob("*/__init__.py")}
    assert folders == BINS_MAY_IMPORT.keys()
    for path in (ROOT / "bins").rglob("*.py"):
        modules = {module for module, _ in _imported(path) if module.startswith("less_sync.bins.")}
        found = {module.split(".")[2] for module in modules} & folders
        own = path.parent.name
        assert found <= (
            {own} | BINS_MAY_IMPORT[own] if own in folders else folders - {"commands", "doctor"}
        ), path


@pytest.mark.parametrize(
    ("place", "source"),
    [
        ("auth/x.py", "from less_sync.storage import Space"),
        ("storage/x.py", "import less_sync.sync.limits"),
        ("sync/x.py", "from less_sync import bins"),
        ("sync/x.py", "from less_sync.client.kept_key import kept_key"),
        ("volume/x.py", "from less_sync.storage import Space"),
        ("sync/x.py", "from less_sync.volume.format.fid import needle_text"),
        ("client/x.py", "from less_sync.bins.dev import DevIssuer"),
        ("client/x.py", "from less_sync.sync.services import Services"),
        ("sync/x.py", "def f():\n    from less_sync.storage.postgres.pool import PostgresPool"),
        ("sync/x.py", "from less_sync.storage import a_name_it_does_not_export"),
        ("fleet/x.py", "from less_sync.sync.limits import Limits"),
        ("fleet/x.py", "from less_sync.storage import PostgresPool"),
        ("fleet/x.py", "import less_sync.storage.postgres.pool"),
        ("sync/x.py", "from less_sync.fleet.line import FleetLine"),
        ("storage/x.py", "import less_sync.fleet.line"),
        ("auth/x.py", "from less_sync import fleet"),
        ("federation/x.py", "import less_sync.fleet"),
        ("bins/x.py", "from sync.services import Services"),
        ("bins/x.py", "import auth"),
    ],
)
def test_a_forbidden_import_is_found(place: str, source: str) -> None:
    assert len(_faults(place, _imports(source))) == 1


def test_each_room_has_its_link_and_no_link_leads_elsewhere() -> None:
    links = {path.name: path.resolve() for path in (ROOT / "less_sync").iterdir() if path.is_symlink()}
    assert links == {room: ROOT / room for room in MAY_IMPORT}
    assert all(not (ROOT / "less_sync" / room).readlink().is_absolute() for room in MAY_IMPORT)


def test_pure_modules_have_no_loop_socket_or_clock() -> None:
    assert [
        f"{_name(path)}: {module}"
        for path in PURE
        for module, _ in _imported(path)
        if module.split(".")[0] in EFFECTS
    ] == []


@pytest.mark.parametrize(("library", "known_to"), [("uvicorn", KNOW_UVICORN), ("nats", KNOW_NATS)])
def test_a_library_whose_own_methods_are_replaced_is_known_to_few(library: str, known_to: set[str]) -> None:
    knowing = {
        _name(path)
        for path in MODULES
        if any(module.split(".")[0] == library for module, _ in _imported(path))
    }
    assert knowing <= known_to


def test_the_client_library_stands_on_the_protocol_and_on_grants_alone() -> None:
    parts = sorted((ROOT / "sync" / "client").glob("*.py"))
    modules = {module for part in parts for module, _ in _imported(part)}
    of_ours = {module for module in modules if module.split(".")[0] == "less_sync"}
    assert of_ours
    assert all(module.startswith((*CLIENT_MAY_IMPORT, "less_sync.auth")) for module in of_ours)


def test_only_one_file_of_each_server_reads_the_environment() -> None:
    readers = {
        _name(path)
        for path in MODULES
        if any(
            isinstance(node, ast.Attribute) and node.attr in {"environ", "getenv"}
            for node in ast.walk(ast.parse(path.read_text()))
        )
    }
    # The store of files hides variables from a library that would read them; it takes nothing from them.
    assert readers <= {"bins/settings/config.py", "bins/volume/program.py", "storage/objects/s3.py"}
