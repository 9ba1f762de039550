"""The page of metrics: its form, its names, and the small listener that serves and pushes it."""

import asyncio
import re
from contextlib import suppress
from pathlib import Path

from less_sync.volume.counters import Counters
from less_sync.volume.engine.reports import DiskReport
from less_sync.volume.metrics import PREFIX, State, render
from less_sync.volume.metrics_listener import CONNECTIONS_MAX, MetricsListener, push
from tests.volume.master.test_digest import FIRST, SECOND

PAGE = (Path(__file__).parents[2] / "docs" / "volume.md").read_text()


def page() -> str:
    counters = Counters()
    counters.requests["GET", 200] += 3
    counters.requests["INVALID", 400] += 1
    counters.request_durations["GET"].add(150_000)
    counters.request_durations["GET"].add(10**15)
    counters.handlers["errorGetNotFound"] += 2
    counters.master_disconnections['odd"\\\nname'] += 1
    counters.replications["write", "success"] += 4
    counters.read_failures = 5
    counters.connections_refused = 6
    counters.heads_refused = 7
    with counters.vacuuming("compact"):
        pass
    with suppress(ValueError), counters.vacuuming("compact"):
        raise ValueError
    state = State(
        volumes=[FIRST, SECOND._replace(read_only=True, deleted_bytes=3)],
        disks=[
            DiskReport(0, "", (), 7, 7, 100, 40, "u"),
            DiskReport(1, "ssd", (), 1, 1, 0, 0, "v", healthy=False),
        ],
        directories=["/a", "/b"],
        upload_bytes=1,
        download_bytes=2,
        upload_bytes_max=3,
        download_bytes_max=0,
        started_s=1.5,
        version="4.44",
        size_limit="30GB",
    )
    return render(counters, state)


def test_every_line_is_in_the_text_format_and_every_family_has_help_and_type() -> None:
    label = r'[a-z]+="(?:[^"\\\n]|\\["\\n])*"'
    sample = re.compile(rf"[A-Za-z_]+(\{{{label}(,{label})*\}})? [0-9.e+-]+")
    lines = page().splitlines()
    assert [one for one in lines if not one.startswith("# ") and not sample.fullmatch(one)] == []
    helped = [one.split()[2] for one in lines if one.startswith("# HELP")]
    assert helped == [one.split()[2] for one in lines if one.startswith("# TYPE")]
    assert len(helped) == len(set(helped))


def test_figures_stand_where_they_belong() -> None:
    lines = set(page().splitlines())
    for expected in (
        'request_total{code="200",type="GET"} 3',
        'request_total{code="400",type="INVALID"} 1',
        'request_seconds_bucket{type="GET",le="0.0001"} 0',
        'request_seconds_bucket{type="GET",le="0.0002"} 1',
        'request_seconds_bucket{type="GET",le="+Inf"} 2',
        'request_seconds_count{type="GET"} 2',
        'handler_total{type="errorGetNotFound"} 2',
        "in_flight_upload_size 1",
        "in_flight_download_size 2",
        "concurrent_upload_limit 3",
        'volumes{collection="c",type="volume"} 1',
        'read_only_volumes{collection="",type="IsReadOnly"} 1',
        'total_disk_size{collection="",type="deleted_bytes"} 3',
        "max_volumes 8",
        'resource{name="/a",type="used"} 60',
        'disk_error_status{name="/b",type="error"} 1',
        r'master_disconnections{address="odd\"\\\nname"} 1',
        'replication_operations_total{operation="write",result="success"} 4',
        "file_read_failures 5",
        "connections_refused 6",
        "heads_refused 7",
        'vacuuming_compact_count{success="true"} 1',
        'vacuuming_compact_count{success="false"} 1',
        'vacuuming_seconds_count{type="compact"} 2',
        "start_time_seconds 1.5",
    ):
        assert PREFIX + expected in lines


def test_the_page_of_the_documentation_lists_every_metric_and_no_other() -> None:
    section = PAGE.partition("### 9.4 Metrics\n")[2].partition("\n## ")[0]
    cells = re.findall(r"^\| (`.*?) \|", section, flags=re.MULTILINE)
    served = {line.split()[2] for line in page().splitlines() if line.startswith("# TYPE")}
    assert served == {PREFIX + name for name in re.findall(r"`(\w+)`", "".join(cells))} | {
        "SeaweedFS_build_info"
    }


async def asked(port: int, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    try:
        return await asyncio.wait_for(reader.read(), 10)
    except ConnectionResetError:  # closed before all of it was read
        return b""
    finally:
        writer.close()


async def test_the_listener_answers_for_its_one_path_and_closes() -> None:
    listener = MetricsListener(lambda: "figures\n")
    port = await listener.start("127.0.0.1", 0)
    got = await asked(port, b"GET /metrics?x=1 HTTP/1.1\r\nHost: a\r\n\r\n")
    head = await asked(port, b"HEAD /metrics HTTP/1.1\r\n\r\n")
    assert got.endswith(b"Content-Length: 8\r\nConnection: close\r\n\r\nfigures\n")
    assert head == got.removesuffix(b"figures\n")
    assert (await asked(port, b"GET / HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 404 ")
    assert (await asked(port, b"POST /metrics HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 405 ")
    assert await asked(port, b"GET /metrics" + b"x" * 100_000) == b""
    await listener.stop()


async def test_connections_that_say_nothing_are_bounded() -> None:
    listener = MetricsListener(lambda: "")
    port = await listener.start("127.0.0.1", 0)
    silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(CONNECTIONS_MAX)]
    await asyncio.sleep(0.01)
    assert await asked(port, b"GET /metrics HTTP/1.1\r\n\r\n") == b""
    await listener.stop()
    for _, writer in silent:
        writer.close()
        await writer.wait_closed()


async def test_the_page_is_pushed_to_a_gateway_again_after_a_failure() -> None:
    heard: asyncio.Queue[bytes] = asyncio.Queue()

    async def gateway(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        heard.put_nowait(head + await reader.readexactly(8))
        writer.write(b"HTTP/1.1 202 Accepted\r\n\r\n" if heard.qsize() else b"")
        writer.close()

    server = await asyncio.start_server(gateway, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    pushing = asyncio.create_task(push(lambda: "figures\n", f"127.0.0.1:{port}", 15, "h:1"))
    sent = await asyncio.wait_for(heard.get(), 10)
    assert sent.startswith(b"PUT /metrics/job/volumeServer/instance/h%3A1 HTTP/1.1\r\n")
    assert sent.endswith(b"\r\n\r\nfigures\n")
    await asyncio.sleep(0.01)
    assert not pushing.done()
    pushing.cancel()
    with suppress(asyncio.CancelledError):
        await pushing
    server.close()
