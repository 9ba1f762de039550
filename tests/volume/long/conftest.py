"""What the long tests of the volume server have in common."""

import pytest


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """As the server runs, always: in asyncio's debug mode these would take four times as long."""
    return "asyncio", {"use_uvloop": True}
