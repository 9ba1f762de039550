"""What all tests of the volume server have in common."""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

import pytest

LATE_S: Final = 0.1


@pytest.fixture(scope="module", autouse=True)
async def one_loop(anyio_backend: object) -> AsyncIterator[None]:
    """The tests of a module run on one loop.

    gRPC tells the loop on which a call began of its end, which may be a moment after the test. A loop that is
    closed by then refuses that, in the middle of a test of another one.
    """
    yield
    await asyncio.sleep(LATE_S)
