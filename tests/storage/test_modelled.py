"""That the tests of this room run over the model of the database, and which do not."""

import ast
from pathlib import Path

import pytest

from less_sync.storage import PostgresPool, StorageError
from tests.simulation.modelled_pool import ModelledPool
from tests.storage.modelled import NOT_MODELLED
from tests.storage.support import execute


@pytest.mark.parametrize("module", NOT_MODELLED)
def test_every_test_that_the_model_is_excused_from_exists_and_has_a_pool(module: str) -> None:
    tree = ast.parse(Path(__file__).with_name(f"{module}.py").read_text())
    tests = {node.name: node for node in tree.body if isinstance(node, ast.AsyncFunctionDef)}
    for name in NOT_MODELLED[module]:
        assert "pool" in [argument.arg for argument in tests[name].args.args], name


async def test_the_pool_is_over_the_database_that_the_name_of_a_test_says(
    pool: PostgresPool, request: pytest.FixtureRequest
) -> None:
    database = {True: "model", False: "postgres"}[isinstance(pool, ModelledPool)]
    assert request.node.name == f"{request.function.__name__}[{database}]"


async def test_sql_of_a_test_is_refused_by_the_model(pool: PostgresPool) -> None:
    """Or a test would pass over it without having done what it says."""
    if isinstance(pool, ModelledPool):
        with pytest.raises(StorageError):
            await execute(pool, "DELETE FROM records")
    else:
        await execute(pool, "DELETE FROM records")
