"""Multipart bodies, scanned where they lie."""

import pytest

from less_sync.volume.http.multipart import (
    MultipartError,
    boundary_of,
    last_element,
    scan,
    scan_any,
    scan_usual,
)

ROOM = 32


def _scanned(body: bytes, boundary: bytes = b"B") -> tuple[bytes, bytes, bytes, dict[str, str]]:
    """Content, name and type of the file, and the fields."""
    buffer = bytearray(ROOM) + body + bytes(ROOM)
    form = scan(buffer, ROOM, ROOM + len(body), boundary)
    return bytes(buffer[form.file.start : form.file.end]), form.file.file_name, form.file.mime, form.fields


def _part(disposition: str, content: bytes, *more: str) -> bytes:
    head = "\r\n".join([f"Content-Disposition: {disposition}", *more])
    return b"--B\r\n" + head.encode() + b"\r\n\r\n" + content + b"\r\n"


FILE = 'form-data; name="file"; filename="a.txt"'
TAB = 'form-data; name="f/i\tle"; filename="a\t.txt"'
FILE_LINE = f"Content-Disposition: {FILE}".encode()


@pytest.mark.parametrize(
    ("disposition", "name"),
    [
        (FILE, b"a.txt"),
        ('form-data; filename="a.txt"; name=file', b"a.txt"),
        ("form-data; name=file; filename=a.txt", b"a.txt"),
        ("form-data; name=file; filename*=utf-8''K%C3%A4se.txt", "Käse.txt".encode()),
        ('form-data; name=file; filename="C:\\dir\\a.jpg"', b"a.jpg"),
        ('form-data; name=file; filename="../../etc/passwd"', b"passwd"),
        ('form-data; name=file; filename="a\\"b.txt"', b'a"b.txt'),
        ('form-data; name="file"; filename=""', b""),
        ("form-data; name=file; filename", b""),
        ("attachment; filename=x", b"x"),
    ],
)
def test_the_name_of_a_file_is_the_last_element_of_what_was_sent(disposition: str, name: bytes) -> None:
    assert _scanned(_part(disposition, b"data") + b"--B--\r\n")[:2] == (b"data", name)


@pytest.mark.parametrize(
    ("path", "element"),
    [
        (b"a", b"a"),
        (b"a/b", b"b"),
        (b"a/", b"a"),
        (b"/", b"/"),
        (b"\\", b"/"),
        (b"a\\b/c", b"c"),
        (b"..", b".."),
    ],
)
def test_the_last_element_of_a_path(path: bytes, element: bytes) -> None:
    assert last_element(path) == element


@pytest.mark.parametrize(
    "content", [b"", b"\r\n", b"\r\n--", b"--B", b"x\r\n--Bx", b"\r\n--B-", b"\n--B--\r\n"]
)
def test_what_only_looks_like_a_boundary_is_content(content: bytes) -> None:
    if content == b"--B":
        content = b"x--B"
    assert _scanned(_part(FILE, content) + b"--B--\r\n")[0] == content


@pytest.mark.parametrize(
    "end", [b"--B--\r\n", b"--B--", b"--B-- \t\r\n", b"--B--\r\nepilogue", b"--B\r\n", b"--B"]
)
def test_a_content_ends_at_its_boundary_whatever_follows(end: bytes) -> None:
    assert _scanned(_part(FILE, b"data") + end)[0] == b"data"


def test_lines_may_end_without_carriage_returns() -> None:
    body = _part(FILE, b"data\r\nmore").replace(b"\r\n", b"\n") + b"--B--\n"
    assert _scanned(body)[:2] == (b"data\nmore", b"a.txt")


def test_an_empty_content_needs_no_line_end() -> None:
    assert _scanned(f"--B\r\nContent-Disposition: {FILE}\r\n\r\n--B--\r\n".encode())[:2] == (b"", b"a.txt")


