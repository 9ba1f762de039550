"""What is told of the bus: at `/health`, to operators and in metrics; and that without one nothing is."""

import json
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from less_sync.bins.admin.counts import OF_BUS, OF_NEWS
from less_sync.bins.services import open_services
from less_sync.bins.settings.config import Settings
from less_sync.sync.live.bus import Bus, Hear, Reconnected
from less_sync.sync.live.measured import BUS, COUNTS, NEWS, bus_connected, measure_nodes
from less_sync.sync.live.nats_bus import NatsBus
from less_sync.sync.live.nats_link import NatsAccess, NatsAddress
from less_sync.sync.metrics import Recorder
from tests.bins.admin.opened import admin
from tests.bins.admin.scrape import look, scrape
from tests.live import live_server
from tests.sync.raw_http import fetch


class Quiet:
    """A bus that carries nothing, and counts nothing either."""

    connected = True

    def attach(self, hear: Hear, reconnected: Reconnected) -> None:
        """Nothing will come."""

    def publish(self, subject: str, message: bytes) -> None:
        """It goes nowhere."""

    def listen(self, subject: str) -> None:
        """Nothing will come."""

    def leave(self, subject: str) -> None:
        """Nothing came."""

    async def confirmed(self) -> bool:
        return False


@dataclass(slots=True)
class Counted(Quiet):
    """A bus of which only the counts are looked at."""

    connected: bool = True
    subjects: int = 2
    published: int = 3
    received: int = 4
    dropped: int = 5
    reconnects: int = 6


@dataclass(slots=True)
class Among:
    """A node among others."""

    bus: Bus

    def counts(self) -> Mapping[str, int]:
        return {"filled": 7, "late": 8, "behind": 9, "nodes": 1}


async def test_health_tells_a_node_of_several_by_its_name_and_its_bus(database_url: str) -> None:
    async with live_server(database_url) as live:

        async def health() -> tuple[int, object]:
            response = await fetch(live.port, "GET", "/health")
            return response.status, json.loads(response.body)

        assert await health() == (200, {"status": "healthy"})
        bus = Counted()
        measure_nodes(live.services.metrics, Among(bus))
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
        measure_nodes(services.metrics, Among(Counted(connected=False)))
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
        measure_nodes(live.services.metrics, Among(Counted()))
        told = look(live)
        assert [told.value(family) for family in families] == [2, 3, 4, 5, 6, 7, 8, 9, 1]
        assert told.values("less_sync_bus_connections", "state") == {"connected": 1, "disconnected": 0}


def test_without_a_bus_nobody_knows() -> None:
    recorder = Recorder()
    assert bus_connected(recorder) is None
    measure_nodes(recorder, Among(Counted(connected=False)))
    assert bus_connected(recorder) is False


async def test_a_node_is_measured_as_it_is_opened(database_url: str) -> None:
    settings = Settings.from_env(
        {"DATABASE_URL": database_url, "TRUSTED_ISSUERS": "https://accounts.example.com", "NODE_NAME": "a"}
    )
    async with AsyncExitStack() as stack:
        services = (await open_services(settings, database_url, stack, open_bus=Quiet)).services
        assert services.metrics.measured_of(BUS) == {"connected": 1, "disconnected": 0}
        news = {"filled": 0, "late": 0, "behind": 0, "nodes": 0}
        assert (services.metrics.measured_of(NEWS), services.node_name) == (news, "a")


def test_the_bus_of_nats_has_every_count() -> None:
    bus = NatsBus(NatsAccess((NatsAddress("127.0.0.1", 4222),)), prefix="p", name="n")
    measure_nodes(recorder := Recorder(), Among(bus))
    assert set(recorder.measured_of(BUS) or ()) == {"connected", "disconnected", *COUNTS}
