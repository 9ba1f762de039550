"""Questions to a whole database, asked by a command: what took too long is said in words."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from less_sync.bins.errors import CommandError
from less_sync.bins.own_spaces import OWN_SPACES
from less_sync.bins.postgres.operator import Database, work_on
from less_sync.storage import QUERY_CANCELED, PostgresPool, PostgresSurveys, StorageError

T = TypeVar("T")


def survey_on(database: Database, work: Callable[[PostgresSurveys], Awaitable[T]], *, question_s: float) -> T:
    """Do `work` with the questions of a database, each of which may take `question_s`.

    Raises:
        CommandError: the database cannot be used, or a question took too long.
    """

    async def asked(pool: PostgresPool) -> T:
        try:
            return await work(PostgresSurveys(pool, left_out=OWN_SPACES, question_s=question_s))
        except StorageError as error:
            if error.sqlstate == QUERY_CANCELED:
                text = f"the database did not answer within {question_s:g} s; --timeout gives it longer"
                raise CommandError(text) from error
            raise

    return work_on(database, asked, migrate=False)
