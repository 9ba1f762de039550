"""Connections that know the arrays of Postgres's own types from the start.

asyncpg asks the server about each type that it meets and that is no core one, on each connection anew: for
the arrays that our statements take, a query that costs the server 10 ms, half of what a connection costs.
Tests open thousands. What they are is the same in every database, which `tests/storage/test_primed.py` holds
against a real one. Whatever else is met is asked about as ever; processes of their own, which the tests of
processes start, ask about all.
"""

from collections.abc import Mapping
from typing import Any, Final

import asyncpg

ARRAYS: Final[Mapping[int, tuple[str, int]]] = {
    1000: ("_bool", 16),
    1001: ("_bytea", 17),
    1005: ("_int2", 21),
    1007: ("_int4", 23),
    1016: ("_int8", 20),
    1185: ("_timestamptz", 1184),
    2951: ("_uuid", 2950),
}
"""Name and type of the elements, by the number of the array."""
TYPES: Final = [
    {
        "oid": oid,
        "ns": "pg_catalog",
        "name": name,
        "kind": b"b",
        "basetype": None,
        "elemtype": element,
        "elemdelim": b",",
        "range_subtype": None,
        "attrtypoids": None,
        "attrnames": None,
    }
    for oid, (name, element) in ARRAYS.items()
]
"""As asyncpg's own query tells it."""


async def connect_primed(*place: Any, **options: Any) -> "asyncpg.Connection[asyncpg.Record]":
    """`asyncpg.connect`."""
    con: Any = await asyncpg.connect(*place, **options)
    con._protocol.get_settings().register_data_types(TYPES)
    return con  # type: ignore[no-any-return]  # asyncpg's types hide what knows the types
