"""One push by itself on a given connection."""

import asyncio
import random
from typing import TYPE_CHECKING, Final

from less_sync.storage.errors import REPEATABLE, UNIQUE_VIOLATION, StorageError, translate
from less_sync.storage.postgres.push_batch import outcome, single_statement
from less_sync.storage.types import Push, PushOutcome, PushStatus

if TYPE_CHECKING:
    from less_sync.storage.postgres.pool import Connection

_ATTEMPTS: Final = 3


async def push_one(con: "Connection", push: Push, chance: random.Random) -> PushOutcome | StorageError:
    """Send one push as its own statement and return what became of it.

    The function takes the lock of the space's row, checks and writes; autocommit makes it one transaction.
    A deadlock or serialisation failure is repeated up to three times. A violation of the records' primary key
    is another space's push that won a race for the same id: its status is that of an id found there.
    """
    statement, arguments = single_statement(push)
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            rows = await con.fetch(statement, *arguments)
        except Exception as error:
            failed = translate(error)
            if failed.sqlstate == UNIQUE_VIOLATION and failed.constraint == "records_pkey":
                return PushOutcome(PushStatus.FOREIGN_RECORD)
            if failed.sqlstate not in REPEATABLE or attempt == _ATTEMPTS:
                return failed
        else:
            return outcome(rows[0])
        await asyncio.sleep(chance.uniform(0.01, 0.05))
    raise AssertionError("the last attempt returns")
