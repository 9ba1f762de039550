"""Looking into a target's database: what was asked and what came back, without a word of anybody's rows.

Evidence has each statement with counts and names of the catalogue's objects. Of rows of people's tables it
has at most 50 ids, as markers that are the same for equal ids within a run and tell nobody anything else.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import asyncpg

from less_sync.validation.outcome import Blocked, Broken, Faulty

if TYPE_CHECKING:
    from less_sync.migrations import Connection
    from less_sync.validation.context import Context

IDS_SHOWN_MAX: Final = 50
INDEX_SCANS: Final = ("enable_indexscan", "enable_indexonlyscan", "enable_bitmapscan")
"""Ways to read that, when they are off, have a table read itself: what an index does not hold is seen too."""


@dataclass(slots=True)
class Looking:
    """A connection that can write nothing, for one check."""

    context: "Context"
    connection: "Connection"

    async def rows(
        self, sql: str, *args: object, told: Callable[[list[Any]], str] = lambda rows: f"{len(rows)} rows"
    ) -> list[Any]:
        """All rows of a query.

        Args:
            told: what the evidence says of them: counts and names of the catalogue's objects.
        """
        rows: list[Any] = await self.connection.fetch(sql, *args)
        self.context.evidence.statement(sql, told(rows))
        return rows

    async def row(self, sql: str, *args: object) -> Any:
        """The first row of a query about the catalogue; the evidence shows all of it."""
        rows = await self.rows(sql, *args, told=lambda rows: "; ".join(shown(row) for row in rows[:1]))
        return rows[0] if rows else None

    async def value(self, sql: str, *args: object) -> Any:
        """The first value of a query about the catalogue, or a count; the evidence shows it."""
        row = await self.row(sql, *args)
        return None if row is None else row[0]

    async def set_off(self, names: Sequence[str]) -> None:
        """Have the planner do without these until the check ends."""
        await self.connection.execute("; ".join(f"SET LOCAL {name} = off" for name in names))

    async def set_on(self, names: Sequence[str]) -> None:
        """Take `set_off` back."""
        await self.connection.execute("; ".join(f"SET LOCAL {name} = on" for name in names))

    def markers(self, ids: Sequence[UUID]) -> str:
        """Ids of people's rows, as the evidence may have them."""
        told = [f"[row:{self.context.run.redactor.digest(one.bytes)}]" for one in ids[:IDS_SHOWN_MAX]]
        return " ".join(told)


def shown(row: Any) -> str:
    """A row of the catalogue, in words."""
    return ", ".join(f"{name} {value}" for name, value in row.items())


@asynccontextmanager
async def looking(context: "Context") -> AsyncIterator[Looking]:
    """Look into the target's database.

    Raises:
        Blocked: its URL is not given, or its role may not read: `privilege`.
        Broken: `statement-timeout`, `lock-timeout`, `refused-by-database` with the SQLSTATE.
        Faulty: what should be there is missing: `schema-differs`, `cut`.
        NotReached: it does not answer.
    """
    async with context.database() as connection:
        try:
            yield Looking(context, connection)
        except asyncpg.QueryCanceledError:
            raise Broken("statement-timeout") from None
        except asyncpg.LockNotAvailableError:
            raise Broken("lock-timeout") from None
        except asyncpg.InsufficientPrivilegeError as error:
            context.say(f"the role may not do this: {error.args[0]}")
            raise Blocked("privilege") from None
        except (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError) as error:
            context.say(f"not there: {error.args[0]}")
            raise Faulty("schema-differs") from None
        except (asyncpg.PostgresConnectionError, asyncpg.InterfaceError, OSError):
            raise Faulty("cut") from None
        except asyncpg.PostgresError as error:
            context.say(f"the database refused: SQLSTATE {error.sqlstate}")
            raise Broken("refused-by-database", error.sqlstate) from None
