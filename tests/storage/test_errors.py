"""The translation of the driver's errors."""

import asyncpg
import pytest

from less_sync.storage import SpaceNotFound, StorageError, Unavailable
from less_sync.storage.errors import translate


@pytest.mark.parametrize(
    "error",
    [
        ConnectionRefusedError(),
        TimeoutError(),
        asyncpg.InterfaceError("closed"),
        asyncpg.InternalClientError("in another state"),
        asyncpg.PostgresConnectionError.new({"C": "08006", "M": ""}),
        asyncpg.PostgresError.new({"C": "57P01", "M": ""}),
        asyncpg.PostgresError.new({"C": "57014", "M": ""}),
        asyncpg.PostgresError.new({"C": "53300", "M": ""}),
        asyncpg.PostgresError.new({"C": "25P03", "M": ""}),
    ],
    ids=lambda error: f"{type(error).__name__} {getattr(error, 'sqlstate', '')}",
)
def test_what_keeps_the_database_from_answering_is_unavailable(error: Exception) -> None:
    translated = translate(error)
    assert type(translated) is Unavailable
    assert translated.__cause__ is error


@pytest.mark.parametrize("state", ["23505", "40P01", "55P03", "42P01", "53100", "XX000"])
def test_what_the_database_refuses_is_a_plain_storage_error_with_its_state(state: str) -> None:
    error = asyncpg.PostgresError.new({"C": state, "M": "localised"})
    translated = translate(error)
    assert type(translated) is StorageError
    assert translated.sqlstate == state
    assert translated.__cause__ is error
    assert "localised" not in str(translated)


def test_a_violated_constraint_is_named() -> None:
    error = asyncpg.PostgresError.new({"C": "23505", "M": "", "n": "records_pkey"})
    assert translate(error).constraint == "records_pkey"


def test_an_argument_the_driver_cannot_encode_is_a_plain_storage_error() -> None:
    from asyncpg.exceptions._base import DataError

    assert type(translate(DataError("bad"))) is StorageError


def test_an_error_of_ours_is_left_as_it_is() -> None:
    error = SpaceNotFound()
    assert translate(error) is error
