"""Turning photographs upright."""

import io
from pathlib import Path

import pytest
from PIL import Image

from less_sync.volume.http.orientation import is_photograph, upright
from tests.volume.http.whole_server import serving


def _photograph(orientation: int | None, size: tuple[int, int] = (40, 20)) -> bytes:
    """Red on the left, blue on the right, as it is stored."""
    picture = Image.new("RGB", size, "blue")
    picture.paste("red", (0, 0, size[0] // 2, size[1]))
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    out = io.BytesIO()
    picture.save(out, "JPEG", exif=exif, quality=95)
    return out.getvalue()


def _is_red(pixel: object) -> bool:
    assert isinstance(pixel, tuple)
    return bool(pixel[0] > 200 and pixel[2] < 50)


@pytest.mark.parametrize(
    ("orientation", "size", "red"),
    [
        (2, (40, 20), (30, 10)),
        (3, (40, 20), (30, 10)),
        (4, (40, 20), (10, 10)),
        (5, (20, 40), (10, 10)),
        (6, (20, 40), (10, 10)),
        (7, (20, 40), (10, 30)),
        (8, (20, 40), (10, 30)),
    ],
)
def test_a_photograph_is_turned_as_it_says(
    orientation: int, size: tuple[int, int], red: tuple[int, int]
) -> None:
    turned = upright(_photograph(orientation))
    assert turned is not None
    with Image.open(io.BytesIO(turned)) as picture:
        assert (picture.size, picture.format) == (size, "JPEG")
        assert _is_red(picture.getpixel(red))
        assert not picture.getexif()


@pytest.mark.parametrize(
    "data", [_photograph(1), _photograph(None), _photograph(9), b"", b"\xff\xd8\xffrest"]
)
def test_anything_else_stays_as_it_is(data: bytes) -> None:
    assert upright(data) is None


def test_a_damaged_photograph_stays_as_it_is() -> None:
    assert upright(_photograph(6)[:-200]) is None


def test_photographs_are_told_by_type_or_name() -> None:
    assert is_photograph(b"x", b"image/jpeg")
    assert is_photograph(b"A.JPG", b"")
    assert is_photograph(b"a.jpeg", b"x/y")
    assert not is_photograph(b"a.png", b"image/png")


@pytest.mark.anyio
@pytest.mark.parametrize("fixes", [True, False])
async def test_an_upload_is_turned_only_if_the_server_is_told_to(tmp_path: Path, fixes: bool) -> None:
    sent = _photograph(6)
    async with serving(tmp_path / "data", fix_orientation=fixes) as server:
        await server.store.allocate(3)
        answer = await server.ask("PUT", "/3,0100000001", sent, [("Content-Type", "image/jpeg")])
        assert answer.json["size"] == len(sent)
        assert (bytes(server.stored("3,0100000001").data) == sent) is not fixes
