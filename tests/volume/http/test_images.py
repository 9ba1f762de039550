"""Pictures that are changed while they are read."""

import io
import struct
import zlib

import pytest
from PIL import Image

from less_sync.volume.http.images import (
    PIXELS_MAX,
    Wanted,
    change,
    wanted,
)
from less_sync.volume.http.request import Request


def _picture(width: int, height: int, format_: str = "PNG", mode: str = "RGB") -> bytes:
    written = io.BytesIO()
    image = Image.linear_gradient("L").resize((width, height)).convert(mode)
    image.save(written, format_)
    return written.getvalue()


def _asked(query: str, extension: str = ".png") -> Wanted | None:
    return wanted(Request("GET", b"", "/", query), extension)


def _changed(data: bytes, query: str, extension: str = ".png") -> tuple[str | None, int, int]:
    asked = _asked(query, extension)
    assert asked is not None
    with Image.open(io.BytesIO(change(data, asked))) as image:
        image.load()
        return image.format, image.width, image.height


@pytest.mark.parametrize("extension", ["", ".txt", ".bmp", ".tiff", "png"])
def test_only_some_extensions_are_pictures(extension: str) -> None:
    assert _asked("width=20&crop_x2=5&crop_y2=5", extension) is None


@pytest.mark.parametrize(
    "query",
    [
        "",
        "width=0",
        "width=abc",
        "width=-5",
        "width=1.5",
        "width=",
        "mode=fit",
        "crop_x2=10",
        "crop_y2=10",
        "crop_x1=5&crop_x2=5&crop_y2=9",
        "crop_x1=-1&crop_x2=5&crop_y2=9",
        "width=" + "9" * 19,
        "width=٣",
    ],
)
def test_these_ask_for_nothing(query: str) -> None:
    assert _asked(query) is None


def test_a_webp_cannot_be_cropped() -> None:
    assert _asked("crop_x2=10&crop_y2=5", ".webp") is None
    assert _asked("crop_x2=10&crop_y2=5", ".GIF") is not None


@pytest.mark.parametrize(
    ("query", "size"),
    [
        ("width=20", (20, 13)),
        ("height=10", (15, 10)),
        ("width=20&height=20", (20, 20)),
        ("width=20&height=10", (20, 10)),
        ("width=20&height=20&mode=fit", (20, 13)),
        ("width=20&height=20&mode=fill", (20, 20)),
        ("width=20&height=30&mode=fill", (20, 30)),
        ("width=100&height=10", (100, 10)),
        ("width=1", (1, 1)),
        ("crop_x1=1&crop_y1=1&crop_x2=11&crop_y2=6", (10, 5)),
        ("crop_x2=10&crop_y2=5", (10, 5)),
        ("crop_x2=60&crop_y2=40", (60, 40)),
        ("crop_x1=0&crop_y1=0&crop_x2=30&crop_y2=20&width=10", (10, 7)),
        ("crop_x1=50&crop_x2=70&crop_y2=5&width=30", (30, 20)),
    ],
)
def test_a_picture_gets_the_recorded_size(query: str, size: tuple[int, int]) -> None:
    assert _changed(_picture(60, 40), query) == ("PNG", *size)


def test_a_side_that_is_not_given_is_rounded_half_up_and_fitting_cuts_off() -> None:
    assert _changed(_picture(60, 41), "width=20") == ("PNG", 20, 14)
    assert _changed(_picture(60, 41), "width=20&height=20&mode=fit") == ("PNG", 20, 13)
    assert _changed(_picture(2000, 1), "width=10&height=10&mode=fit") == ("PNG", 10, 1)


@pytest.mark.parametrize("query", ["width=100", "width=60&height=40", "crop_x1=50&crop_x2=70&crop_y2=5"])
def test_what_needs_no_change_stays_byte_for_byte(query: str) -> None:
    data = _picture(60, 40)
    asked = _asked(query)
    assert asked is not None
    assert change(data, asked) is data


@pytest.mark.parametrize("query", ["width=20&mode=fit", "height=20&mode=fill", "width=-5&height=10"])
def test_what_existing_servers_make_useless_is_empty(query: str) -> None:
    asked = _asked(query)
    assert asked is not None
    assert change(_picture(60, 40), asked) == b""


@pytest.mark.parametrize(
    ("extension", "format_"),
    [(".png", "PNG"), (".JPG", "JPEG"), (".jpeg", "JPEG"), (".gif", "GIF"), (".webp", "PNG")],
)
def test_the_extension_alone_decides_the_format(extension: str, format_: str) -> None:
    sources = [("PNG", mode) for mode in ("RGB", "L", "P", "RGBA", "LA", "1")]
    sources += [("JPEG", "RGB"), ("JPEG", "CMYK"), ("GIF", "P"), ("WEBP", "RGBA"), ("BMP", "RGB")]
    for source, mode in sources:
        assert _changed(_picture(60, 40, source, mode), "width=20", extension) == (format_, 20, 13), mode


def test_what_is_transparent_is_black_in_a_jpeg() -> None:
    written = io.BytesIO()
    Image.new("RGBA", (40, 40), (255, 255, 255, 0)).save(written, "PNG")
    asked = _asked("width=10", ".jpg")
    assert asked is not None
    with Image.open(io.BytesIO(change(written.getvalue(), asked))) as image:
        assert max(image.convert("L").tobytes()) < 10


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png_that_claims(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", header)
        + _chunk(b"IDAT", zlib.compress(b""))
        + _chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not an image at all",
        _picture(60, 40)[:60],
        _picture(60, 40, "JPEG")[:-200],
        _picture(60, 40, "GIF")[:40],
        _picture(60, 40, "WEBP")[:40],
        _png_that_claims(100_000, 100_000),
        _png_that_claims(2**31 - 1, 2**31 - 1),
        _png_that_claims(PIXELS_MAX + 1, 1),
        _png_that_claims(0, 0),
        b"GIF89a\xff\xff\xff\xff\x00\x00\x00,\x00\x00\x00\x00\xff\xff\xff\xff\x00\x02\x02D\x01\x00;",
    ],
)
def test_bombs_and_damaged_pictures_stay_as_they_are(data: bytes) -> None:
    asked = _asked("width=5&height=5&crop_x2=3&crop_y2=3")
    assert asked is not None
    assert change(data, asked) is data


def test_a_picture_is_not_made_huge_between_two_steps() -> None:
    written = io.BytesIO()
    Image.new("L", (1, 1_000_000)).save(written, "PNG")
    asked = _asked("width=1000&height=900")
    assert asked is not None
    data = written.getvalue()
    assert change(data, asked) is data


def test_a_picture_is_not_enlarged_without_end() -> None:
    data = _picture(60, 40)
    for query in ("width=1000000000&height=1", "width=1&height=999999999&mode=fill"):
        asked = _asked(query)
        assert asked is not None
        assert change(data, asked) is data