def test_the_first_part_with_a_name_is_the_file() -> None:
    note, file = _part("form-data; name=note", b"first"), _part(FILE, b"second", "Content-Type: a/b")
    later = _part('form-data; name=x; filename="b"', b"third")
    assert _scanned(note + file + later + b"--B--")[:3] == (b"second", b"a.txt", b"a/b")
    assert _scanned(note + note.replace(b"first", b"other") + b"--B--")[:2] == (b"first", b"")


def test_fields_are_read_before_and_behind_the_file_and_the_first_counts() -> None:
    fields = [_part(f"form-data; name={name}", value) for name, value in (("ts", b"7"), ("ttl", b"3d"))]
    behind = _part("form-data; name=ts", b"8") + _part("form-data; name=cm", b"1" * 257)
    assert _scanned(b"".join(fields) + _part(FILE, b"data") + behind + b"--B--")[3] == {
        "ts": "7",
        "ttl": "3d",
    }


def test_what_is_malformed_behind_the_file_does_not_matter() -> None:
    body = _part("form-data; name=ts", b"7") + _part(FILE, b"data") + b"--B\r\nnonsense\r\n\r\n"
    assert _scanned(body)[::3] == (b"data", {"ts": "7"})


def test_quoted_printable_is_decoded_in_place() -> None:
    body = _part(FILE, b"a=3Db=\r\nc", "Content-Transfer-Encoding: Quoted-Printable") + b"--B--"
    assert _scanned(body)[0] == b"a=bc"


def test_blanks_before_a_line_end_are_no_part_of_quoted_printable() -> None:
    body = _part(FILE, b"a=zz \t\r\nb \nc ", "Content-Transfer-Encoding: quoted-printable") + b"--B--"
    assert _scanned(body)[0] == b"a=zz\r\nb\nc"
    with pytest.raises(MultipartError, match="quoted-printable: more than 1048576 bytes"):
        _scanned(_part(FILE, bytes(1 << 20) + b"x", "Content-Transfer-Encoding: quoted-printable") + b"--B--")


def test_of_a_repeated_header_the_first_counts() -> None:
    body = _part(
        'form-data; filename="unfinished', b"x", "Content-Type: a/b", FILE_LINE.decode(), "Content-Type: c/d"
    )
    assert _scanned(body + b"--B--")[:3] == (b"x", b"", b"a/b")


def test_a_name_with_a_blank_in_it_is_tolerated_and_means_nothing() -> None:
    assert _scanned(b"--B\r\nContent Type: a/b\r\n%b\r\n\r\nx\r\n--B--" % FILE_LINE)[:3] == (
        b"x",
        b"a.txt",
        b"",
    )


def test_a_folded_header_is_one() -> None:
    body = b'--B\r\nContent-Disposition: form-data;\r\n  name="file";\r\n\tfilename="f"\r\n\r\nx\r\n--B--'
    assert _scanned(body)[:2] == (b"x", b"f")


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"", "multipart: NextPart: EOF"),
        (b"nothing", "multipart: NextPart: EOF"),
        (b"--B--\r\n", "EOF"),
        (b"--B--", "EOF"),
        (b"--C\r\n\r\nx\r\n--C--", "multipart: NextPart: EOF"),
        (b"x" * 6000 + b"\n--B\r\n\r\nx\r\n--B--", "multipart: NextPart: bufio: buffer full"),
        (b"--B\r\n\r\nunfinished", "unexpected EOF"),
        (b"--B\r\n", "EOF"),
        (b"--B\r\nContent-Type: a/b\r\n", "EOF"),
        (b"--B\r\nContent-Ty", 'malformed MIME header: missing colon: "Content-Ty"'),
        (b"--B\r\n\r\nx\r\n--B\r\n%b\r\n\r\nunfinished" % FILE_LINE, "unexpected EOF"),
        (b"--B\r\nno colon\r\n\r\nx\r\n--B--", 'malformed MIME header: missing colon: "no colon"'),
        (b"--B\r\n: x\r\n\r\nx\r\n--B--", 'malformed MIME header line: ": x"'),
        (b'--B\r\na-B: \x01"\xff\r\n\r\nx\r\n--B--', r'malformed MIME header line: "A-B: \x01\"\xff"'),
        (b"--B\r\n A: x\r\n\r\nx\r\n--B--", 'malformed MIME header initial line: " A: x"'),
        (b"--B\r\nA: " + b"x" * (64 << 10) + b"\r\n\r\nx\r\n--B--", "multipart: message too large"),
    ],
)
def test_a_body_without_a_whole_file_is_refused(body: bytes, error: str) -> None:
    with pytest.raises(MultipartError) as refused:
        _scanned(body)
    assert str(refused.value) == error


