"""Records as bytes, their fields, and what the index knows, by calls."""

from pathlib import Path

import grpc
import pytest
from google.protobuf.message import Message

from less_sync.volume.engine.volume import Volume
from less_sync.volume.format.checksums import crc32c, masked
from less_sync.volume.format.needle import HAS_LAST_MODIFIED, HAS_TTL, encode, record_length
from less_sync.volume.format.ttl import parse_ttl
from less_sync.volume.grpc.protos import volume_server_pb2 as pb
from tests.volume.grpc.serving import Serving, put, serving

MIB = 1 << 20


async def text(server: Serving, request: Message) -> str:
    code, text = await server.refused(request)
    assert code is grpc.StatusCode.UNKNOWN
    return text


def place(volume: Volume, needle_id: int) -> tuple[int, int]:
    entry = volume.needles.get(needle_id)
    assert entry is not None
    return entry


async def test_what_is_stored_under_an_id_is_told(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        volume = await server.volume(3)
        fields = {
            "flags": HAS_LAST_MODIFIED | HAS_TTL,
            "last_modified": 1_700_000_000,
            "ttl": parse_ttl("7d"),
        }
        needle = await put(volume, 5, 0xA1B2C3D4, b"hello", **fields)
        status = await server.call(pb.VolumeNeedleStatusRequest(volume_id=3, needle_id=5))
        assert status == pb.VolumeNeedleStatusResponse(
            needle_id=5,
            cookie=0xA1B2C3D4,
            size=needle.size,
            last_modified=1_700_000_000,
            crc=masked(crc32c(b"hello")),
            ttl="1w",
        )
        for absent, wanted in [((9, 5), "volume not found 9"), ((3, 6), "not found")]:
            request = pb.VolumeNeedleStatusRequest(volume_id=absent[0], needle_id=absent[1])
            assert await text(server, request) == wanted
        await volume.delete(5, needle.cookie)
        request = pb.VolumeNeedleStatusRequest(volume_id=3, needle_id=5)
        assert await text(server, request) == "already deleted"


async def test_a_large_needle_is_read_in_pieces_and_its_checksum_compared(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        volume = await server.volume(3)
        data = bytes(range(256)) * (10 * MIB // 256) + b"x"
        needle = await put(volume, 5, 7, data)
        request = pb.VolumeNeedleStatusRequest(volume_id=3, needle_id=5)
        status = await server.call(request)
        assert (status.needle_id, status.cookie, status.size) == (5, 7, needle.size)
        assert status.crc == masked(crc32c(data))
        with (tmp_path / "3.dat").open("r+b") as file:
            file.seek(place(volume, 5)[0] + 5 * MIB)
            file.write(b"damaged")
        assert (await text(server, request)).startswith("invalid CRC for needle 5 ")


async def test_the_bytes_of_a_record_come_as_they_are(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        volume = await server.volume(3)
        for needle_id, data in ((1, b"small"), (2, b"z" * 9 * MIB)):
            needle = await put(volume, needle_id, 4, data)
            offset, size = place(volume, needle_id)
            answer = await server.call(pb.ReadNeedleBlobRequest(volume_id=3, offset=offset, size=size))
            assert answer.needle_blob == encode(needle, 3)


async def test_bytes_outside_the_file_are_not_there(tmp_path: Path) -> None:
    end, negative = "EOF", f"readat {tmp_path}/3.dat: negative offset"
    places = [
        (1 << 40, 64, end),
        ((1 << 63) - 1, 2**31 - 1, end),
        (8, 1_000, end),
        (-8, 5, negative),
        (-(1 << 63), -1, negative),
    ]
    async with serving(tmp_path) as server:
        await put(await server.volume(3), 1, 4, b"small")
        for offset, size, wanted in places:
            request = pb.ReadNeedleBlobRequest(volume_id=3, offset=offset, size=size)
            found = await text(server, request)
            assert found == f"read needle blob offset {offset} size {size}: {wanted}"
            request.volume_id = 9
            assert await text(server, request) == "not found volume id 9"


@pytest.mark.parametrize("version", [1, 2, 3])
async def test_fields_come_without_the_data_and_no_id_is_compared(tmp_path: Path, version: int) -> None:
    async with serving(tmp_path) as server:
        volume = await server.store.allocate(3, version=version)
        fields = {
            "flags": HAS_LAST_MODIFIED | HAS_TTL,
            "last_modified": 1_700_000_000,
            "ttl": parse_ttl("3d"),
        }
        needle = await put(volume, 5, 0xABCD, b"hello", **fields)
        offset, size = place(volume, 5)
        request = pb.ReadNeedleMetaRequest(volume_id=3, needle_id=99, offset=offset, size=size)
        answer = await server.call(request)
        assert answer.cookie == 0xABCD
        assert answer.crc == masked(crc32c(b"hello"))
        assert answer.append_at_ns == (needle.append_at_ns if version == 3 else 0)
        known = (answer.last_modified, answer.ttl)
        assert known == ((0, "") if version == 1 else (1_700_000_000, "3d"))


async def test_fields_of_a_deletion_are_its_cookie_and_its_time(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        volume = await server.volume(3)
        needle = await put(volume, 5, 0xABCD, b"hello")
        offset = volume.data_bytes
        await volume.delete(5, 0xABCD)
        request = pb.ReadNeedleMetaRequest(volume_id=3, needle_id=5, offset=offset, size=-1)
        answer = await server.call(request)
        assert (answer.cookie, answer.last_modified, answer.ttl) == (0xABCD, 0, "")
        assert answer.append_at_ns > needle.append_at_ns


@pytest.mark.parametrize(
    ("offset_bytes", "wanted"), [(4, "EOF"), (5, "size mismatch for entry at offset 8: ")]
)
async def test_a_wrong_size_of_a_record_is_told(tmp_path: Path, offset_bytes: int, wanted: str) -> None:
    async with serving(tmp_path, offset_bytes=offset_bytes) as server:
        volume = await server.volume(3)
        needle = await put(volume, 0x51615, 1, b"hello")
        request = pb.ReadNeedleMetaRequest(volume_id=3, offset=8, size=needle.size - 1)
        found = await text(server, request)
        detail = f"found id 3531363135 size {needle.size}, expected size {needle.size - 1}"
        assert found == (wanted if offset_bytes == 4 else wanted + detail)


async def test_fields_from_anywhere_are_refused(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        await put(await server.volume(3), 1, 1, b"hello")
        for offset in (16, 17, 1 << 40, (1 << 63) - 1, -1, -(1 << 63)):
            for size in (0, 5, 2**31 - 1, -(2**31)):
                request = pb.ReadNeedleMetaRequest(volume_id=3, offset=offset, size=size)
                wanted = "EOF" if offset > 0 else f"readat {tmp_path}/3.dat: negative offset"
                assert await text(server, request) == wanted


async def test_fields_of_no_volume_are_refused(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        assert await text(server, pb.ReadNeedleMetaRequest(volume_id=9)) == (
            "not found volume id 9 and read needle metadata at ec shards is not supported"
        )


async def test_a_record_is_written_under_another_id_once(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        volume = await server.volume(3)
        needle = await put(volume, 1, 0xAB, b"hello")
        request = pb.WriteNeedleBlobRequest(
            volume_id=3, needle_id=2, size=needle.size, needle_blob=encode(needle, 3)
        )
        for _ in range(2):
            await server.call(request)
        assert volume.data_bytes == 8 + 2 * record_length(needle.size, 3)
        status = await server.call(pb.VolumeNeedleStatusRequest(volume_id=3, needle_id=2))
        assert (status.needle_id, status.cookie) == (1, 0xAB)
        assert bytes(volume.read(2).data) == b"hello"


async def test_what_is_no_record_is_not_written(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        volume = await server.volume(3)
        record = encode(await put(volume, 1, 0xAB, b"hello"), 3)
        end = volume.data_bytes

        async def refused(blob: bytes, size: int, volume_id: int = 3) -> str:
            return await text(
                server,
                pb.WriteNeedleBlobRequest(volume_id=volume_id, needle_id=7, size=size, needle_blob=blob),
            )

        prefix = "write blob needle 7 size 3: needle 7 "
        assert await refused(b"abc", 3) == f"{prefix}blob of 3 bytes is shorter than a needle header"
        size = volume.read(1).size
        assert await refused(record, 3) == f"{prefix}size 3 does not match its blob header size {size}"
        for blob in (record[:-8], record + bytes(8), record[:16]):
            assert (await refused(blob, size)).startswith(f"write blob needle 7 size {size}: ")
        assert await refused(record, size, 9) == "not found volume id 9"
        await server.call(pb.VolumeMarkReadonlyRequest(volume_id=3))
        assert await refused(record, size) == f"write blob needle 7 size {size}: volume 3 is read only"
        assert volume.data_bytes == end
