"""A browser per test; what happens in it that must not fails the test."""

import re
from collections.abc import AsyncIterator

import pytest

from tests.browser.visits import Visits, visits


@pytest.fixture
async def browser(request: pytest.FixtureRequest) -> AsyncIterator[Visits]:
    """A Chromium of the test's own. See `visits.py`."""
    async with visits(re.sub(r"[^A-Za-z0-9_.-]+", "-", request.node.name)) as made:
        yield made
