"""Databases with the fleet plane's schema: one migrated template, one clone of it per test."""

import secrets
from collections.abc import Iterator

import pytest

from less_sync.fleet.line import FleetLine
from less_sync.migrations import migrate_up
from tests.conftest import DatabaseServer


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
