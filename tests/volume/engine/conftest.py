"""What the tests of the engine have in common."""

import pytest

from tests.conftest import DEBUGGED


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """Threads work for the loop here: its debug mode finds calls from the wrong one."""
    return DEBUGGED