@pytest.mark.parametrize(
    "body",
    [
        b"\n" * 100_000 + b"--B\r\n\r\nx\r\n--B--",
        b"--B\r\n\r\n" * 100_000 + b"--B--",
        b"--B\r\n\r\n" + b"\r\n--Bx" * 100_000 + b"\r\n--B--",
        b"".join([b"--B\r\n", b"A:\r\n" * 1000, b"\r\n\r\n"]) * 100 + b"--B--",
    ],
    ids=["lines", "parts", "lookalikes", "headers"],
)
def test_a_body_of_nothing_but_work_is_given_up(body: bytes) -> None:
    with pytest.raises(MultipartError, match="multipart: message too large"):
        _scanned(body + _part(FILE, b"x"))


def test_work_behind_the_file_is_given_up_and_the_file_kept() -> None:
    body = _part(FILE, b"data") + b"--B\r\n\r\n" * 100_000 + b"--B--"
    assert _scanned(body)[:2] == (b"data", b"a.txt")


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        (b"multipart/form-data; boundary=B", b"B"),
        (b'Multipart/Form-Data ; charset=x; BOUNDARY="a b"', b"a b"),
        (b"multipart/mixed; boundary=B;", b"B"),
    ],
)
def test_a_boundary_is_read(content_type: bytes, boundary: bytes) -> None:
    assert boundary_of(content_type) == boundary


@pytest.mark.parametrize(
    ("content_type", "error"),
    [
        (None, "request Content-Type isn't multipart/form-data"),
        (b"application/form-data", "request Content-Type isn't multipart/form-data"),
        (b"multipart/form-data; boundary=a; boundary=b", "request Content-Type isn't multipart/form-data"),
        (b"multipart/form-data; x", "request Content-Type isn't multipart/form-data"),
        (b"multipart/form-data", "no multipart boundary param in Content-Type"),
        (b'multipart/form-data; boundary=""', "multipart: boundary is empty"),
    ],
)
def test_a_type_without_boundary_is_refused(content_type: bytes | None, error: str) -> None:
    with pytest.raises(MultipartError) as refused:
        boundary_of(content_type)
    assert str(refused.value) == error


@pytest.mark.parametrize("more", [(), ("Content-Type: a/b",), ("content-type:a/b",), ("Idempotency-Key: k",)])
@pytest.mark.parametrize("content", [b"", b"data", b"--B--", b"\r\n--Bx", b"--B", b"\r\n--B--\r\n"])
def test_the_short_way_tells_what_the_long_one_tells(content: bytes, more: tuple[str, ...]) -> None:
    for sent in (FILE, "form-data; filename=a.txt; name=file", "form-data; filename=a%62'*; name=file", TAB):
        body = _part(sent, content, *more) + b"--B--\r\n"
        buffer = bytearray(ROOM) + body + bytes(ROOM)
        at = (buffer, ROOM, ROOM + len(body), b"B")
        short, long = scan(*at), scan_any(*at)
        long.file.field_name = short.file.field_name
        assert short == long
    for odd in (FILE.replace("a.", "a\x1f."), FILE.replace("le", "\x7f")):
        body = _part(odd, content, *more) + b"--B--\r\n"
        assert scan_usual(bytearray(body), 0, len(body), b"B") is None
    is_usual = content == b"data" and "e:a" not in str(more)
    assert scan_usual(*at) is not None or not is_usual
