"""TLS between this process and itself, with certificates made on the spot."""

import asyncio
import re
import ssl
from pathlib import Path

import grpc
import grpc.aio
import pytest

from less_sync.volume.grpc.protos import master_pb2 as pb
from less_sync.volume.grpc.tls import server_credentials
from less_sync.volume.master.channels import Channels
from less_sync.volume.options import DirectoryOptions, Options
from less_sync.volume.security.settings import SecuritySettings
from less_sync.volume.security.tls import (
    TlsError,
    grpc_channel_credentials,
    http_server_context,
    outgoing_http_context,
)
from tests.volume.master.fake_master import FakeMaster, running
from tests.volume.security.certificates import Authority


def settings_of(tmp_path: Path, **values: object) -> SecuritySettings:
    """Settings by their keys, with `__` for the dot."""
    lines = [f'"{key.replace("__", ".")}" = {str(value)!r}' for key, value in values.items()]
    (tmp_path / "security.toml").write_text("\n".join(lines))
    found = SecuritySettings(Options((DirectoryOptions(tmp_path),), config_directory=tmp_path), {})
    found.read()
    return found


async def greeted(server: ssl.SSLContext, client: ssl.SSLContext) -> tuple[str, str] | None:
    """The version and suite that the two agree upon, once a byte has come through; None if they do not."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.read(1))
        writer.close()

    listener = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=server)
    async with listener:
        port = listener.sockets[0].getsockname()[1]
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client)
            writer.write(b"x")
            if await asyncio.wait_for(reader.read(1), 10) != b"x":
                return None
            name, version, _ = writer.get_extra_info("cipher")
            writer.close()
        except (ssl.SSLError, ConnectionError):
            return None
    return version, name


async def test_http_asks_for_a_client_s_certificate_where_an_authority_is_set(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    ours, theirs = authority.certify("volume"), authority.certify("client")
    server = http_server_context(
        settings_of(
            tmp_path,
            https__volume__cert=ours.certificate,
            https__volume__key=ours.key,
            https__volume__ca=authority.path,
        )
    )
    with_one = outgoing_http_context(
        settings_of(
            tmp_path,
            https__client__enabled="true",
            https__client__cert=theirs.certificate,
            https__client__key=theirs.key,
            https__client__ca=authority.path,
        )
    )
    without = outgoing_http_context(
        settings_of(tmp_path, https__client__enabled="true", https__client__ca=authority.path)
    )
    assert server is not None
    assert with_one is not None
    assert without is not None
    assert await greeted(server, with_one) is not None
    assert await greeted(server, without) is None


async def test_versions_and_suites_are_bounded(tmp_path: Path) -> None:
    ours = Authority(tmp_path).certify("volume")
    server = http_server_context(
        settings_of(
            tmp_path,
            https__volume__cert=ours.certificate,
            https__volume__key=ours.key,
            tls__max_version="TLS 1.2",
            tls__cipher_suites="TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,TLS_RSA_WITH_AES_128_CBC_SHA",
        )
    )
    trusting = outgoing_http_context(
        settings_of(tmp_path, https__client__enabled="true", https__client__insecure_skip_verify="true")
    )
    strict = outgoing_http_context(
        settings_of(tmp_path, https__client__enabled="true", tls__min_version="TLS 1.3")
    )
    assert server is not None
    assert trusting is not None
    assert strict is not None
    assert await greeted(server, trusting) == ("TLSv1.2", "ECDHE-ECDSA-AES256-GCM-SHA384")
    assert await greeted(server, strict) is None


async def test_grpc_shows_its_certificate_and_wants_one_of_the_same_authority(tmp_path: Path) -> None:
    authority, others = Authority(tmp_path), Authority(_made(tmp_path / "others"))
    ours, theirs = authority.certify("volume"), authority.certify("master")
    values = {
        "grpc__ca": authority.path,
        "grpc__volume__cert": ours.certificate,
        "grpc__volume__key": ours.key,
    }
    master = grpc.ssl_server_credentials(
        [(theirs.key.read_bytes(), theirs.certificate.read_bytes())],
        authority.path.read_bytes(),
        require_client_auth=True,
    )
    async with running(FakeMaster(leader="l:1"), master) as found:
        assert await leader(found, settings_of(tmp_path, **values)) == "l:1"
        with pytest.raises(grpc.aio.AioRpcError):
            await leader(found, settings_of(tmp_path))
        with pytest.raises(grpc.aio.AioRpcError):
            await leader(found, settings_of(tmp_path, **values | {"grpc__ca": others.path}))


async def leader(master: FakeMaster, settings: SecuritySettings) -> str:
    channels = Channels(grpc_channel_credentials(settings))
    try:
        answer = await channels.call(
            master.address.grpc,
            "/master_pb.Seaweed/GetMasterConfiguration",
            pb.GetMasterConfigurationRequest(),
            pb.GetMasterConfigurationResponse,
            timeout_s=10,
        )
    finally:
        await channels.close()
    return str(answer.leader)


def _made(directory: Path) -> Path:
    directory.mkdir()
    return directory


def test_every_suite_of_the_standards_has_its_name_at_openssl(tmp_path: Path) -> None:
    ours = Authority(tmp_path).certify("volume")
    for suite, name in (
        ("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", "ECDHE-RSA-CHACHA20-POLY1305"),
        ("TLS_RSA_WITH_AES_128_GCM_SHA256", "AES128-GCM-SHA256"),
        ("TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256", "ECDHE-ECDSA-AES128-SHA256"),
    ):
        context = http_server_context(
            settings_of(
                tmp_path,
                https__volume__cert=ours.certificate,
                https__volume__key=ours.key,
                tls__cipher_suites=suite,
            )
        )
        assert context is not None
        assert name in {one["name"] for one in context.get_ciphers()}


def test_nothing_set_is_plain_and_something_wrong_is_an_error(tmp_path: Path) -> None:
    nothing = settings_of(tmp_path)
    assert http_server_context(nothing) is None
    assert outgoing_http_context(nothing) is None
    assert grpc_channel_credentials(nothing) is None
    absent = tmp_path / "absent"
    ours = Authority(tmp_path).certify("volume")
    own = {"https__volume__cert": ours.certificate, "https__volume__key": ours.key}
    for values, words in (
        ({**own, "https__volume__key": absent}, "https.volume.cert or .key: "),
        ({**own, "https__volume__ca": absent}, "https.volume.ca: "),
        ({**own, "tls__min_version": "SSL 9"}, "tls.min_version: no version of TLS: SSL 9"),
        ({**own, "tls__cipher_suites": "words"}, "tls.cipher_suites: "),
    ):
        with pytest.raises(TlsError, match=re.escape(words)):
            http_server_context(settings_of(tmp_path, **values))
    (tmp_path / "words").write_text("words")
    for values, words in (
        ({"grpc__ca": absent}, "grpc.ca: "),
        ({"grpc__ca": tmp_path / "words"}, "grpc.ca: "),
        ({"grpc__volume__cert": tmp_path / "words"}, "grpc.volume.cert or .key: "),
        (
            {"grpc__volume__key": Authority(_made(tmp_path / "o")).certify("volume").key},
            "grpc.volume.cert or",
        ),
    ):
        whole = {
            "grpc__ca": ours.certificate,
            "grpc__volume__cert": ours.certificate,
            "grpc__volume__key": ours.key,
        }
        for credentials in (grpc_channel_credentials, server_credentials):
            with pytest.raises(TlsError, match=re.escape(words)):
                credentials(settings_of(tmp_path, **whole | values))
