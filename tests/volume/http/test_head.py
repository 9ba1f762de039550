"""Heads of requests, without a socket."""

import re

import pytest

from less_sync.volume.http.head import BadHead, find_end, parse_head
from less_sync.volume.http.paths import NOTHING, Named, clean, escape_path, is_unclean, split_path, write_fid


def head(line: str, *headers: str) -> bytes:
    return "\r\n".join([line, *headers, "", ""]).encode("latin-1")


def test_a_head_is_taken_apart() -> None:
    request = parse_head(head("PUT /3%2C01?a=b&a=c HTTP/1.1", "Host: h", "X-A:  b \t", "x-a: c", "Empty:"))
    assert (request.method, request.path, request.query) == ("PUT", "/3,01", "a=b&a=c")
    assert request.target == b"/3%2C01?a=b&a=c"
    assert request.headers == [(b"host", b"h"), (b"x-a", b"b"), (b"x-a", b"c"), (b"empty", b"")]
    assert request.header(b"x-a") == b"b"
    assert request.header(b"x-b") is None
    assert request.param("a") == "b"
    assert request.keep_alive
    assert request.content_length == 0


@pytest.mark.parametrize(
    ("raw", "end"),
    [
        (b"GET / HTTP/1.1\r\n\r\nrest", 18),
        (b"GET / HTTP/1.1\n\nrest\r\n\r\n", 16),
        (b"GET / HTTP/1.1\n\r\nrest\n\n", 17),
        (b"GET / HTTP/1.1\r\n", -1),
        (b"GET / HTTP/1.1\r\nA: b\r", -1),
    ],
)
def test_the_end_of_a_head_is_found(raw: bytes, end: int) -> None:
    assert find_end(bytearray(raw), 0, len(raw)) == end


