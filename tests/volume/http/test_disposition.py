"""File names in `Content-Disposition`."""

import pytest

from less_sync.volume.http.disposition import content_disposition


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("hello.txt", "filename=hello.txt"),
        ("!#$%&'*+-.^_`{|}~", "filename=!#$%&'*+-.^_`{|}~"),
        ("3,01637037d6", 'filename="3,01637037d6"'),
        ("a b", 'filename="a b"'),
        ("a\tb", 'filename="a\tb"'),
        ('a"b\\c', 'filename="a\\"b\\\\c"'),
        ("a;b", 'filename="a;b"'),
        ("caf\u00e9 (1)*'%.txt", "filename*=utf-8''caf%C3%A9%20%281%29%2A%27%25.txt"),
        ("\x00/\r\n\x7f~!#$&+-.^_`{|}", "filename*=utf-8''%00%2F%0D%0A%7F~!#$&+-.^_`{|}"),
        (b"\xff\xfe".decode(errors="surrogateescape"), "filename*=utf-8''%FF%FE"),
    ],
)
def test_a_name_is_bare_quoted_or_encoded(name: str, expected: str) -> None:
    assert content_disposition(name) == f"inline; {expected}"


@pytest.mark.parametrize("text", ["1", "t", "T", "TRUE", "true", "True"])
def test_a_download_is_an_attachment(text: str) -> None:
    assert content_disposition("a", text) == "attachment; filename=a"


@pytest.mark.parametrize("text", ["", "0", "yes", "tRue", "on", "false"])
def test_another_text_shows_the_file_inline(text: str) -> None:
    assert content_disposition("a", text) == "inline; filename=a"
