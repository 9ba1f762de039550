"""Deleting many files by one call."""

from pathlib import Path

from less_sync.volume.format.needle import MANIFEST
from less_sync.volume.grpc.protos import volume_server_pb2 as pb
from tests.volume.grpc.serving import Serving, put, serving

Result = tuple[int, str, int]
PARSE = 'Parse needleId error: needle id zz format error: strconv.ParseUint: parsing "zz": invalid syntax'


async def results(server: Serving, *fids: str, skip: bool = False) -> list[Result]:
    """Status, error and size of each."""
    answer = await server.call(pb.BatchDeleteRequest(file_ids=fids, skip_cookie_check=skip))
    assert [one.file_id for one in answer.results] == list(fids)
    return [(one.status, one.error, one.size) for one in answer.results]


NAMELESS: list[tuple[str, Result, Result]] = [
    ("bad-fid", (400, "Wrong fid format.", 0), (400, "Wrong fid format.", 0)),
    (",1234567890", (400, "Wrong fid format.", 0), (400, "Wrong fid format.", 0)),
    ("", (400, "Wrong fid format.", 0), (400, "Wrong fid format.", 0)),
    ("x,1234567890", (404, "volume 0 not found", 0), (500, "volume 0 not found on 127.0.0.1:8080", 0)),
    ("98,0100000001", (404, "volume 98 not found", 0), (500, "volume 98 not found on 127.0.0.1:8080", 0)),
    ("31,1234", (400, "Invalid fid: 1234", 0), (400, "KeyHash is too short.", 0)),
    ("31,1234_1", (400, "Invalid fid: 1234_1", 0), (400, "KeyHash is too short.", 0)),
    ("31," + "1" * 26, (400, "KeyHash is too long.", 0), (400, "KeyHash is too long.", 0)),
    ("31,0100000001", (404, "not found", 0), (304, "", 0)),
    ("31,zz34567890", (400, PARSE, 0), (400, PARSE, 0)),
]


async def test_an_id_that_names_no_needle_is_refused_alone(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        volume = await server.volume(31)
        for fid, checked, skipped in NAMELESS:
            needle = await put(volume, 0x99, 0x11223344, b"good")
            good = (202, "", needle.size)
            assert await results(server, fid, "31,9911223344") == [checked, good]
            await put(volume, 0x99, 0x11223344, b"good")
            assert await results(server, fid, "31,99ffffffff", skip=True) == [skipped, good]


async def test_a_needle_goes_to_whoever_knows_its_cookie(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        volume = await server.volume(31)
        needle = await put(volume, 0xA2, 0x12, b"second")
        assert await results(server, "31,a200000013", "31,a100000012_1", "31,a200000012") == [
            (400, "File Random Cookie does not match.", 0),
            (202, "", needle.size),
            (404, "already deleted", 0),
        ]
        assert await results(server, "31,a200000012", skip=True) == [(304, "", 0)]


async def test_a_large_needle_is_deleted_without_reading_its_data(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        needle = await put(await server.volume(31), 1, 2, bytes(5 << 20))
        with (tmp_path / "31.dat").open("r+b") as file:
            file.seek(1 << 20)
            file.write(b"damaged")
        assert await results(server, "31,0100000002") == [(202, "", needle.size)]


async def test_a_manifest_is_refused_unless_nobody_looks(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        needle = await put(await server.volume(33), 1, 2, b"{}", flags=MANIFEST)
        text = "ChunkManifest: not allowed in batch delete mode."
        assert await results(server, "33,0100000002") == [(406, text, 0)]
        assert await results(server, "33,0100000002", skip=True) == [(202, "", needle.size)]


async def test_an_empty_needle_has_no_cookie_and_its_size_is_that_of_none(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        volume = await server.volume(31)
        await put(volume, 1, 2, b"")
        assert await results(server, "31,01000000ff") == [(304, "", 0)]
        assert await results(server, "31,01000000ff") == [(404, "already deleted", 0)]


async def test_a_read_only_volume_keeps_its_needles(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        volume = await server.volume(31)
        needle = await put(volume, 1, 2, b"x")
        await server.store.mark_read_only(volume)
        assert await results(server, "31,0100000002") == [(500, "volume 31 is read only", 0)]
        await server.store.mark_read_only(volume, can_delete=True)
        assert await results(server, "31,0100000002") == [(202, "", needle.size)]


async def test_a_deletion_waits_for_the_turn_of_the_volume(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        volume = await server.volume(31)
        needle = await put(volume, 1, 2, b"x")
        async with volume.turn:
            call = server.channel.unary_unary(
                "/volume_server_pb.VolumeServer/BatchDelete",
                pb.BatchDeleteRequest.SerializeToString,
                pb.BatchDeleteResponse.FromString,
            )(pb.BatchDeleteRequest(file_ids=["31,0100000002"]))
            await server.call(pb.GetStateRequest())
            assert volume.read(1).size == needle.size
        assert [one.status for one in (await call).results] == [202]


async def test_thousands_of_ids_are_answered_in_order(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        volume = await server.volume(31)
        for needle_id in range(1, 301):
            await put(volume, needle_id, needle_id, b"x" * needle_id)
        found = await results(server, *[f"31,{one % 400:x}{one % 400:08x}" for one in range(1, 1_201)])
        assert [status for status, _, _ in found[:400]] == [202] * 300 + [404] * 100
        assert {status for status, _, _ in found[400:]} == {404}
