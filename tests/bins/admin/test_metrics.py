"""What `/metrics` says of a server: that it counts what happened, once, under names nobody can add to."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from uuid import uuid4

import pytest

from less_sync.bins.admin.counts import FEDERATION
from less_sync.bins.admin.families import NAMES_MAX, by_name
from less_sync.bins.admin.metrics import AGE_S_MAX, last_backup_s
from less_sync.bins.admin.watchdog import Delivery
from less_sync.bins.backup.last import LAST_BACKUP
from less_sync.bins.federation import open_federation
from less_sync.federation.settings import FederationSettings
from less_sync.storage import PostgresPool, Unavailable
from less_sync.storage.objects.memory import MemoryBlobs
from less_sync.sync.limits import Limits
from less_sync.sync.metrics import NAMES_MAX as RECORDED_NAMES_MAX
from less_sync.sync.metrics import Recorder
from tests.bins.admin.scrape import ROLE, exposition, look, scrape
from tests.federation.inbound.peer_client import home_server
from tests.federation.signed import Peer
from tests.integration.waiting import until
from tests.live import Live, live_server
from tests.sync.file_requests import shelf
from tests.sync.raw_http import connected
from tests.sync.session.test_session import change


@pytest.fixture
async def live(database_url: str) -> AsyncIterator[Live]:
    async with live_server(database_url, blobs=MemoryBlobs()) as running:
        yield running


async def ask(live: Live, *lines: str) -> int:
    async with connected(live.port) as connection:
        connection.send("\r\n".join((*lines, "Host: h", "", "")).encode())
        return (await connection.receive()).status


async def test_every_series_says_that_it_is_of_a_sync_server(live: Live) -> None:
    client = await live.connect()
    await client.push(change())
    told = look(live)
    assert all(ROLE.items() <= set(labels) for _, labels in told.samples)
    assert told.value("process_cpu_seconds_total") is not None
    assert told.value("process_resident_memory_bytes") is not None
    assert told.value("process_start_time_seconds") is not None
    assert [name for name, of in told.types.items() if of == "counter" and not name.endswith("_total")] == []


async def test_requests_are_counted_by_method_and_outcome(live: Live) -> None:
    client = await live.connect()
    await client.push(change(), change())
    await client.push(change("no uuid"))
    await client.push(change(), space=str(uuid4()))
    await client.error("push", {"space": 3})
    await client.pull()
    told = look(live)
    codes = {"ok": 1.0, "bad_request": 1.0, "forbidden": 1.0, "invalid_params": 1.0, "internal": 0.0}
    counted = {
        dict(labels)["code"]: value
        for (name, labels), value in told.samples.items()
        if name == "less_sync_rpc_total" and ("method", "push") in labels
    }
    assert counted == codes
    assert told.value("less_sync_rpc_seconds_count", method="push") == 4
    assert told.value("less_sync_rpc_seconds_bucket", method="push", le="+Inf") == 4
    assert (told.value("less_sync_rpc_seconds_sum", method="pull") or 0) > 0
    assert told.value("less_sync_pull_rows_total") == 2
    # The invalid push goes to the database too, empty: it has the last word on who may write.
    assert told.value("less_sync_lane_statement_pushes_sum") == 2
    assert told.value("less_sync_lane_statement_seconds_count") == 2


async def test_what_clients_make_up_adds_no_series(live: Live) -> None:
    client = await live.connect()
    await client.error("made up", {})
    assert await ask(live, "GET /made-up HTTP/1.1") == 401
    before = set(look(live).samples)
    for number in range(20):
        await client.error(f"made up {number}", {})
        assert await ask(live, f"GET /made-up/{number} HTTP/1.1") == 401
    assert await ask(live, f"GET /api/v1/spaces/{uuid4()}/files/{uuid4()} HTTP/1.1") == 401
    assert await ask(live, "GET no-request") == 400
    told = look(live)
    added = {
        ("less_sync_http_requests_total", frozenset({**ROLE, "route": route, "code": code}.items()))
        for route, code in (("/api/v1/spaces/{space_id}/files/{id}", "401"), ("other", "400"))
    }
    assert set(told.samples) - before == added
    assert told.value("less_sync_rpc_total", method="other", code="method_not_found") == 21
    assert told.value("less_sync_http_requests_total", route="other", code="401") == 21


def test_names_that_another_server_makes_up_are_bounded_and_none_is_lost() -> None:
    recorder = Recorder()
    recorder.answered("push", "a code of a home's own", 0.1, 1, 1)
    assert recorder.methods["push"].codes["other"] == 1
    for number in range(RECORDED_NAMES_MAX + 5):
        recorder.upgrade_refused(number)
        recorder.http_answered("/", str(number))
    assert len(recorder.refusals) == len(recorder.http) == RECORDED_NAMES_MAX + 1
    assert recorder.refusals["other"] == recorder.http["other", "other"] == 5
    shown = by_name({str(number): number for number in range(NAMES_MAX + 5)})
    assert len(shown) == NAMES_MAX + 1
    assert shown["other",] == sum(range(NAMES_MAX, NAMES_MAX + 5))


async def test_connections_are_counted_by_kind_and_by_how_they_end(database_url: str) -> None:
    async with home_server(database_url, limits=Limits(connections_per_mailbox=2)) as home:
        live = home.live
        strangers = [await live.open() for _ in range(3)]
        clients = [await live.connect(name) for name in ("alice", "alice", "bob")]
        for client in clients:
            await client.subscribe()
        peer = await home.peer()
        assert (await peer.error("?", {}))[0] == "method_not_found"
        told = look(live)
        kinds = {"client": 3, "peer": 1, "unauthenticated": 3}
        assert told.values("less_sync_connections", "kind") == kinds
        assert told.value("less_sync_spaces_subscribed") == 2
        assert told.value("less_sync_http_requests_total", route="/api/v1/ws", code="101") == 6
        third = await live.connect()
        assert (await third.closed()).code == 4003
        strangers[0].send(b"no auth")
        await strangers[1].hangup(20)
        await clients[2].socket.hangup(20)
        await peer.socket.hangup(20)

        async def ended() -> bool:
            return len(live.services.sessions) == 3

        await until(ended)
        told = look(live)
        kinds = {"client": 2, "peer": 0, "unauthenticated": 1}
        assert told.values("less_sync_connections", "kind") == kinds
        assert told.values("less_sync_closes_total", "code") == {"4000": 1, "4003": 1, "none": 3}
        refused = {"invalid_auth_frame": 1, "too_many_connections": 1}
        assert told.values("less_sync_handshake_refusals_total", "reason") == refused


async def test_upgrades_that_are_refused_are_counted_by_status(database_url: str) -> None:
    upgrade = (
        "Connection: upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
        "Sec-WebSocket-Protocol: less-rpc-v1",
    )
    async with live_server(database_url, Limits(unauthenticated_sessions=1)) as live:
        await live.open()
        assert await ask(live, "GET /api/v1/ws HTTP/1.1", *upgrade) == 400  # it names no version
        assert await ask(live, "GET /api/v1/ws HTTP/1.1", *upgrade, "Sec-WebSocket-Version: 13") == 503
        assert await ask(live, "GET /api/v1/federation/ws HTTP/1.1") == 400
        told = look(live)
    refused = {"http_400": 2, "http_503": 1}
    assert told.values("less_sync_handshake_refusals_total", "reason") == refused
    assert told.value("less_sync_http_requests_total", route="/api/v1/ws", code="503") == 1
    assert told.value("less_sync_http_requests_total", route="/api/v1/ws", code="400") == 1


async def test_notifications_are_counted_delivered_or_dropped(database_url: str) -> None:
    async with live_server(database_url, Limits(queue_frames=4)) as live:
        slow, author, reader = [await live.connect() for _ in range(3)]
        await slow.subscribe()
        await reader.subscribe()
        await author.push(change())
        assert await slow.methods_heard() == await reader.methods_heard() == ["sync"]
        told = look(live)
        assert told.value("less_sync_notifications_delivered_total") == 2
        assert told.value("less_sync_notifications_dropped_total") == 0
        slow.socket.stop_reading()
        pushed = 1
        while len(live.services.sessions) > 2:
            await author.push(change(blob=bytes(1 << 20)))
            pushed += 1
        told = look(live)
    assert told.value("less_sync_notifications_delivered_total") == pushed * 2
    assert told.value("less_sync_notifications_dropped_total") == 5  # four that waited, and one too many
    assert told.value("less_sync_slow_consumers_total") == 1
    assert told.values("less_sync_closes_total", "code") == {"4006": 1}


async def test_files_are_counted_whole_and_bytes_as_they_come(live: Live) -> None:
    own = await shelf(live)
    file = uuid4()
    assert (await own.put(file, b"12345")).status == 201
    assert (await own.put(uuid4(), b"123", x_record_id=str(uuid4()))).status == 400
    assert (await own.get(file)).status == 200
    assert (await own.get(file, "HEAD")).status == 200
    assert (await own.get(uuid4())).status == 404
    told = look(live)
    assert told.values("less_sync_blob_transfers_total", "direction") == {"in": 1, "out": 1}
    assert told.values("less_sync_blob_bytes_total", "direction") == {"in": 5, "out": 5}
    assert told.value("less_sync_blob_removals_waiting") == 0


async def test_the_pool_says_who_waits_and_who_waited_in_vain(live: Live, database_url: str) -> None:
    pool = await PostgresPool.open(database_url, max_connections=1, acquire_timeout_s=0.2)
    try:
        text = exposition(live, pool=pool).text
        async with pool.connection():
            waiting = asyncio.create_task(pool.fetch("get_spaces", []))
            await asyncio.sleep(0)
            told = scrape(text())
            with pytest.raises(Unavailable):
                await waiting
        names = ("connections_max", "connections", "in_use", "waiting", "failures_total")
        assert [told.value(f"less_sync_db_pool_{name}") for name in names] == [1, 1, 1, 1, 0]
        told = scrape(exposition(live, pool=pool).text())
        assert [told.value(f"less_sync_db_pool_{name}") for name in names] == [1, 1, 0, 0, 1]
    finally:
        await pool.aclose(5)


async def test_pushes_that_the_lanes_do_not_take_are_counted(live: Live) -> None:
    client = await live.connect()
    await live.lanes.aclose(5)
    assert (await client.push(change()))["error"] == "internal"
    told = look(live)
    assert told.value("less_sync_lane_refusals_total") == 1
    assert told.values("less_sync_lanes", "state") == {"connected": 0, "disconnected": 2}
    assert told.value("less_sync_lane_waiting_pushes") == 0


async def test_all_that_the_federation_measures_is_told(live: Live) -> None:
    async with AsyncExitStack() as stack:
        settings = FederationSettings(trust=Peer().trust())
        await open_federation(settings, live.pool, live.services, stack)
        assert set(live.services.metrics.measured()) == set(FEDERATION)
        told = look(live)
    quotas = {"connections": 0, "spaces": 0, "push": 0, "invitations": 0}
    assert told.values("less_sync_federation_quota_refusals_total", "quota") == quotas


async def test_a_peer_is_told_by_its_domain(database_url: str) -> None:
    async with home_server(database_url) as home:
        peer = await home.peer("edge1.test")
        assert (await peer.error("?", {}))[0] == "method_not_found"
        told = look(home.live)
    assert told.values("less_sync_federation_peer_connections", "peer") == {"edge1.test": 1}


async def test_no_proof_of_delivery_is_no_series_and_not_a_lag_of_zero(live: Live) -> None:
    unknown = look(live)
    names = [name for name in unknown.types if name.startswith("less_sync_delivery_")]
    assert len(names) == 4
    assert [unknown.value(name) for name in sorted(names)] == [0, None, None, 0]
    now_s = [100.0]
    found = Delivery(live.services.limits, lambda: now_s[0])
    found.failed()
    found.failed()
    failing = exposition(live, delivery=found).text()
    assert [scrape(failing).value(name) for name in sorted(names)] == [2, None, None, 0]
    found.proved(0.25)
    now_s[0] += 3
    proven = exposition(live, delivery=found).text()
    assert [scrape(proven).value(name) for name in sorted(names)] == [2, 0.25, 3, 1]


@pytest.mark.parametrize(
    ("named", "told"),
    [
        (json.dumps({"finished_at": "2026-11-26T16:30:00Z", "folder": "/b", "digest": "0"}), 1795710600.0),
        (json.dumps({"folder": "/b"}), None),
        (json.dumps(["finished_at"]), None),
        (json.dumps({"finished_at": 3}), None),
        (json.dumps({"finished_at": "9999-12-31T23:59:59-23:59", "folder": "/b"}), 253402387139.0),
        ("[" * 50_000, None),
        ("[1]" * 50_000, None),
        ("not JSON", None),
        (None, None),
    ],
)
def test_the_newest_backup_is_told_by_its_time(tmp_path: Path, named: str | None, told: float | None) -> None:
    if named is not None:
        (tmp_path / LAST_BACKUP).write_text(named)
    assert last_backup_s(tmp_path) == told


def test_a_pipe_in_the_place_of_the_newest_backups_name_holds_nothing_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / LAST_BACKUP)
    assert last_backup_s(tmp_path) is None


async def test_a_backup_that_is_made_meanwhile_is_told(live: Live, tmp_path: Path) -> None:
    now_s = [0.0]
    told = exposition(live, data_dir=tmp_path, clock=lambda: now_s[0])
    name = "less_sync_last_backup_timestamp_seconds"
    assert scrape(told.text()).value(name) is None
    named = {"finished_at": "2026-11-26T16:30:00Z", "folder": "/b"}
    (tmp_path / LAST_BACKUP).write_text(json.dumps(named))
    now_s[0] += AGE_S_MAX
    assert scrape(told.text()).value(name) == 1795710600


async def test_however_many_ask_the_text_is_made_once_a_second(live: Live) -> None:
    now_s = [100.0]
    told = exposition(live, clock=lambda: now_s[0])
    first = told.text()
    client = await live.connect()
    await client.push(change())
    now_s[0] += AGE_S_MAX / 2
    assert told.text() is first
    now_s[0] += AGE_S_MAX / 2
    assert scrape(told.text()).value("less_sync_rpc_total", method="push", code="ok") == 1
