"""Helpers: what can be seen and changed in the schema of a fleet plane."""

import contextlib
from collections.abc import AsyncIterator

import asyncpg

from less_sync.fleet.line import DEFAULT_SCHEMA
from less_sync.migrations import Connection
from less_sync.migrations.connection import connect


@contextlib.asynccontextmanager
async def connected(url: str, schema: str = DEFAULT_SCHEMA) -> AsyncIterator[Connection]:
    """A connection that sees one schema alone."""
    connection = await connect(url, schema=schema)
    try:
        yield connection
    finally:
        await connection.close()


async def execute(url: str, statement: str, *arguments: object) -> str:
    """Run a statement in the plane's schema, or without arguments several, and return its status."""
    async with connected(url) as connection:
        return await connection.execute(statement, *arguments)


async def fetch(url: str, query: str, *arguments: object) -> list[asyncpg.Record]:
    """All rows of one query."""
    async with connected(url) as connection:
        return await connection.fetch(query, *arguments)


async def value(url: str, query: str, *arguments: object) -> object:
    """The first value of one query."""
    async with connected(url) as connection:
        result: object = await connection.fetchval(query, *arguments)
    return result
