"""The type of a file by its first bytes."""

import pytest

from less_sync.volume.http.sniff import sniff

_HTML_TAGS = [
    "!DOCTYPE HTML",
    "HTML",
    "HEAD",
    "SCRIPT",
    "IFRAME",
    "H1",
    "DIV",
    "FONT",
    "TABLE",
    "A",
    "STYLE",
    "TITLE",
    "B",
    "BODY",
    "BR",
    "P",
    "!--",
]

_SIGNATURES = [
    (b"%PDF-1.7", "application/pdf"),
    (b"%!PS-Adobe-3.0", "application/postscript"),
    (b"\xfe\xff\x00a", "text/plain; charset=utf-16be"),
    (b"\xff\xfea\x00", "text/plain; charset=utf-16le"),
    (b"\xef\xbb\xbf\x00", "text/plain; charset=utf-8"),
    (b"\x00\x00\x01\x00", "image/x-icon"),
    (b"\x00\x00\x02\x00", "image/x-icon"),
    (b"BM", "image/bmp"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"RIFF\x00\x01\x02\x0aWEBPVP", "image/webp"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff\xe0", "image/jpeg"),
    (b"FORM\x00\x00\x00\x0aAIFF", "audio/aiff"),
    (b"ID3\x04", "audio/mpeg"),
    (b"OggS\x00", "application/ogg"),
    (b"MThd\x00\x00\x00\x06", "audio/midi"),
    (b"RIFF\x00\x00\x00\x0aAVI ", "video/avi"),
    (b"RIFF\x00\x00\x00\x0aWAVE", "audio/wave"),
    (b"\x00\x00\x00\x14ftypmp42\x00\x00\x00\x00isom", "video/mp4"),
    (b"\x00\x00\x00\x14ftypisom\x00\x00\x00\x00mp41", "video/mp4"),
    (b"\x1a\x45\xdf\xa3", "video/webm"),
    (b"a" * 34 + b"LP", "application/vnd.ms-fontobject"),
    (b"\x00\x01\x00\x00", "font/ttf"),
    (b"OTTO", "font/otf"),
    (b"ttcf", "font/collection"),
    (b"wOFF", "font/woff"),
    (b"wOF2", "font/woff2"),
    (b"\x1f\x8b\x08", "application/x-gzip"),
    (b"PK\x03\x04", "application/zip"),
    (b"Rar!\x1a\x07\x00", "application/x-rar-compressed"),
    (b"Rar!\x1a\x07\x01\x00", "application/x-rar-compressed"),
    (b"\x00asm", "application/wasm"),
    (b"", "text/plain; charset=utf-8"),
    (b"words \x1b[0m \xff\x80", "text/plain; charset=utf-8"),
]

_NEARLY = [
    (b"\xfe\xff\x00", "application/octet-stream"),
    (b"\xff\xfeab"[:3], "text/plain; charset=utf-8"),
    (b"<html", "text/plain; charset=utf-8"),
    (b"<htmlx>", "text/plain; charset=utf-8"),
    (b" %PDF-1.7", "text/plain; charset=utf-8"),
    (b"\x00\x00\x00\x14ftypmp42\x00\x00\x00\x00", "application/octet-stream"),
    (b"\x00\x00\x00\x14ftypisom\x00\x00\x00\x00isom", "application/octet-stream"),
    (b"\x00\x00\x00\x14ftypisommp41isom", "application/octet-stream"),
    (b"\x00\x00\x00\x0dftypmp42\x00", "application/octet-stream"),
    (b"Rar!\x1a\x07\x01\x01", "application/octet-stream"),
]


@pytest.mark.parametrize(("data", "expected"), _SIGNATURES)
def test_a_signature_names_its_type(data: bytes, expected: str) -> None:
    assert sniff(data) == expected
    assert sniff(memoryview(data)) == expected


@pytest.mark.parametrize(("data", "expected"), _NEARLY)
def test_what_only_resembles_a_signature_does_not(data: bytes, expected: str) -> None:
    assert sniff(data) == expected


@pytest.mark.parametrize("tag", _HTML_TAGS)
def test_a_closed_tag_of_either_case_behind_blanks_is_html(tag: str) -> None:
    for text in (f"<{tag}>", f"<{tag.lower()} x", f"\t\n\x0c\r <{tag} "):
        assert sniff(text.encode()) == "text/html; charset=utf-8"
    assert sniff(f"<{tag}\n".encode()) == "text/plain; charset=utf-8"


def test_xml_may_stand_behind_blanks() -> None:
    assert sniff(b" \n<?xml version") == "text/xml; charset=utf-8"


def test_every_byte_that_no_text_has_makes_a_file_binary() -> None:
    binary = {byte for byte in range(256) if sniff(b"a" + bytes((byte,))) == "application/octet-stream"}
    assert binary == {*range(9), 0x0B, *range(0x0E, 0x1B), *range(0x1C, 0x20)}


def test_only_the_first_512_bytes_count() -> None:
    assert sniff(b"a" * 512 + b"\x00") == "text/plain; charset=utf-8"
    assert sniff(b"a" * 511 + b"\x00") == "application/octet-stream"


def test_no_signature_begins_with_a_byte_that_is_not_searched_for() -> None:
    for data, expected in _SIGNATURES:
        if data and not expected.startswith(("text/", "application/vnd.ms-fontobject")):
            assert sniff(data) == expected != sniff(bytes((data[0] ^ 0x80,)) + data[1:])
