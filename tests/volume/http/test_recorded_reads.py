"""Every recorded read of every recorded volume that is not erasure coded, at both widths of offsets."""

import base64
import hashlib
from datetime import UTC, datetime
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest

from tests.volume.http.reading import Answer, open_holders, reader
from tests.volume.volume_files import INDEX, WIDTHS, copy_volume

_RECORDED_AT_NS = int(datetime(2026, 11, 25, 23, tzinfo=UTC).timestamp()) * 10**9
_NAMES = [name for name in INDEX if not name.startswith("ec_") and name != "crash/vif_bo5"]


# A volume that is loaded reads the same whatever the width of its rows: each is played in one of them.
@pytest.mark.parametrize(("name", "width"), list(zip(_NAMES, cycle(WIDTHS), strict=False)))
async def test_a_recorded_volume_reads_as_recorded(name: str, width: int, tmp_path: Path) -> None:
    vector: dict[str, Any] = INDEX[name]
    recovered: dict[str, int] = vector.get("recovered", {}).get("status", {})
    # Where a repair brings a needle back, others may read newer as well.
    is_repaired = any(
        status != vector["reads"].get(key, {}).get("status") for key, status in recovered.items()
    )
    directory = copy_volume(name, tmp_path, width)
    async with reader(directory, clock=lambda: _RECORDED_AT_NS) as server:
        for key in sorted({*vector["reads"], *recovered}):
            target, _, mark = key.partition("#")
            answer = await server.get(f"/{target}", {"Accept-Encoding": "gzip"} if mark else {})
            read: dict[str, Any] | None = vector["reads"].get(key)
            assert answer.status == recovered.get(key, read and read["status"]), key
            if read is not None and not is_repaired:
                _compare(answer, read, key)
        assert not any(open_holders(list(server.store.volumes())))


def _compare(answer: Answer, read: dict[str, Any], key: str) -> None:
    # Some recordings left a header out that every read of a file has.
    shown = {name: answer.headers[name] for name in answer.headers if name in read["headers"]}
    assert shown == read["headers"], key
    assert set(answer.headers) - set(shown) <= {"accept-ranges"}, key
    assert len(answer.body) == read["length"], key
    if "body_b64" in read:
        assert answer.body == base64.b64decode(read["body_b64"]), key
    else:
        assert hashlib.sha256(answer.body).hexdigest() == read["sha256"], key
