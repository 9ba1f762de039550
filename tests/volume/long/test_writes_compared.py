"""Uploads of every odd kind, to our server and to the real one: both make the same of each."""

from collections.abc import Iterator
from typing import NamedTuple

import pytest

from tests.volume.cluster import Cluster
from tests.volume.raw_http import Answer, request

OURS, REAL = 33333, 44444
"""The volumes; both have one copy, on the server of the same index."""


class Sent(NamedTuple):
    method: str
    headers: list[tuple[str, str]]
    body: bytes
    query: str = "?ts=5"


def _raw(*headers: tuple[str, str], body: bytes = b"x", query: str = "?ts=5") -> Sent:
    return Sent("PUT", list(headers), body, query)


def _typed(type_: str, body: bytes = b"x", method: str = "POST") -> Sent:
    return Sent(method, [("Content-Type", type_)], body)


def _form(body: bytes, query: str = "?ts=5") -> Sent:
    return Sent("POST", [("Content-Type", "multipart/form-data; boundary=B")], body, query)


def _file(disposition: bytes, *more: bytes) -> Sent:
    head = b"\r\n".join([b"Content-Disposition: form-data; " + disposition, *more])
    return _form(b"--B\r\n" + head + b"\r\n\r\nx\r\n--B--")


def _named(disposition: str) -> Sent:
    return _raw(("Content-Type", "a/b"), ("Content-Disposition", disposition))


FORM_TYPE = "application/x-www-form-urlencoded"
UPLOADS: dict[str, Sent] = {
    "blank first": _form(b"--B\r\n A: x\r\n\r\nx\r\n--B--"),
    "tab, quote and a byte first": _form(b'--B\r\n\tA"\xff: x\r\n\r\nx\r\n--B--'),
    "last boundary only": _form(b"--B--"),
    "long line before": _form(b"x" * 6000 + b"\n--B\r\n\r\nx\r\n--B--"),
    "line feeds": _form(b'--B\nContent-Disposition: form-data; name="f"; filename="a"\n\nx\n--B--\n'),
    "quoted-printable": _form(
        b"--B\r\nContent-Transfer-Encoding: Quoted-Printable\r\n\r\na=3Db=\r\nc\r\n--B--"
    ),
    "bad quoted-printable": _form(
        b"--B\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\na=zz  \r\nc\r\n--B--"
    ),
    "two types": _form(b"--B\r\nContent-Type: a/b\r\nContent-Type: c/d\r\n\r\nx\r\n--B--"),
    "manifest in a form": _form(b"--B\r\nContent-Type: a/b\r\n\r\n{}\r\n--B--", "?cm=true"),
    "name is a slash": _file(b'name="f"; filename="/"'),
    "name is two dots": _file(b'name="f"; filename=".."'),
    "name is an extension": _file(b'name="f"; filename=".jpg"'),
    "name in capitals": _file(b'name="f"; filename="A.JPG"', b"Content-Type: application/octet-stream"),
    "octets without a known name": _file(
        b'name="f"; filename="a.bin"', b"Content-Type: application/octet-stream"
    ),
    "type that the name says": _file(b'name="f"; filename="a.png"', b"Content-Type: image/png"),
    "name in pieces": _file(b"name=f; filename*0=a; filename*1*=%20b; filename*2=.txt"),
    "name in Latin-1": _file(b"name=f; filename*=iso-8859-1''%e4"),
    "empty boundary": _typed('multipart/form-data; boundary=""'),
    "boundary without a value": _typed("multipart/form-data; boundary"),
    "two boundaries": _typed("multipart/form-data; boundary=a; boundary=b"),
    "mixed": _typed('multipart/mixed; boundary="form-data"', b"--form-data\r\n\r\nx\r\n--form-data--"),
    "bad parameter": _typed("a/b; c", method="PUT"),
    "bad type": _typed(";", method="PUT"),
    "empty type, put": _typed("", method="PUT"),
    "empty type, post": _typed(""),
    "no type, name by path": Sent("PUT", [], b"x", ".txt"),
    "form-encoded put": _typed(FORM_TYPE, b"ts=7&ttl=3m", "PUT"),
    "form-encoded and bad": _typed(FORM_TYPE, b"a=1;b=2"),
    "named by disposition": _named("attachment; filename=a.txt"),
    "named by name": _named("name=q"),
    "named with a path": _named('attachment; filename="a/b/"'),
    "named with backslashes": _named('inline; filename="C:\\d\\e.f"'),
    "named by form-data": _named('form-data; name="q"'),
    "named by star alone": _named("attachment; filename*=utf-8''a.txt"),
    "named twice": _named("attachment; name=n; filename*=utf-8''a%20b.txt"),
    "gzip that is none": _raw(("Content-Encoding", "gzip"), ("Content-MD5", "x"), body=b"no gzip"),
    "encoding in capitals": _raw(("Content-Type", "text/plain"), ("Content-Encoding", "GZIP")),
    "two times": _raw(("Content-Type", "a/b"), query="?ts=1&ts=2"),
    "time of a sign": _raw(("Content-Type", "a/b"), ("Seaweed-a-B", "1"), query="?ts=5&ttl=%2b3m"),
    "bad escape": _raw(query="?a=%41%4"),
    "bad escape in a name": _raw(query="?%zz"),
    "semicolon": _raw(query="?a;b"),
    "empty parts": _raw(("Content-Type", "a/b"), query="?&&ts=5&"),
}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("cluster"), "ours", "weed", offset_bytes=4) as cluster:
        cluster.allocate(OURS, servers=(0,))
        cluster.allocate(REAL, servers=(1,))
        yield cluster


def _told(answer: Answer, volume: int, *, has_time: bool) -> tuple[object, ...]:
    """Everything but the volume, a time that is now, and what every answer of a server has."""
    names = ["content-type", "content-disposition", "etag", "content-md5", "a-b"]
    names += ["last-modified"] if has_time else []
    headers = tuple((answer.header(name) or "").replace(f"{volume},", "V,") for name in names)
    return answer.status, answer.body.replace(b"%d," % volume, b"V,"), headers


@pytest.mark.parametrize("name", UPLOADS)
def test_both_servers_make_the_same_of_an_upload(cluster: Cluster, name: str) -> None:
    sent, key = UPLOADS[name], list(UPLOADS).index(name) + 1
    found = []
    for server, volume in ((0, OURS), (1, REAL)):
        place, path = cluster.servers[server].admin, f"/{volume},{key:x}00000001"
        stored = request(place, sent.method, path + sent.query, sent.headers, sent.body)
        read = request(place, "GET", path)
        has_time = "ts=" in sent.query
        found.append([_told(answer, volume, has_time=has_time) for answer in (stored, read)])
    assert found[0] == found[1]
