"""Pictures made smaller or cropped while they are read.

Whatever cannot be done leaves the stored bytes as they are: data that is no picture, a rectangle beyond the
picture, more pixels than `PIXELS_MAX`. Pillow is imported in a thread at the first picture.
"""

import io
import math
from typing import TYPE_CHECKING, Final, NamedTuple

from less_sync.volume.format.checksums import Bytes
from less_sync.volume.http.request import Request
from less_sync.volume.logs import Logger

if TYPE_CHECKING:
    from PIL import Image

PIXELS_MAX: Final = 25_000_000
"""Of a stored picture, of what becomes of it and of what lies between: each is up to 100 MB in memory."""
IMAGE_BYTES_MAX: Final = 64 << 20
"""A longer file is no picture here."""
_JPEG_QUALITY: Final = 75
_READ: Final = ("PNG", "JPEG", "GIF", "WEBP", "BMP")
_WRITTEN: Final = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".gif": "GIF", ".webp": "PNG"}
_LOG: Final = Logger(__name__)

Box = tuple[int, int, int, int]


class Wanted(NamedTuple):
    """What a query asks for. `crop` comes first; width or height 0 is not given."""

    format: str
    crop: Box | None
    resize: bool
    width: int
    height: int
    mode: str


def wanted(request: Request, extension: str) -> Wanted | None:
    """What the query of a read of a file with this extension asks for, if anything."""
    if not request.query or (format_ := _WRITTEN.get(extension.lower())) is None:
        return None
    crop = None
    if extension.lower() != ".webp":
        box = tuple(_number(request.param(f"crop_{side}")) for side in ("x1", "y1", "x2", "y2"))
        x1, y1, x2, y2 = box
        crop = (x1, y1, x2, y2) if x1 >= 0 and y1 >= 0 and x2 > x1 and y2 > y1 else None
    width, height = _number(request.param("width")), _number(request.param("height"))
    resize = width > 0 or height > 0
    return Wanted(format_, crop, resize, width, height, request.param("mode")) if crop or resize else None


def change(data: Bytes, asked: Wanted) -> Bytes:
    """The changed picture, or `data` itself. Takes milliseconds to seconds; belongs into a thread."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=_READ) as picture:
            if picture.width * picture.height > PIXELS_MAX:
                return data
            cropped = _cropped(picture, asked.crop)
            changed = _resized(cropped, asked) if asked.resize else cropped
            if changed is picture:
                return data
            return b"" if changed is None else _encoded(changed, asked.format)
    except Exception as fault:
        # Decoders of damaged pictures raise nearly anything; the stored bytes are the answer to all of it.
        _LOG.debug("a picture was left as it is", fault=str(fault))
        return data


def _cropped(picture: "Image.Image", box: Box | None) -> "Image.Image":
    if box is None or box[2] > picture.width or box[3] > picture.height:
        return picture
    return _plain(picture).crop(box)


def _resized(picture: "Image.Image", asked: Wanted) -> "Image.Image | None":
    """None where existing servers give a useless picture: one of the sides is negative, or missing."""
    width, height, mode = asked.width, asked.height, asked.mode
    if not (0 != width < picture.width or 0 != height < picture.height):
        return picture
    if width < 0 or height < 0:
        return None
    box = (0.0, 0.0, float(picture.width), float(picture.height))
    if mode in ("fit", "fill"):
        if not (width and height):
            return None
        if mode == "fit":
            width, height = _fitted(picture, width, height)
    if mode != "fit" and width and height and (mode == "fill" or _is_thumbnail(picture, width, height)):
        box = _centred(picture, width, height)
    # Half a pixel is rounded up, and nothing vanishes.
    width = width or max(1, math.floor(height * picture.width / picture.height + 0.5))
    height = height or max(1, math.floor(width * picture.height / picture.width + 0.5))
    # Pillow first changes the width of all rows, so that between both steps a picture may be far larger.
    if width * max(height, math.ceil(box[3] - box[1])) > PIXELS_MAX:
        return picture
    from PIL import Image

    return _plain(picture).resize((width, height), Image.Resampling.LANCZOS, box)


def _fitted(picture: "Image.Image", width: int, height: int) -> tuple[int, int]:
    ratio = picture.width / picture.height
    return (width, int(width / ratio)) if ratio > width / height else (int(height * ratio), height)


def _is_thumbnail(picture: "Image.Image", width: int, height: int) -> bool:
    return width == height and picture.width != picture.height


def _centred(picture: "Image.Image", width: int, height: int) -> tuple[float, float, float, float]:
    """The largest rectangle of that ratio in the middle of the picture."""
    scale = min(picture.width / width, picture.height / height)
    left = (picture.width - width * scale) / 2
    top = (picture.height - height * scale) / 2
    return left, top, picture.width - left, picture.height - top


def _plain(picture: "Image.Image") -> "Image.Image":
    """Without a palette, which can be neither filtered nor written in every format."""
    if picture.mode in ("L", "RGB", "RGBA"):
        return picture
    return picture.convert("RGBA" if "A" in picture.mode or "transparency" in picture.info else "RGB")


def _encoded(picture: "Image.Image", format_: str) -> bytes:
    from PIL import Image

    written = io.BytesIO()
    if format_ == "JPEG" and picture.mode == "RGBA":
        ground = Image.new("RGB", picture.size)
        ground.paste(picture, mask=picture.getchannel("A"))
        picture = ground
    if format_ == "JPEG":
        picture.save(written, format_, quality=_JPEG_QUALITY)
    else:
        picture.save(written, format_)
    return written.getvalue()


def _number(text: str) -> int:
    """A decimal number with or without a sign, 0 for anything else."""
    digits = text[1:] if text[:1] in ("+", "-") else text
    return int(text) if digits.isascii() and digits.isdigit() and len(digits) <= 18 else 0
