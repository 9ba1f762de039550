"""Databases for servers that speak to each other: one each."""

import secrets
from collections.abc import Iterator

import pytest

from tests.conftest import DatabaseServer

SERVERS_MAX = 3


@pytest.fixture
def databases(database_server: DatabaseServer, database_template: str) -> Iterator[list[str]]:
    """URLs of as many migrated, empty databases as a test has servers at most."""
    names = [f"{database_server.run}{secrets.token_hex(4)}" for _ in range(SERVERS_MAX)]
    try:
        yield [database_server.create(name, template=database_template) for name in names]
    finally:
        for name in names:
            database_server.drop(name)
