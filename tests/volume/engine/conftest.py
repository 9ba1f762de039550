"""What the tests of the engine have in common."""

import pytest

from tests.conftest import THREADED, Backend


@pytest.fixture(scope="session")
def anyio_backend() -> Backend:
    """Threads work for the loop here: calls from the wrong one are found."""
    return THREADED
