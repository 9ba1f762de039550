"""Random interleavings of all storage operations from several servers do what a small model says.

Operations that run at once must have the outcomes, and leave the tables, that they would have had one after
the other in some order; what the order was is the database's affair.
"""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from typing import Final
from uuid import UUID

import pytest
from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from less_sync.storage import PostgresPool, PushLanes, PushStatus, RateSlot
from tests.simulation.modelled_pool import modelled_database, modelled_pool
from tests.storage.choices import MAKERS, Choices
from tests.storage.model import Model
from tests.storage.operations import ROOT_KEY, CreateSpace, Operation, Server, read_tables
from tests.storage.support import opened, rows, started

SERVERS: Final = 2
SPACES: Final = 3
RECORDS: Final = 6
PARTS: Final = 3
"""One seed each; a test of its own each, for several can run at once."""
EXAMPLES: Final = 50
"""Of each part, over either database."""
TURNS: Final = 8
"""Of the loop that a statement to the model takes at most; those sent at once come in any order."""

drawn_operation = st.binary(min_size=24, max_size=24)


class Database:
    """Two server processes' worth of pools and lanes, used by all examples one after the other."""

    def __init__(
        self, runner: asyncio.Runner, pools: Sequence[PostgresPool], lanes: Sequence[PushLanes]
    ) -> None:
        self.runner = runner
        self.pools = pools
        self.lanes = lanes
        self.examples = 0


@pytest.fixture
def database(postgres_url: str | None) -> Iterator[Database]:
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        try:
            yield runner.run(open_database(runner, postgres_url, stack))
        finally:
            runner.run(stack.aclose())


async def open_database(runner: asyncio.Runner, url: str | None, stack: AsyncExitStack) -> Database:
    modelled = modelled_database(turns=TURNS)
    pools, lanes = list[PostgresPool](), []
    for _ in range(SERVERS):
        pools.append(
            await stack.enter_async_context(
                modelled_pool(max_connections=4, database=modelled)
                if url is None
                else opened(url, max_connections=4)
            )
        )
        lanes.append(await stack.enter_async_context(started(pools[-1])))
    return Database(runner, pools, lanes)


def orders(model: Model, operations: Sequence[Operation], outcomes: Sequence[object]) -> Iterator[Model]:
    """Yield the model after each order of the operations that explains their outcomes."""
    if not operations:
        yield model
    for index, operation in enumerate(operations):
        after = model.copy()
        if operation.apply(after) != outcomes[index]:
            continue
        rest = [*operations[:index], *operations[index + 1 :]]
        rest_outcomes = [*outcomes[:index], *outcomes[index + 1 :]]
        yield from orders(after, rest, rest_outcomes)
        if outcomes[index] is PushStatus.FOREIGN_RECORD:
            # Lost a race for an id: undone as a whole, the space with it if the push had just made it.
            yield from orders(model, rest, rest_outcomes)


class StorageMachine(RuleBasedStateMachine):
    def __init__(self, database: Database) -> None:
        super().__init__()
        self._database = database
        database.examples += 1
        self._model = Model({})
        self._slots: list[RateSlot] = []
        self._servers = [
            Server(pool, lanes, self._model, self._slots)
            for pool, lanes in zip(database.pools, database.lanes, strict=True)
        ]
        self._spaces = self._ids(SPACES, offset=0)
        self._records = self._ids(RECORDS, offset=SPACES)
        self._made = 0

    def _ids(self, count: int, *, offset: int) -> list[UUID]:
        """Ids of this example alone, in an order that does not change."""
        return [UUID(int=(self._database.examples << 64) + offset + number) for number in range(count)]

    def _operation(self, drawn: bytes, *, near: int, maker: int | None = None) -> Operation:
        self._made += 1
        choices = Choices(
            drawn[1:],
            self._model,
            spaces=self._spaces,
            near=self._spaces[near % SPACES],
            records=self._records,
            slots=self._slots,
            unique=self._made.to_bytes(4, "big"),
        )
        return MAKERS[(drawn[0] if maker is None else maker) % len(MAKERS)](choices)

    async def _run(self, operations: Sequence[Operation]) -> tuple[list[object], list[object]]:
        outcomes = await asyncio.gather(
            *(o.run(self._servers[index % SERVERS]) for index, o in enumerate(operations))
        )
        return outcomes, await read_tables(self._database.pools[0], self._spaces)

    def _check(self, operations: Sequence[Operation]) -> None:
        outcomes, tables = self._database.runner.run(self._run(operations))
        for after in orders(self._model, operations, outcomes):
            if after.tables() == tables:
                self._model = after
                return
        done = list(zip(operations, outcomes, strict=True))
        raise AssertionError(f"no order explains {done} and {tables} after {self._model}")

    @initialize()
    def begin(self) -> None:
        """One shared space; the others are whatever is made of them."""
        self._check([CreateSpace(self._spaces[0], ROOT_KEY)])

    @rule(drawn=drawn_operation)
    def alone(self, drawn: bytes) -> None:
        self._check([self._operation(drawn, near=drawn[0])])

    @rule(drawn=st.lists(drawn_operation, min_size=2, max_size=5))
    def at_once(self, drawn: list[bytes]) -> None:
        self._check([self._operation(one, near=drawn[0][-1]) for one in drawn])

    @rule(drawn=st.lists(drawn_operation, min_size=2, max_size=4))
    def alike_at_once(self, drawn: list[bytes]) -> None:
        maker, near = drawn[0][0], drawn[0][-1]
        self._check([self._operation(one, near=near, maker=maker) for one in drawn])

    def teardown(self) -> None:
        """What is not kept by space would be found by the next example."""
        self._database.runner.run(rows(self._database.pools[0]).clear())


@pytest.mark.parametrize("part", range(PARTS))
def test_every_interleaving_of_operations_does_what_the_model_does_in_some_order(
    database: Database, part: int
) -> None:
    @seed(part)
    class Machine(StorageMachine):
        def __init__(self) -> None:
            super().__init__(database)

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=25,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    assert database.examples >= EXAMPLES
