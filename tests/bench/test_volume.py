"""The bench of the volume server in small, and what it counts by."""

import itertools
import socket
import threading
from pathlib import Path

import pytest

from tests.bench.volume import SMALL, measure
from tests.bench.volume_load import Flood, WrongAnswer, first_answer, gets, path, puts
from tests.bench.volume_rows import ROWS, Pair, table


async def test_every_row_of_the_volume_bench_runs(tmp_path: Path) -> None:
    results = await measure(tmp_path, SMALL._replace(rounds=1), ROWS.keys())
    assert list(results) == list(ROWS)
    assert all(len(pairs) == 1 for pairs in results.values())
    assert all(pair.ours > 0 for name in ROWS if ROWS[name].is_ratio for pair in results[name])
    assert [line.split(" | ")[0] for line in table(results).splitlines()[2:]] == [
        f"| {name}" for name in ROWS
    ]


def test_the_table_says_which_rows_were_missed() -> None:
    ratio, alone = "GET 1 KiB", "start to ready"
    printed = table({ratio: [Pair(100, 119), Pair(100, 90), Pair(100, 300)], alone: [Pair(0.1, 0.4)]})
    assert "| 1.19 (0.90-3.00) | ≥ 1.2 | NO |" in printed
    assert "| 4.00 (4.00-4.00) | ≤ 0.4 s | yes |" in printed


def test_every_request_of_a_run_is_as_long_as_the_first_and_writes_another_file() -> None:
    written = list(itertools.islice(puts(3, 0, 5, b"hello"), 1000))
    assert len({len(request) for request in written}) == 1
    assert len(set(written)) == 1000
    assert [request.split(b" ")[1] for request in written[:5]] == [path(3, key).encode() for key in range(5)]
    assert [request.split(b" ")[1] for request in gets(3, 5)] == [path(3, key).encode() for key in range(5)]


@pytest.mark.parametrize(
    "second",
    [
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhell",
        b"",
    ],
)
def test_a_flood_fails_on_an_answer_that_is_not_like_the_first(second: bytes) -> None:
    good = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            for answer in (good, good + second):
                connection, _ = listener.accept()
                with connection:
                    connection.recv(1000)
                    connection.sendall(answer)

        server = threading.Thread(target=serve)
        server.start()
        port = listener.getsockname()[1]
        status, length = first_answer(port, b"GET / HTTP/1.1\r\n\r\n")
        assert (status, length) == (b"200", len(good))
        flood = Flood(port, 1, status, length)
        with pytest.raises((WrongAnswer, OSError)):
            flood.run(itertools.repeat(b"GET / HTTP/1.1\r\n\r\n"), 3)
        flood.close()
        server.join()
