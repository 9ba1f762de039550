"""What is told of the bus: at `/health`, to operators and in metrics; and that without one nothing is."""

import json
from dataclasses import dataclass
from pathlib import Path

from less_sync.bins.admin.counts import OF_BUS, OF_NEWS
from less_sync.sync.live.measured import bus_connected, measure_bus
from less_sync.sync.metrics import Recorder
from tests.bins.admin.opened import admin
from tests.bins.admin.scrape import look, scrape
from tests.live import live_server
from tests.sync.raw_http import fetch


@dataclass(slots=True)
class Counted:
    """A bus of which only the counts are looked at."""

    connected: bool = True
    subjects: int = 2
    published: int = 3
    received: int = 4
    dropped: int = 5
    reconnects: int = 6


NEWS = {"filled": 7, "late": 8, "behind": 9, "nodes": 1}


async def test_health_tells_a_node_of_several_by_its_name_and_its_bus(database_url: str) -> None:
    async with live_server(database_url) as live:

        async def health() -> tuple[int, object]:
            response = await fetch(live.port, "GET", "/health")
            return response.status, json.loads(response.body)

        assert await health() == (200, {"status": "healthy"})
        bus = Counted()
        measure_bus(live.services.metrics, bus, lambda: NEWS)
        assert await health() == (200, {"status": "healthy", "cluster": {"bus": "connected"}})
        live.services.node_name = "a"
        bus.connected = False
        assert await health() == (200, {"status": "healthy", "cluster": {"node": "a", "bus": "away"}})


async def test_a_bus_that_is_away_is_told_to_operators_and_is_no_reason_to_send_clients_elsewhere(
    database_url: str, tmp_path: Path
) -> None:
    async with admin(database_url, tmp_path) as running:
        running.listener.public_port_is_open()
        services = running.live.services
        status, body = await running.ready()
        assert (status, "bus" in body, "node" in body) == (200, False, False)
        services.node_name = "a"
        measure_bus(services.metrics, Counted(connected=False), lambda: NEWS)
        status, body = await running.ready()
        assert (status, body["status"], body["bus"], body["node"]) == (
            200,
            "ready",
            {"connected": False},
            "a",
        )
        told = scrape((await running.ask("GET", "/metrics")).body)
        assert told.value("less_sync_bus_connections", state="disconnected") == 1


async def test_every_count_of_the_bus_has_its_family_and_without_a_bus_none_has_a_series(
    database_url: str,
) -> None:
    async with live_server(database_url) as live:
        families = [family for _, family, _ in (*OF_BUS.values(), *OF_NEWS.values())]
        told = look(live)
        assert {told.value(family) for family in families} == {None}
        assert told.values("less_sync_bus_connections", "state") == {}
        measure_bus(live.services.metrics, Counted(), lambda: NEWS)
        told = look(live)
        assert [told.value(family) for family in families] == [2, 3, 4, 5, 6, 7, 8, 9, 1]
        assert told.values("less_sync_bus_connections", "state") == {"connected": 1, "disconnected": 0}


def test_without_a_bus_nobody_knows() -> None:
    recorder = Recorder()
    assert bus_connected(recorder) is None
    measure_bus(recorder, Counted(connected=False), lambda: NEWS)
    assert bus_connected(recorder) is False
