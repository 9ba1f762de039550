"""Databases for tests: a real Postgres, one migrated template, one clone of it per test.

Without `TEST_DATABASE_URL` the tests run on an embedded Postgres of their own in a temporary directory, which
does not sync to disk. With it they use that server, whose role needs CREATEDB; databases of test runs that
died are dropped by the next one. Tests run in several processes (workers) at once; each has an embedded
Postgres, a template and names of its own, so that they meet nowhere.
"""

import asyncio
import gc
import os
import secrets
import shutil
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
from hypothesis import HealthCheck, is_hypothesis_test, settings

from less_sync.bins.postgres.embedded import EmbeddedPostgres, EmbeddedPostgresError
from less_sync.bins.postgres.files import hold_data_directory, postgres_is_gone
from less_sync.bins.postgres.urls import driver_url
from tests.loops import OwnThreadLoop
from tests.shapes import InForce, Shape
from tests.weed import S3Server, shared_server

_PREFIX: Final = "less_sync_test_"
_DIRECTORY_PREFIX: Final = "less-sync-test-"
_MEMORY: Final = Path("/dev/shm")
_MEMORY_BYTES_MIN: Final = 1 << 30
_START_S_MAX: Final = 60.0
_HERE: Final = Path(__file__).parent
GC_THRESHOLDS: Final = (10_000, 10, 10)
_CLUSTER: Final = _HERE / "cluster"
_AUTH: Final = _HERE / "auth"
_SHORT: Final = (_AUTH, _HERE / "sync" / "protocol")
_QUICK_NOT_SAFE: Final = {
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "autovacuum": "off",
    "max_connections": "200",
    "max_wal_size": "256MB",
    "wal_level": "minimal",
    "max_wal_senders": "0",
}

# Properties are judged by what they find, not by how long a busy machine takes.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

# A shell starts what runs in its background with SIGINT ignored, which all that tests start would inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)


def _scratch() -> Path:
    """Where files of tests go: memory if there is room, where syncing and cloning a database cost little."""
    if os.access(_MEMORY, os.W_OK | os.X_OK) and shutil.disk_usage(_MEMORY).free >= _MEMORY_BYTES_MIN:
        return _MEMORY
    return Path(tempfile.gettempdir())


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Half as many workers again as cores, two at least: many tests wait for a timer or another process."""
    cores = len(os.sched_getaffinity(0))
    return cores + max(2, (cores + 1) // 2)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Let thousands of short tests come last: they fill the time in which another worker ends a long one.

    Of those that are run in other shapes, leave out what has the usual one alone. Branches of `auth`
    are counted as covered by chosen examples alone: what random ones reach is luck, and costs twice as much.
    """
    if config.getoption("--shapes"):
        alone = [item for item in items if _is(item, "alone")]
        items[:] = [item for item in items if not _is(item, "alone")]
        config.hook.pytest_deselected(items=alone)
    items.sort(key=lambda item: any(item.path.is_relative_to(room) for room in _SHORT))
    for item in items:
        if (
            item.path.is_relative_to(_AUTH)
            and isinstance(item, pytest.Function)
            and is_hypothesis_test(item.obj)
        ):
            item.add_marker("no_cover")


