"""How a transaction that was not committed ends, on a connection that goes back to the pool."""

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import asyncpg

if TYPE_CHECKING:
    from less_sync.storage.postgres.pool import PooledConnection

_ROLLBACK_TIMEOUT_S: Final = 1.0


async def roll_back(con: "PooledConnection") -> None:
    """End the transaction; a connection that does not answer at once is cut instead.

    So is one whose ROLLBACK was cancelled: nobody knows whether its transaction has ended.
    """
    try:
        async with asyncio.timeout(_ROLLBACK_TIMEOUT_S):
            await con.execute("ROLLBACK")
    except Exception:
        _cut(con)
    except BaseException:
        _cut(con)
        raise


def _cut(con: "PooledConnection") -> None:
    # The pool takes a connection back by itself when that is lost; then there is nothing left to end.
    with suppress(asyncpg.InterfaceError):
        con.terminate()