@pytest.mark.parametrize(
    "raw",
    [
        b"GARBAGE\r\n\r\n",
        b"GET /\r\n\r\n",
        b"GET  / HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET / HTTP/1.1 \r\nHost: h\r\n\r\n",
        b"G@T / HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET x HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET ?a=b HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET * HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET /%zz HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET /%4 HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET /\x7f HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nno colon\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nA b: c\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nA : c\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\n: c\r\n\r\n",
        b"GET / HTTP/1.1\r\n folded: first\r\nHost: h\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nA: b\x00c\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nA: b\rc\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nContent-Length: +1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 1_0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nContent-Length:\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 9999999999999999999\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    ],
)
def test_what_is_no_head_is_400_and_nothing_else(raw: bytes) -> None:
    with pytest.raises(BadHead) as caught:
        parse_head(raw)
    assert caught.value.encode() == (
        b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n"
        b"400 Bad Request"
    )


@pytest.mark.parametrize(
    ("raw", "status", "reason"),
    [
        (head("GET / HTTP/1.1"), 400, "Bad Request: missing required Host header"),
        (head("GET / HTTP/1.1", "Host: a", "Host: b"), 400, "Bad Request: too many Host headers"),
        (head("GET / HTTP/2.0", "Host: a"), 505, "HTTP Version Not Supported: unsupported protocol version"),
        (head("GET / HTTP/1.1", "Host: a", "Transfer-Encoding: gzip, chunked"), 501, "Not Implemented"),
        (head(f"GET /{'%41' * 22_000} HTTP/1.1", "Host: a"), 414, "Request URI Too Long"),
        (head("GET / HTTP/1.1", "Host: a", *["a:"] * 2_000), 431, "Request Header Fields Too Large"),
        # Searching again from every blank would take hours.
        (head("GET / HTTP/1.1", "Host: a", f"X: {' ' * (1 << 20)}x\0"), 400, "Bad Request"),
    ],
)
def test_other_refusals_tell_why(raw: bytes, status: int, reason: str) -> None:
    with pytest.raises(BadHead) as caught:
        parse_head(raw)
    assert (caught.value.status, caught.value.reason) == (status, reason)


@pytest.mark.parametrize(
    ("line", "headers", "keeps"),
    [
        ("GET / HTTP/1.1", ["Host: h"], True),
        ("GET / HTTP/1.1", ["Host: h", "Connection: Close"], False),
        ("GET / HTTP/1.0", [], False),
        ("GET / HTTP/1.0", ["Connection: Keep-Alive"], True),
        ("PUT / HTTP/1.1", ["Host: h", "Transfer-Encoding: chunked", "Content-Length: 5"], False),
        ("PUT / HTTP/1.0", ["Connection: keep-alive", "Transfer-Encoding: chunked"], False),
    ],
)
def test_a_connection_is_kept_or_not(line: str, headers: list[str], *, keeps: bool) -> None:
    assert parse_head(head(line, *headers)).keep_alive == keeps


def test_a_body_is_announced_by_its_length_or_as_chunked() -> None:
    assert parse_head(head("PUT / HTTP/1.1", "Host: h", "Content-Length: 7")).content_length == 7
    twice = ["Content-Length: 7", "Content-Length: 7"]
    assert parse_head(head("PUT / HTTP/1.1", "Host: h", *twice)).content_length == 7
    assert parse_head(head("PUT / HTTP/1.1", "Host: h", "Transfer-Encoding: Chunked")).content_length is None
    # HTTP/1.0 has no chunked bodies: the header means nothing there.
    ancient = head("PUT / HTTP/1.0", "Transfer-Encoding: chunked", "Content-Length: 3")
    assert parse_head(ancient).content_length == 3


def test_unusual_targets_and_methods_are_taken() -> None:
    assert parse_head(head("get http://a.b:1/c?d=e HTTP/1.1", "Host: h")).path == "/c"
    assert parse_head(head("GET http://a.b HTTP/1.1", "Host: h")).path == "/"
    assert parse_head(head("CONNECT a.b:1 HTTP/1.1", "Host: h")).path == ""
    assert parse_head(head("OPTIONS * HTTP/1.1", "Host: h")).path == "*"
    assert parse_head(head("M-SEARCH /\xff\xfe HTTP/1.1", "Host: h")).path == "/\udcff\udcfe"


def test_continued_header_lines_are_joined() -> None:
    request = parse_head(head("GET / HTTP/1.1", "Host: h", "A: b", " \tc", "D: e"))
    assert request.header(b"a") == b"b c"
    assert request.header(b"d") == b"e"


def test_a_query_is_read_as_far_as_it_can_be() -> None:
    request = parse_head(head("GET /?a=1+2&b=%zz&c;d=1&=x&e&f=%C3%A9&f=2 HTTP/1.1", "Host: h"))
    assert request.params == {"a": ["1 2"], "": ["x"], "e": [""], "f": ["é", "2"]}


def test_request_ids_are_24_upper_case_digits_and_never_the_same() -> None:
    found = {parse_head(head("GET / HTTP/1.1", "Host: h")).request_id for _ in range(100)}
    assert len(found) == 100
    assert all(re.fullmatch("[0-9A-F]{24}", one) for one in found)


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("/3,01637037d6", Named("3", "01637037d6", "", "")),
        ("/3,01637037d6.jpg", Named("3", "01637037d6", "", ".jpg")),
        ("/a,3,01.b.c", Named("a,3", "01.b", "", ".c")),
        ("/3/01637037d6", Named("3", "01637037d6", "", "")),
        ("/3/01637037d6.jpg", Named("3", "01637037d6", "", ".jpg")),
        ("/3/.jpg", Named("3", ".jpg", "", "")),
        ("/3/01637037d6/a.b.png", Named("3", "01637037d6", "a.b.png", ".png")),
        ("/3/01637037d6.x/name", Named("3", "01637037d6.x", "name", "")),
        ("/metrics", Named("metrics", "", "", "")),
        ("/", Named("", "", "", "")),
        ("/a/b/c/d", Named("d", "", "", "")),
        ("/a/b/c/3,01637037d6", NOTHING),
        ("/1.5,01637037d6", NOTHING),
        ("*", Named("*", "", "", "")),
    ],
)
def test_a_path_names_a_volume_and_a_needle(path: str, named: Named) -> None:
    assert split_path(path) == named


@pytest.mark.parametrize(
    ("path", "fid"),
    [
        ("/3,01637037d6", "01637037d6"),
        ("/3,01637037d6.jpg", "01637037d6"),
        ("/3/0b637037d6", "/3/0b637037d6"),
        ("/a.b/3,01", "01"),
        ("/3.5,01", "01"),
    ],
)
def test_a_write_takes_what_is_behind_the_last_comma(path: str, fid: str) -> None:
    assert write_fid(path) == fid


@pytest.mark.parametrize(
    ("path", "cleaned"),
    [
        ("//3,01", "/3,01"),
        ("/x/../3,01", "/3,01"),
        ("/../../a", "/a"),
        ("/a/./b/", "/a/b/"),
        ("/..", "/"),
        ("/a//", "/a/"),
    ],
)
def test_unclean_paths_are_cleaned(path: str, cleaned: str) -> None:
    assert is_unclean(path)
    assert clean(path) == cleaned


@pytest.mark.parametrize("path", ["/", "/3,01", "/a/b/", "/.a/b..c/...", "/a/.b"])
def test_clean_paths_stay(path: str) -> None:
    assert not is_unclean(path)


def test_a_path_is_escaped_as_in_a_url() -> None:
    assert escape_path("/a b/é?\udcff,~") == "/a%20b/%C3%A9%3F%FF,~"
