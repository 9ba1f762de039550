"""A tar of what is live."""

import gzip
import io
import tarfile
from pathlib import Path

import pytest

from less_sync.volume.engine.export import NAME_BYTES_MAX, Exported, export_directory, safe_name
from less_sync.volume.engine.files import Files
from less_sync.volume.format.checksums import crc32c
from less_sync.volume.format.needle import GZIP, HAS_LAST_MODIFIED, HAS_NAME, HAS_TTL, Needle
from less_sync.volume.format.ttl import parse_ttl
from tests.volume.engine.open_volumes import COOKIE, new_volume
from tests.volume.engine.plain_volume import Plain
from tests.volume.volume_files import WIDTHS, copy_volume

NOW_NS = 1_800_000_000_000_000_000


def _export(directory: Path) -> tuple[Exported, dict[str, bytes], list[str]]:
    target, told = io.BytesIO(), list[str]()
    exported = export_directory(Files(), directory, target, now_ns=NOW_NS, tell=told.append)
    target.seek(0)
    with tarfile.open(fileobj=target) as tar:
        found = {}
        for member in tar:
            content = tar.extractfile(member)
            assert content is not None
            found[member.name] = content.read()
    return exported, found, told


async def test_files_have_their_names_or_ids_and_their_content_as_it_was_uploaded(tmp_path: Path) -> None:
    volume = new_volume(tmp_path)
    large = bytes(range(256)) * (5 << 12)
    # The header of what is packed holds the second in which that was done.
    cut_off = gzip.compress(b"cut off", mtime=0)[:-6]
    needles = [
        (b"plain.txt", b"plain", 0),
        (b"packed.txt", gzip.compress(b"unpacked " * 1000), GZIP),
        (b"PLAIN.txt", b"of the same name", 0),
        (b"large.bin", large, 0),
        (b"no gzip", b"really none", GZIP),
        (b"", b"nameless", 0),
        (b"../../etc/passwd", b"wants out", 0),
        (b"short", cut_off, GZIP),
        (b"empty", b"", 0),
    ]
    for id_, (name, content, flags) in enumerate(needles, start=1):
        flags |= HAS_NAME | HAS_LAST_MODIFIED
        needle = Needle(id_, COOKIE, content, flags, name, last_modified=99, checksum=crc32c(content))
        await volume.write(needle)
    old = Needle(77, COOKIE, b"x", HAS_TTL | HAS_LAST_MODIFIED, ttl=parse_ttl("1m"), checksum=crc32c(b"x"))
    volume.try_write(old)
    volume.try_delete(1, COOKIE)
    volume.try_write(Needle(1, COOKIE, b"again", HAS_NAME, b"plain.txt", checksum=crc32c(b"again")))
    await volume.close()
    exported, found, told = _export(tmp_path)
    assert found == {
        "7/PLAIN.txt": b"of the same name",
        "7/7,0111223344_plain.txt": b"again",
        "7/packed.txt": b"unpacked " * 1000,
        "7/large.bin": large,
        "7/no gzip.gz": b"really none",
        "7/7,0611223344": b"nameless",
        "7/_.._etc_passwd": b"wants out",
        "7/short.gz": cut_off,
        "7/7,0911223344": b"",
    }
    assert (exported.files, exported.expired, exported.damaged, told) == (9, 1, 0, [])
    assert exported.content_bytes == sum(map(len, found.values()))


@pytest.mark.parametrize("width", WIDTHS)
def test_what_a_repair_would_bring_back_is_exported_and_damage_is_told(width: int, tmp_path: Path) -> None:
    directory = copy_volume("crash/idx_missing", tmp_path, width)
    exported, found, told = _export(directory)
    assert (exported.files, len(found), told) == (5, 5, [])
    directory = copy_volume("crash/crc_bad_first", tmp_path, width)
    exported, found, told = _export(directory)
    assert (exported.files, exported.damaged, len(found)) == (4, 1, 4)
    assert told[0].startswith("1: needle 1 left out: invalid CRC")


def test_a_volume_that_cannot_be_opened_is_told_and_the_others_are_exported(tmp_path: Path) -> None:
    plain = Plain.new()
    plain.put(1, b"content")
    plain.write(tmp_path, "1")
    (tmp_path / "2.idx").touch()
    exported, found, told = _export(tmp_path)
    assert found == {"1/n": b"content"}
    assert exported.skipped_volumes == 1
    assert told == ["2: left out: it has no data file"]


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        (b"a.txt", "a.txt"),
        (b"", ""),
        (b"..", ""),
        (b". .", ""),
        (b"a/b\\c", "a_b_c"),
        (b'<>:"|?*\x00\x7f', "_________"),
        (b"\xff\xfe", "��"),
        ("ä".encode() * 300 + b".jpeg", "ä" * 97 + ".jpeg"),
        (b"x" * 300, "x" * NAME_BYTES_MAX),
    ],
)
def test_a_name_stays_in_its_folder(name: bytes, safe: str) -> None:
    assert safe_name(name) == safe
