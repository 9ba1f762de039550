"""The listener: ports, TLS, message sizes, stopping."""

import asyncio
import shutil
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from less_sync.volume.grpc.protos import volume_server_pb2 as pb
from less_sync.volume.security.tls import TlsError
from tests.volume.grpc.serving import SERVICE, Serving, put, serving
from tests.volume.security.certificates import Authority, Certified

MIB = 1 << 20


async def test_a_port_that_is_taken_is_no_port_for_a_second_server(tmp_path: Path) -> None:
    (tmp_path / "second").mkdir()
    async with serving(tmp_path) as server:
        with pytest.raises(OSError, match=f"127.0.0.1:{server.port} for gRPC"):
            async with serving(tmp_path / "second", grpc_port=server.port):
                raise AssertionError


async def test_messages_beyond_the_usual_limit_pass_both_ways(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        await put(await server.volume(1), 1, 7, b"x" * 6 * MIB)
        answer = await server.call(pb.ReadNeedleBlobRequest(volume_id=1, offset=8, size=6 * MIB + 5))
        request = pb.WriteNeedleBlobRequest(volume_id=1, needle_id=2, size=6 * MIB + 5)
        request.needle_blob = answer.needle_blob
        await server.call(request)
        status = await server.call(pb.VolumeStatusRequest(volume_id=1))
        assert status.file_count == 2


async def test_two_writers_of_one_volume_lose_nothing(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        volume = await server.volume(1)
        needle = await put(volume, 1, 7, b"x" * MIB)
        blob = (
            await server.call(pb.ReadNeedleBlobRequest(volume_id=1, offset=8, size=needle.size))
        ).needle_blob
        requests = [
            pb.WriteNeedleBlobRequest(volume_id=1, needle_id=one, size=needle.size, needle_blob=blob)
            for one in range(2, 12)
        ]
        await asyncio.gather(*map(server.call, requests))
        found = await server.stream(pb.ReadAllNeedlesRequest(volume_ids=[1]))
        # Only the first one has its own id in the record; the others point at it under theirs.
        assert [one.needle_id for one in found] == [1]
        assert sorted(one for one in range(1, 12) if bytes(volume.read(one).data) == b"x" * MIB) == list(
            range(1, 12)
        )


async def test_a_stop_lets_nobody_wait_who_has_nothing_to_wait_for(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        await server.call(pb.GetStateRequest())
        started = asyncio.get_running_loop().time()
        await server.server.stop()
        assert asyncio.get_running_loop().time() - started < 5
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await server.call(pb.GetStateRequest())
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


def two_authorities(directory: Path) -> list[Authority]:
    """Each with a folder for its certificates, whose names are the same."""
    folders = [directory / "one", directory / "other"]
    for folder in folders:
        folder.mkdir()
    return [Authority(folder) for folder in folders]


def settings(directory: Path, authority: Authority, server: Certified) -> dict[str, str]:
    """Files of a server, and the variables that name them."""
    files = {"GRPC_CA": authority.path, "GRPC_VOLUME_CERT": server.certificate, "GRPC_VOLUME_KEY": server.key}
    for name, path in files.items():
        shutil.copy(path, directory / name)
    return {f"WEED_{name}": str(directory / name) for name in files}


async def state_by_tls(server: Serving, authority: Authority, client: Certified | None) -> grpc.StatusCode:
    """The code of a call over TLS."""
    credentials = grpc.ssl_channel_credentials(
        authority.path.read_bytes(),
        client.key.read_bytes() if client else None,
        client.certificate.read_bytes() if client else None,
    )
    async with grpc.aio.secure_channel(f"127.0.0.1:{server.port}", credentials) as channel:
        call: Any = channel.unary_unary(SERVICE + "GetState")
        try:
            await call(b"", timeout=5)
        except grpc.aio.AioRpcError as error:
            return error.code()
        return grpc.StatusCode.OK


@pytest.mark.filterwarnings("ignore:.*:DeprecationWarning")
async def test_only_certificates_of_the_authority_open_the_door(tmp_path: Path) -> None:
    authority, stranger = two_authorities(tmp_path)
    environment = settings(tmp_path, authority, authority.certify("server"))
    async with serving(tmp_path, environment) as server:
        assert await state_by_tls(server, authority, authority.certify("anyone")) is grpc.StatusCode.OK
        assert await state_by_tls(server, authority, None) is grpc.StatusCode.UNAVAILABLE
        assert (
            await state_by_tls(server, authority, stranger.certify("anyone")) is grpc.StatusCode.UNAVAILABLE
        )
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await server.call(pb.GetStateRequest())
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("master", grpc.StatusCode.OK),
        ("filer", grpc.StatusCode.OK),
        ("a.example.org", grpc.StatusCode.OK),
        ("a.example.org.evil", grpc.StatusCode.UNAUTHENTICATED),
        ("", grpc.StatusCode.UNAUTHENTICATED),
    ],
)
async def test_of_these_only_listed_names_may_call(tmp_path: Path, name: str, code: grpc.StatusCode) -> None:
    authority = Authority(tmp_path)
    environment = settings(tmp_path, authority, authority.certify("server"))
    environment["WEED_GRPC_VOLUME_ALLOWED_COMMONNAMES"] = "master, filer"
    environment["WEED_GRPC_ALLOWED_WILDCARD_DOMAIN"] = ".example.org"
    async with serving(tmp_path, environment) as server:
        assert await state_by_tls(server, authority, authority.certify(name or "x")) is code


async def test_new_certificates_are_taken_without_a_restart(tmp_path: Path) -> None:
    former, later = two_authorities(tmp_path)
    environment = settings(tmp_path, former, former.certify("server"))
    async with serving(tmp_path, environment) as server:
        assert await state_by_tls(server, former, former.certify("a")) is grpc.StatusCode.OK
        settings(tmp_path, later, later.certify("server"))
        assert await state_by_tls(server, later, later.certify("a")) is grpc.StatusCode.OK
        assert await state_by_tls(server, former, former.certify("a")) is grpc.StatusCode.UNAVAILABLE
        (tmp_path / "GRPC_VOLUME_KEY").unlink()
        assert await state_by_tls(server, later, later.certify("a")) is grpc.StatusCode.OK


async def test_files_that_are_not_there_end_the_start(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    environment = settings(tmp_path, authority, authority.certify("server"))
    (tmp_path / "GRPC_CA").unlink()
    with pytest.raises(TlsError, match=r"^grpc\.ca: .*GRPC_CA: No such file or directory"):
        async with serving(tmp_path, environment):
            raise AssertionError
