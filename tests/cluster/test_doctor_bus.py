"""What `doctor` finds at the NATS of a cluster."""

from pathlib import Path

import pytest

from less_sync.bins.doctor.bus import look_at_bus
from less_sync.bins.doctor.findings import Finding
from less_sync.bins.settings.cluster import BusSettings
from less_sync.sync.live.nats_link import NatsAccess, NatsAddress
from tests.bins.doctor.support import FAILED, NONE, OK, WARNING
from tests.cluster.buses import plain, running, until
from tests.nats import NatsServer


async def look(*urls: str, credentials: Path | None = None) -> list[Finding]:
    return list(await look_at_bus(BusSettings(urls, credentials, None, "test")))


def permitting(*, subscribe: str, publish: str) -> str:
    permissions = f'subscribe: "{subscribe}", publish: "{publish}"'
    return f"authorization {{ users: [{{ user: u, password: p, permissions: {{ {permissions} }} }}] }}"


async def test_without_a_nats_there_is_nothing_to_look_at() -> None:
    [found] = await look_at_bus(None)
    assert (found.check, found.state) == ("bus", NONE)


async def test_each_server_is_looked_at_and_nobody_is_disturbed(nats_server: NatsServer) -> None:
    async with running(plain(nats_server)) as (bus, ear):
        await until(lambda: bus.connected)
        bus.listen("nodes")
        assert await bus.confirmed()
        good, absent = await look(nats_server.url, "nats://127.0.0.1:1")
        assert (good.check, good.state) == (f"bus 127.0.0.1:{nats_server.port}", OK)
        assert good.found.endswith("subjects permitted")
        assert (absent.check, absent.state) == ("bus 127.0.0.1:1", FAILED)
        assert absent.found.startswith("not connected: ")
        assert (ear.messages, bus.reconnects) == ([], 0)


@pytest.mark.parametrize(
    ("settings", "state", "told"),
    [
        ("max_payload: 65536", WARNING, "messages of 65536 bytes at most"),
        ('authorization { token: "hunter2" }', FAILED, "not connected: Authorization Violation"),
        (
            permitting(subscribe="test.s.>", publish=">"),
            FAILED,
            'not permitted: permissions violation for subscription to "test.nodes"',
        ),
        (
            permitting(subscribe=">", publish="other.>"),
            FAILED,
            'not permitted: permissions violation for publish to "test.s.',
        ),
    ],
)
async def test_what_hinders_the_bus_is_told(
    settings: str, state: str, told: str, nats_server: NatsServer
) -> None:
    nats_server.settings = settings
    nats_server.restart()
    [found] = await look(f"nats://u:p@127.0.0.1:{nats_server.port}")
    assert (found.state, told in found.found, bool(found.todo)) == (state, True, True), found


async def test_a_credentials_file_that_is_none_is_told(tmp_path: Path) -> None:
    [found] = await look("nats://127.0.0.1:1", credentials=tmp_path / "absent")
    assert (found.state, "cannot read NATS_CREDENTIALS_FILE" in found.found) == (FAILED, True)


def test_an_address_is_shown_without_who_logs_in() -> None:
    assert str(NatsAddress("::1", 4222, "u", "hunter2")) == "[::1]:4222"
    assert "hunter2" not in repr(NatsAccess((NatsAddress("h", 4222, "u", "hunter2"),)))
