"""A browser per test; what happens in it that must not fails the test."""

import re
from collections.abc import AsyncIterator, Generator

import pytest

from tests.browser.visits import Visits, visits


@pytest.fixture
async def browser(request: pytest.FixtureRequest) -> AsyncIterator[Visits]:
    """A Chromium of the test's own. See `visits.py`."""
    async with visits(re.sub(r"[^A-Za-z0-9_.-]+", "-", request.node.name)) as made:
        yield made


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    """Windows stay open until their pictures are taken. By then the servers of the test may have gone."""
    yield
    for fixture in getattr(item, "funcargs", {}).values():
        if isinstance(fixture, Visits):
            fixture.expect("net::ERR_CONNECTION_")
