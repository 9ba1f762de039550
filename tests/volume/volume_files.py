"""The recorded volumes, copied to where a test may change them, with offsets of either width."""

import gzip
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from less_sync.volume.format.rows import ROW_BYTES

RECORDED: Final = Path(__file__).resolve().parents[1] / "vectors" / "volume_files"
INDEX: Final[Mapping[str, Any]] = json.loads((RECORDED / "index.json").read_text())["vectors"]
WIDTHS: Final = (4, 5)
_ROWS: Final = (".idx", ".cpx", ".ecx")


def copy_volume(name: str, directory: Path, width: int = 4) -> Path:
    """Copy a recorded folder into a new directory; with fresh times, as the TTL of a volume wants it."""
    target = directory / name.replace("/", "_")
    target.mkdir(parents=True)
    for source in sorted((RECORDED / name).iterdir()):
        content = source.read_bytes()
        path = target / source.name
        if path.suffix == ".gz":
            path, content = path.with_suffix(""), gzip.decompress(content)
        path.write_bytes(widened(path.suffix, content) if width == 5 else content)
    return target


def widened(suffix: str, content: bytes) -> bytes:
    """What the file would be in a build with offsets of 5 bytes."""
    if suffix in _ROWS:
        narrow = ROW_BYTES[4]
        whole = len(content) // narrow * narrow
        rows = (content[at : at + narrow] for at in range(0, whole, narrow))
        return b"".join(row[:12] + b"\0" + row[12:] for row in rows) + content[whole:]
    if suffix == ".vif" and content.startswith(b"{"):
        return re.sub(rb'("[bB]ytesOffset": ?)4', rb"\g<1>5", content)
    return content