def pytest_collection_finish() -> None:
    """Keep the collector away from thousands of collected tests, and as rare as in a server (`bins/heap.py`).

    It took a twelfth of the CPU of the tests.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let `make test-cluster` choose in what shape the server is tested."""
    parser.addoption("--shapes", default="", help="run each test in these shapes: nodes,workers")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test once in each of the shapes asked for that suit it."""
    shapes = [Shape(name) for name in metafunc.config.getoption("shapes").split(",") if name]
    if metafunc.definition.path.is_relative_to(_CLUSTER) or _is(metafunc.definition, "alone"):
        return  # these are of one shape each
    if _is(metafunc.definition, "in_process") or _is(metafunc.definition, "one_connection"):
        shapes = [shape for shape in shapes if shape is not Shape.WORKERS]
    if shapes:
        metafunc.parametrize("server_shape", shapes, indirect=True, ids=str)


def _is(test: pytest.Item, marker: str) -> bool:
    return test.get_closest_marker(marker) is not None


@pytest.fixture(autouse=True)
def server_shape(request: pytest.FixtureRequest) -> Iterator[None]:
    """Have `live_server` start a server of the shape asked for."""
    InForce.shape = getattr(request, "param", Shape.ONE)
    yield
    InForce.shape = Shape.ONE


def pytest_configure(config: pytest.Config) -> None:
    """Let `tmp_path` be in memory too: SQLite and Postgres sync thousands of times in a run."""
    config.addinivalue_line("markers", "in_process: looks inside the server, so it has no workers")
    config.addinivalue_line("markers", "one_connection: is about requests of one, so it has no workers")
    config.addinivalue_line(
        "markers", "alone: replaces parts of the server, or is about amounts: one process"
    )
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(_scratch()))


Backend = tuple[str, dict[str, Any]]
_DEBUGGED: Final[Backend] = ("asyncio", {"use_uvloop": True, "debug": True})
_WHOLE_RUN: Final = "PYTEST_XDIST_WORKER" in os.environ
THREADED: Final[Backend] = ("asyncio", {"loop_factory": OwnThreadLoop}) if _WHOLE_RUN else _DEBUGGED
"""Where threads work for a loop: calls from the wrong one are found in whole runs too."""


@pytest.fixture(scope="session")
def anyio_backend() -> Backend:
    """Asynchronous tests run as the server does, on asyncio with uvloop.

    In asyncio's debug mode when few are run, in one process: it costs a third of all CPU.
    """
    return ("asyncio", {"use_uvloop": True}) if _WHOLE_RUN else _DEBUGGED


@dataclass(frozen=True, slots=True)
class DatabaseServer:
    """Makes and drops databases; `run` is the prefix of all names of this test session."""

    runner: asyncio.Runner
    admin: "asyncpg.Connection[asyncpg.Record]"
    url: str
    run: str
    strategy: str

    def url_of(self, name: str) -> str:
        """The server's URL with another database."""
        return urlunsplit(urlsplit(self.url)._replace(path=f"/{name}"))

    def create(self, name: str, *, template: str = "template0") -> str:
        """Create a database as a copy of `template` and return its URL."""
        statement = f'CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY {self.strategy}'
        self.runner.run(self.admin.execute(statement))
        return self.url_of(name)

    def drop(self, name: str) -> None:
        """Drop a database, disconnecting whoever a failed test left connected."""
        try:
            self.runner.run(self.admin.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'))
        except asyncpg.InsufficientPrivilegeError:
            # An autovacuum worker is at it, which FORCE may not touch without superuser; a plain DROP asks
            # it to leave and waits for that.
            self.runner.run(self.admin.execute(f'DROP DATABASE IF EXISTS "{name}"'))


def _remove_leftovers(parent: Path) -> None:
    """Remove clusters of killed test runs: nobody holds them, and their Postgres died with them.

    A young one may be another worker's that is about to take its lock.
    """
    for directory in parent.glob(f"{_DIRECTORY_PREFIX}*"):
        data_dir = directory / "data"
        with suppress(EmbeddedPostgresError, OSError):  # in use, or another user's
            old = time.time() - directory.stat().st_mtime > _START_S_MAX
            if old and (data_dir / "lock").exists():
                with hold_data_directory(data_dir):
                    if postgres_is_gone(data_dir):
                        shutil.rmtree(directory)


@asynccontextmanager
async def _server_url() -> AsyncIterator[str]:
    url = os.environ.get("TEST_DATABASE_URL")
    if url:
        yield driver_url(url)
        return
    parent = _scratch()
    _remove_leftovers(parent)
    with tempfile.TemporaryDirectory(prefix=_DIRECTORY_PREFIX, dir=parent) as directory:
        async with EmbeddedPostgres(Path(directory, "data"), settings=_QUICK_NOT_SAFE) as postgres:
            yield postgres.url


async def _drop_leftovers(admin: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Drop what dead test runs left: each living one holds a connection that is named like its databases."""
    rows = await admin.fetch(
        """SELECT d.datname FROM pg_database d
           WHERE starts_with(d.datname, $1) AND pg_has_role(d.datdba, 'MEMBER') AND NOT EXISTS (
               SELECT FROM pg_stat_activity a
               WHERE starts_with(a.application_name, $1) AND starts_with(d.datname, a.application_name))""",
        _PREFIX,
    )
    for row in rows:
        await admin.execute(f'DROP DATABASE IF EXISTS "{row["datname"]}" WITH (FORCE)')


@pytest.fixture(scope="session")
def database_server() -> Iterator[DatabaseServer]:
    """The Postgres of this test session; most tests want `database_url` or `empty_database_url`."""
    run = f"{_PREFIX}{secrets.token_hex(4)}_"
    with asyncio.Runner() as runner:
        context = _server_url()
        url = runner.run(context.__aenter__())
        try:
            settings = {"application_name": run}
            admin = runner.run(asyncpg.connect(url, server_settings=settings, statement_cache_size=0))
            try:
                runner.run(_drop_leftovers(admin))
                # Copying files is faster but needs two checkpoints: dear where they are synced.
                strategy = "wal_log" if os.environ.get("TEST_DATABASE_URL") else "file_copy"
                yield DatabaseServer(runner, admin, url, run, strategy)
            finally:
                runner.run(admin.close())
        finally:
            runner.run(context.__aexit__(None, None, None))


@pytest.fixture(scope="session")
def database_template(database_server: DatabaseServer) -> Iterator[str]:
    """Name of a migrated database; clone it, do not write to it."""
    from less_sync.migrations import migrate_up

    name = f"{database_server.run}template"
    try:
        url = database_server.create(name)
        database_server.runner.run(migrate_up(url))
        yield name
    finally:
        database_server.drop(name)


@pytest.fixture
def empty_database_url(database_server: DatabaseServer) -> Iterator[str]:
    """URL of a database of the test's own without any table."""
    name = database_server.run + secrets.token_hex(4)
    try:
        yield database_server.create(name)
    finally:
        database_server.drop(name)


@pytest.fixture
def database_url(database_server: DatabaseServer, database_template: str) -> Iterator[str]:
    """URL of a database of the test's own with the migrated schema and no rows."""
    name = database_server.run + secrets.token_hex(4)
    try:
        yield database_server.create(name, template=database_template)
    finally:
        database_server.drop(name)


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A real S3-compatible server, the same for all workers of this test run."""
    base = tmp_path_factory.getbasetemp()
    in_worker = "PYTEST_XDIST_WORKER" in os.environ
    with shared_server((base.parent if in_worker else base) / "weed") as server:
        yield server
