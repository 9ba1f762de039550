"""Databases with the fleet plane's schema, cloned from one migrated template, and a plane served on one."""

import secrets
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from less_sync.fleet.line import FleetLine
from less_sync.fleet.plane import Plane
from less_sync.migrations import migrate_up
from tests.conftest import DatabaseServer
from tests.fleet.rig import Fleet, open_fleet


@pytest.fixture(scope="session")
def fleet_template(database_server: DatabaseServer) -> Iterator[str]:
    """Name of a database with the fleet plane's schema; clone it, do not write to it."""
    name = f"{database_server.run}fleet"
    try:
        url = database_server.create(name)
        database_server.runner.run(migrate_up(url, line=FleetLine()))
        yield name
    finally:
        database_server.drop(name)


@pytest.fixture
def fleet_database_url(database_server: DatabaseServer, fleet_template: str) -> Iterator[str]:
    """URL of a database of the test's own with the schema `less_sync_fleet` and no rows.

    The URL names no search path: the plane sets its own. `tests.fleet.databases` looks into the schema.
    """
    name = database_server.run + secrets.token_hex(4)
    try:
        yield database_server.create(name, template=fleet_template)
    finally:
        database_server.drop(name)


@pytest.fixture(scope="module")
def fleet_module_url(database_server: DatabaseServer, fleet_template: str) -> Iterator[str]:
    """URL of a database that the tests of one module share."""
    name = database_server.run + secrets.token_hex(4)
    try:
        yield database_server.create(name, template=fleet_template)
    finally:
        database_server.drop(name)


@pytest.fixture(scope="module")
async def served_fleet(fleet_module_url: str) -> AsyncIterator[Fleet]:
    """The socket and connections that the tests of one module share; they want `fleet`."""
    async with open_fleet(fleet_module_url) as fleet:
        yield fleet


@pytest.fixture
async def fleet(served_fleet: Fleet) -> Fleet:
    """A plane that is served, with an empty database, as `tests.fleet.rig.Fleet` says."""
    await served_fleet.begin()
    return served_fleet


@pytest.fixture
def plane(fleet: Fleet) -> Plane:
    """What the routes and workers of `fleet` are handed."""
    return fleet.plane


@pytest.fixture
def client(fleet: Fleet) -> httpx.AsyncClient:
    """Speaks to `fleet` with the management key."""
    return fleet.client
