"""What the tests of this folder share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.nats import NatsServer


@pytest.fixture
def nats_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    """A NATS of the test's own, running; whatever the test did to it, it is gone afterwards."""
    with NatsServer(Path(tmp_path_factory.mktemp("nats"))) as server:
        yield server
