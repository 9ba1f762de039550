"""Turning photographs upright when they are uploaded (`-images.fix.orientation`).

Pillow is imported at the first photograph: few servers ever see one that they may turn.
"""

import io
from typing import Final

from less_sync.volume.format.checksums import Bytes

PIXELS_MAX: Final = 64 << 20
"""A larger picture is stored as it came: decoding takes three bytes a pixel."""
QUALITY: Final = 75
_ORIENTATION: Final = 0x0112
_UPRIGHT: Final = 1
_LAST: Final = 8


def is_photograph(name: bytes, mime: bytes) -> bool:
    """Whether a file of that name and type may have to be turned."""
    return mime == b"image/jpeg" or name.lower().endswith((b".jpg", b".jpeg"))


def upright(data: Bytes) -> bytes | None:
    """The photograph turned and encoded again as its EXIF orientation says, without any EXIF.

    None if it is upright, tells nothing, is no JPEG, damaged, or larger than `PIXELS_MAX`: it stays as it is.
    Takes milliseconds to seconds; belongs into a thread.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(io.BytesIO(data), formats=("JPEG",)) as picture:
            if not _UPRIGHT < picture.getexif().get(_ORIENTATION, _UPRIGHT) <= _LAST:
                return None
            if picture.width * picture.height > PIXELS_MAX:
                return None
            turned = ImageOps.exif_transpose(picture)
            encoded = io.BytesIO()
            turned.save(encoded, "JPEG", quality=QUALITY, exif=b"")
    # Pillow raises whatever its decoders meet in a damaged file, errors of its C code included.
    except Exception:
        return None
    return encoded.getvalue()
