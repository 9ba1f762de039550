"""Which server exactly was looked at: what is seen of it, and what counts as another one."""

import asyncio
import struct
from dataclasses import replace

import pytest

from less_sync.validation.fingerprint import changed
from less_sync.validation.results import Fingerprint
from less_sync.validation.running import fingerprints
from tests.validation.proxy import Reply
from tests.validation.rig import Rig


async def seen(rig: Rig, target: str = "staging", **of_run: object) -> Fingerprint:
    """A target's fingerprint now."""
    return (await fingerprints(rig.run(**of_run)))[target]  # type: ignore[arg-type]  # as `Rig.run` takes them


async def test_all_that_tells_a_server_from_another_is_seen(rig: Rig) -> None:
    first = await seen(rig)
    assert (first.kind, first.build) == ("less-sync", await rig.build_version())
    assert float(first.process_start) > 0
    assert first.schema.versions[:12] == tuple(range(1, 13))
    for member in ("jwks_sha256", "database", "system_identifier", "addresses"):
        assert getattr(first, member), member
    assert changed(first, await seen(rig)) == []
    without = await seen(rig, without=("database", "metrics"))
    assert set(changed(first, without)) == {"build", "database", "schema", "system_identifier"}


async def test_another_database_is_another_server_and_a_restart_is_none(rig: Rig) -> None:
    first = await seen(rig)
    other = await seen(rig, "incumbent", addresses={"incumbent": rig.proxy().url})
    assert "database" in changed(first, other)
    async with rig.beside("staging"):
        again = await seen(rig)
    assert again.process_start != first.process_start
    assert changed(first, again) == []
    assert changed(first, replace(again, build="2.0.0")) == ["build"]


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (503, b"{}"),
        (200, b"no json"),
        (200, b"5"),
        (200, b'{"keys": 5}'),
        (200, b"[" * 100_000),
        (200, b'{"keys": [' + b"9" * 5000 + b"]}"),
        (200, b"\xff\xfe"),
    ],
    ids=["status", "text", "number", "keys", "deep", "digits", "bytes"],
)
async def test_a_server_that_answers_nonsense_has_no_keys_and_ends_no_run(
    rig: Rig, status: int, body: bytes
) -> None:
    """Targets are looked at outside of any check: what one says must not end the run."""
    first = await seen(rig)
    reply = Reply(status, (("Content-Length", str(len(body))),), body)
    rig.proxy().answer(reply, path="/.well-known/jwks.json")
    again = await seen(rig, addresses={"staging": rig.proxy().url})
    assert changed(first, replace(again, base_url=first.base_url)) == ["jwks_sha256"]


READY = b"Z" + struct.pack("!I", 5) + b"I"


# The driver's half-made connection stumbles once more when it is collected.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    "said",
    [b"R" + struct.pack("!II", 8, 99), b"R" + struct.pack("!II", 8, 0) + READY],
    ids=["login-unknown", "no-version"],
)
async def test_what_only_speaks_like_a_postgres_is_no_database_and_ends_no_run(rig: Rig, said: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(8)  # whether TLS is spoken
        writer.write(b"N")
        await reader.read(1024)
        writer.write(said)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        run = rig.run()
        run.targets["staging"].database_url = f"postgresql://somebody@127.0.0.1:{port}/x"
        found = (await fingerprints(run))["staging"]
    assert (found.database, found.schema.versions) == ("", ())
    assert found.jwks_sha256
